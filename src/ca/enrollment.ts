/**
 * Enrollment: who asks is established, what they may ask for is checked, and the same request gets the same answer.
 *
 * Nothing here knows which protocol a request came over.
 *
 * @module
 */
import { hash } from 'node:crypto'
import { asTrustError, TrustError } from '#base/errors.ts'
import type { Secret } from '#base/secret.ts'
import { uuidv7 } from '#base/world.ts'
import { keep, type Step } from '#store/batch.ts'
import { parseCertificate, type Certificate } from '#x509/certificate.ts'
import type { CertificationRequest } from '#x509/certification-request.ts'
import { type Authorities, type Authority, chainOf, offeredBy } from './authorities.ts'
import { type CertificateRecord, findShown, isUsable } from './certificates.ts'
import { clientPaths } from './client-path.ts'
import type { CAContext } from './context.ts'
import {
  type Endpoint,
  type EndpointProtocol,
  type EnrollmentSecret,
  matchesPattern,
  openEndpoint,
  openEnrollmentSecret,
  secretUse,
} from './endpoint.ts'
import { checkBinding, type Issued, rehearse, signRehearsed, stepsToInsert, stillIssues } from './issue.ts'
import type { Profile } from './profile.ts'
import { openProfile } from './profiles.ts'
import { provenKey } from './proof.ts'
import { type Applicant, planCertificate } from './request-rules.ts'
import { DEFAULT_ORGANIZATION } from './tables.ts'

/** What a peer showed to say who it is. */
export interface Credentials {
  /** Certificates of the TLS handshake, the peer's own first. DER. */
  readonly chain: readonly Uint8Array[]
  readonly basic: { readonly userName: string; readonly password: Secret } | undefined
}

/** Who asks, established. */
export type Identity =
  | { readonly kind: 'device'; readonly record: CertificateRecord; readonly certificate: Certificate }
  | { readonly kind: 'registration-authority'; readonly record: CertificateRecord; readonly productSerials: readonly string[] }
  /** A station whose certificate another authority issued: there is no record of it here. */
  | {
      readonly kind: 'foreign-registration-authority'
      /** SHA-256 of its certificate, hex. */
      readonly fingerprint: string
      readonly productSerials: readonly string[]
    }
  /** A device of ours that was born elsewhere: devices know its very birth certificate. */
  | {
      readonly kind: 'foreign-device'
      readonly certificate: Certificate
      /** SHA-256 of it, hex. */
      readonly fingerprint: string
      readonly productSerial: string
    }
  | { readonly kind: 'secret'; readonly secret: EnrollmentSecret }
  | { readonly kind: 'person'; readonly principalId: string }

export interface EnrollmentInput {
  readonly endpoint: Endpoint
  readonly operation: 'enroll' | 'reenroll'
  readonly request: CertificationRequest
  readonly identity: Identity
  readonly transactionId?: string
  /** Throws when the request does not belong to the connection that carried it; kept in the audit log as any refusal. */
  readonly checkChannel?: () => void
}

/** A person must act first; the request is kept. */
export interface Pending {
  readonly state: 'pending'
  readonly retryAfterSeconds: number
}

export interface IssuedAnswer {
  readonly state: 'issued'
  readonly certificateId: string
  /** DER */
  readonly certificate: Uint8Array
  /** The authorities above it, nearest first. DER */
  readonly chain: readonly Uint8Array[]
}

/**
 * A question put to other rooms before a certificate is signed: they may refuse by throwing.
 *
 * @returns what they keep with the certificate, in its transaction; their steps may refuse as well
 */
export type Authorize = (question: {
  readonly endpoint: Endpoint
  readonly identity: Identity
  readonly productSerial: string | undefined
}) => Promise<((issued: Issued) => readonly Step[]) | void>

/** @param fingerprint SHA-256 of a birth certificate, hex @param chain as it was shown and validated @returns the serial of the device here that was born with it elsewhere */
export type BornElsewhere = (fingerprint: string, chain: Credentials['chain'], endpoint: Endpoint) => Promise<string | undefined>

const nobody: BornElsewhere = () => Promise.resolve(undefined)

export interface Enrollment {
  /** @param label undefined for the protocol's default @throws TrustError `notFound` */
  openEndpoint(protocol: EndpointProtocol, label: string | undefined): Promise<Endpoint>
  /** The certificates a device needs to trust what this endpoint issues: the issuing authority first. DER */
  authorityCertificates(endpoint: Endpoint): readonly Uint8Array[]
  /** @throws TrustError `unauthenticated` when nothing or nothing known was shown, `forbidden` when it may not be used here */
  authenticate(endpoint: Endpoint, credentials: Credentials): Promise<Identity>
  /** @throws TrustError with the reason of any refusal; refusals of an established identity are in the audit log */
  enroll(input: EnrollmentInput): Promise<IssuedAnswer | Pending>
  /** Profile of an endpoint, for protocols that describe it to clients (csrattrs). */
  profileOf(endpoint: Endpoint): Promise<Profile>
}

export function enrollment(
  context: CAContext,
  authorities: Authorities,
  authorize: Authorize,
  bornElsewhere: BornElsewhere = nobody,
): Enrollment {
  const { db, audit, world, settings } = context
  const allowance = strangerAllowance(world.clock)
  const paths = clientPaths(context, authorities)

  async function enroll(input: EnrollmentInput): Promise<IssuedAnswer> {
    const { endpoint, request, identity } = input
    input.checkChannel?.()
    const requestHash = hash('sha256', request.der)
    const asker = nameOfIdentity(identity)

    const before = await answeredBefore(endpoint, asker, requestHash)
    if (before !== undefined) return before
    // within the window its one request was answered above; after it, the secret is good for nothing
    if (identity.kind === 'secret' && identity.secret.isUsed) throw new TrustError('forbidden', 'secretUsed')

    const publicKey = await provenKey(context, request)
    const authority = authorities.byId(endpoint.authorityId)
    const profile = await openProfile(context, endpoint.profile)
    const applicant = applicantOf(identity)
    const plan = planCertificate({ authority, profile, request, publicKey, applicant, endpoint, renewal: isRenewal(input) })
    const stepsWith = await authorize({ endpoint, identity, productSerial: plan.productSerial })
    const rehearsed = rehearse(context, plan)
    await checkBinding(context, rehearsed)

    const issued = await signRehearsed(rehearsed)
    world.faults.reach('certificate signed')
    const claimed = await claim(input, asker, requestHash, { issued, authority, more: stepsWith?.(issued) ?? [] })
    if (claimed !== issued.id) return sameAnswer(claimed, authority) // another copy of this request was faster
    world.faults.reach('certificate kept')
    return answerOf(issued, authority)
  }

  /** Keeps the certificate unless the same request has one already. @returns the certificate that answers this request */
  async function claim(
    input: EnrollmentInput,
    asker: string,
    requestHash: string,
    { issued, authority, more }: { readonly issued: Issued; readonly authority: Authority; readonly more: readonly Step[] },
  ): Promise<string> {
    const { endpoint, identity } = input
    const key = claimOf(endpoint, asker, requestHash)
    const now = world.clock.now()
    const steps: readonly Step[] = [
      {
        sql: `INSERT INTO enrollment_request (id, organization_id, endpoint_id, identity, request_hash, claim, version, protocol, transaction_id, state, approval_id, certificate_id, created_at)
            VALUES (?, ?, ?, ?, ?, ?, 1, ?, ?, 'issued', NULL, ?, ?)
            ON CONFLICT (organization_id, claim) DO UPDATE SET
              version = enrollment_request.version + 1,
              certificate_id = CASE WHEN enrollment_request.created_at > excluded.created_at - ?
                THEN enrollment_request.certificate_id ELSE excluded.certificate_id END,
              created_at = CASE WHEN enrollment_request.created_at > excluded.created_at - ?
                THEN enrollment_request.created_at ELSE excluded.created_at END`,
        parameters: [
          ...[uuidv7(world), DEFAULT_ORGANIZATION, endpoint.id, asker, requestHash, key],
          ...[endpoint.protocol, input.transactionId ?? null, issued.id, now],
          ...[windowMilliseconds(), windowMilliseconds()],
        ],
      },
      {
        sql: 'SELECT certificate_id FROM enrollment_request WHERE organization_id = ? AND claim = ?',
        parameters: [DEFAULT_ORGANIZATION, key],
        expects: { certificate_id: issued.id },
        refusal: (row) => new AnsweredBefore(row?.['certificate_id'] as string),
      },
      ...(isRenewal(input) && identity.kind === 'device' ? [supersede(identity.record.id)] : []),
      ...stillGood(identity, requestHash, now),
      stillIssues(authority),
      ...stepsToInsert(context, issued, { actor: asker, endpointId: endpoint.id }),
      ...more,
    ]
    try {
      await keep(db, steps)
      return issued.id
    } catch (error) {
      if (error instanceof AnsweredBefore) return error.certificateId
      throw error
    }
  }

  /** What was good when the request came may have been taken away since: who revokes a device sees all that it ever gets. */
  function stillGood(identity: Identity, requestHash: string, now: number): readonly Step[] {
    switch (identity.kind) {
      case 'secret':
        return [secretUse(identity.secret.id, requestHash, now)]
      case 'device':
      case 'registration-authority':
        return [
          {
            sql: "SELECT CASE WHEN state IN ('revoked', 'held') THEN state ELSE 'good' END AS standing FROM certificate WHERE id = ? FOR SHARE",
            parameters: [identity.record.id],
            expects: { standing: 'good' },
            refusal: (row) =>
              new TrustError('forbidden', row?.['standing'] === 'held' ? 'certificateHeld' : 'certificateRevoked'),
          },
        ]
      case 'foreign-registration-authority': // nothing here records its state
      case 'foreign-device': // what is asked of devices does
      case 'person':
        return []
    }
  }

  const windowMilliseconds = (): number => settings.retryWindowSeconds * 1000
  const windowStart = (): number => world.clock.now() - windowMilliseconds()

  async function answeredBefore(endpoint: Endpoint, asker: string, requestHash: string): Promise<IssuedAnswer | undefined> {
    const [row] = await db.query(
      `SELECT c.id, c.der, c.authority_id, c.revoked_at FROM enrollment_request r JOIN certificate c ON c.id = r.certificate_id
        WHERE r.organization_id = ? AND r.claim = ? AND r.created_at > ?`,
      DEFAULT_ORGANIZATION,
      claimOf(endpoint, asker, requestHash),
      windowStart(),
    )
    if (row === undefined) return undefined
    if (row['revoked_at'] !== null) throw new TrustError('forbidden', 'answerRevoked')
    const chain = chainOf(authorities, authorities.byId(row['authority_id'] as string))
    return { state: 'issued', certificateId: row['id'] as string, certificate: row['der'] as Uint8Array, chain }
  }

  async function sameAnswer(certificateId: string, authority: Authority): Promise<IssuedAnswer> {
    const [row] = await db.query('SELECT der FROM certificate WHERE id = ?', certificateId)
    return { state: 'issued', certificateId, certificate: row?.['der'] as Uint8Array, chain: chainOf(authorities, authority) }
  }

  const answerOf = (issued: Issued, authority: Authority): IssuedAnswer => ({
    state: 'issued',
    certificateId: issued.id,
    certificate: issued.der,
    chain: chainOf(authorities, authority),
  })

  async function authenticate(endpoint: Endpoint, { chain, basic }: Credentials): Promise<Identity> {
    if (basic !== undefined) {
      if (!endpoint.rules.secrets) throw new TrustError('unauthenticated', 'secretsNotHere')
      return { kind: 'secret', secret: await openEnrollmentSecret(context, endpoint.id, basic.userName, basic.password) }
    }
    const [own] = chain
    if (own === undefined) throw new TrustError('unauthenticated', 'noCredentials')
    return identityOfCertificate(endpoint, own, chain)
  }

  /**
   * A certificate counts only when an authority that the endpoint lists issued it, and its record says that it is in use.
   */
  async function identityOfCertificate(endpoint: Endpoint, der: Uint8Array, chain: Credentials['chain']): Promise<Identity> {
    const shown = readShown(der)
    const { certificate, fingerprint } = shown
    const issuers = authorities
      .bySubject(certificate.issuer)
      .filter(({ address }) => endpoint.rules.clientIssuers.includes(address))
    if (issuers.length === 0) return identityOfForeign(endpoint, chain, shown)
    const record = await findShown(context, authorities, shown, endpoint.rules.clientIssuers)
    const issuer = authorities.byId(record.authorityId)
    await paths.checkIssuer(issuer)
    const problem = isUsable(record, world.clock.now())
    if (problem !== undefined) throw new TrustError('forbidden', problem)

    const station = endpoint.rules.registrationAuthorities.find((listed) => listed.fingerprint === fingerprint)
    if (station !== undefined) return { kind: 'registration-authority', record, productSerials: station.productSerials }
    if (record.productSerial === undefined) throw new TrustError('forbidden', 'certificateNotForEnrollment')
    return { kind: 'device', record, certificate }
  }

  /**
   * Another's certificate counts when a trusted authority that the endpoint lists vouches for it, and only for a station
   * that is listed itself, or a device that came from there: what another maker writes as a serial says nothing about
   * devices of ours.
   */
  async function identityOfForeign(
    endpoint: Endpoint,
    chain: Credentials['chain'],
    { certificate, fingerprint }: Shown,
  ): Promise<Identity> {
    const { clientIssuers, registrationAuthorities } = endpoint.rules
    if ((await paths.foreignIssuer(chain, clientIssuers)) === undefined) throw new TrustError('forbidden', 'issuerNotListed')
    const station = registrationAuthorities.find((listed) => listed.fingerprint === fingerprint)
    if (station !== undefined)
      return { kind: 'foreign-registration-authority', fingerprint, productSerials: station.productSerials }
    const productSerial = await bornElsewhere(fingerprint, chain, endpoint)
    if (productSerial === undefined) throw new TrustError('forbidden', 'certificateNotForEnrollment')
    return { kind: 'foreign-device', certificate, fingerprint, productSerial }
  }

  return {
    openEndpoint: (protocol, label) => openEndpoint(context, protocol, label),
    authorityCertificates: (endpoint) => offeredBy(authorities, authorities.byId(endpoint.authorityId), world.clock.now()),
    authenticate: (endpoint, credentials) =>
      audited(endpoint, 'endpoint.authenticate', undefined, () => authenticate(endpoint, credentials)),
    enroll: (input) => audited(input.endpoint, 'certificate.enroll', input.identity, () => enroll(input)),
    profileOf: (endpoint) => openProfile(context, endpoint.profile),
  }

  async function keepRefusal(endpoint: Endpoint, act: string, identity: Identity | undefined, error: TrustError): Promise<void> {
    const { allowed, unrecorded } = identity === undefined ? allowance() : { allowed: true, unrecorded: 0 }
    if (!allowed) return
    await audit.refuse({
      actor: identity === undefined ? 'stranger' : nameOfIdentity(identity),
      act,
      object: `endpoint:${endpoint.id}`,
      reason: error.reason,
      facts: { code: error.code, ...error.facts, ...(unrecorded > 0 && { unrecorded }) },
    })
  }

  /** Refusals that somebody may want to look into are kept; bytes that do not parse are not worth a line. */
  async function audited<T>(endpoint: Endpoint, act: string, identity: Identity | undefined, work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (thrown) {
      const error = asTrustError(thrown)
      if (isSensitive(error)) await keepRefusal(endpoint, act, identity, error)
      throw error
    }
  }
}

/** Goes before the look at its state: batches are merged where nothing that was looked at is changed (`store/postgres/merge.ts`). */
const supersede = (id: string): Step => ({
  sql: "UPDATE certificate SET state = 'superseded', version = version + 1 WHERE id = ? AND state = 'active'",
  parameters: [id],
})

/** Of who asks for what, and where: none of the three can hold a line break. */
const claimOf = ({ id }: Endpoint, asker: string, requestHash: string): Uint8Array =>
  new Uint8Array(hash('sha256', `${id}\n${asker}\n${requestHash}`, 'buffer'))

/** Another copy of the same request was kept first. */
class AnsweredBefore extends Error {
  readonly certificateId: string
  constructor(certificateId: string) {
    super('answered before')
    this.certificateId = certificateId
  }
}

/** Strangers cannot fill the audit log: what comes beyond this in a minute is counted, and the count kept with the next. */
const STRANGER_ENTRIES_PER_MINUTE = 60
const MINUTE_MILLISECONDS = 60_000

/** @returns whether an entry may be written now, and how many were not written since the last */
function strangerAllowance(clock: CAContext['world']['clock']): () => { readonly allowed: boolean; readonly unrecorded: number } {
  let since = Number.NEGATIVE_INFINITY
  let written = 0
  let unrecorded = 0
  return () => {
    const now = clock.now()
    if (now - since >= MINUTE_MILLISECONDS || now < since) [since, written] = [now, 0]
    if (written >= STRANGER_ENTRIES_PER_MINUTE) {
      unrecorded++
      return { allowed: false, unrecorded }
    }
    written++
    const report = { allowed: true, unrecorded }
    unrecorded = 0
    return report
  }
}

interface Shown {
  readonly certificate: Certificate
  /** SHA-256 in lower-case hex. */
  readonly fingerprint: string
}

/** A connection shows the same octets with each of its requests. */
const shownBefore = new WeakMap<Uint8Array, Shown>()

/** What is written in the certificate, and nothing of what it is worth. @throws TrustError `malformed` */
function readShown(der: Uint8Array): Shown {
  const known = shownBefore.get(der)
  if (known !== undefined) return known
  const shown = { certificate: parseCertificate(der), fingerprint: hash('sha256', der) }
  shownBefore.set(der, shown)
  return shown
}

const isSensitive = ({ code, reason }: TrustError): boolean =>
  reason !== 'noCredentials' &&
  ['unauthenticated', 'forbidden', 'badProof', 'policyRefused', 'conflict', 'quotaExceeded'].includes(code)

/** Renewal proper: a device's own certificate, at the renewal operation, for a certificate of the same profile. */
function isRenewal({ endpoint, operation, identity }: EnrollmentInput): boolean {
  if (operation !== 'reenroll') return false
  if (identity.kind === 'device' && identity.record.profile === endpoint.profile) return true
  if (endpoint.rules.firstEnrollmentOnReenroll) return false
  throw new TrustError('forbidden', 'nothingToRenew')
}

function applicantOf(identity: Identity): Applicant {
  switch (identity.kind) {
    case 'device':
      return { kind: 'device', certificate: identity.certificate, productSerial: identity.record.productSerial as string }
    case 'foreign-device':
      return { kind: 'device', certificate: identity.certificate, productSerial: identity.productSerial }
    case 'registration-authority':
    case 'foreign-registration-authority':
      return {
        kind: 'registration-authority',
        mayAskFor: (serial) => identity.productSerials.some((pattern) => matchesPattern(pattern, serial)),
      }
    case 'secret':
      return { kind: 'secret', productSerial: identity.secret.productSerial }
    case 'person':
      return { kind: 'person' }
  }
}

/** As the audit log and the retry rule name it: stable over a person's or a certificate's life, and no personal data. */
export function nameOfIdentity(identity: Identity): string {
  switch (identity.kind) {
    case 'device':
    case 'registration-authority':
      return `certificate:${identity.record.id}`
    case 'foreign-device':
    case 'foreign-registration-authority':
      return `foreign-certificate:${identity.fingerprint}`
    case 'secret':
      return `secret:${identity.secret.id}`
    case 'person':
      return `person:${identity.principalId}`
  }
}
