/**
 * Authorities that are certified elsewhere: a key and its request are made here, the request is carried to the issuer,
 * and the certificate is imported.
 *
 * @module
 */
import { importPublicKey } from '#algorithms/public-key.ts'
import { certificateSignatureOf, type KeyAlgorithmId } from '#algorithms/table.ts'
import { equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { uuidv7 } from '#base/world.ts'
import { keyReference, keyStoreOf } from '#keys/key-ring.ts'
import type { Signer } from '#keys/key-store.ts'
import type { Row, Transaction } from '#store/database.ts'
import { isDuplicate } from '#store/duplicate.ts'
import { type Certificate, extensionOf, fingerprint, parseCertificate } from '#x509/certificate.ts'
import { encodeCertificationRequest, parseCertificationRequest } from '#x509/certification-request.ts'
import { basicConstraints } from '#x509/extensions/basic-constraints.ts'
import { extensionWith } from '#x509/extensions/extension.ts'
import { keyUsage } from '#x509/extensions/key-usage.ts'
import { subjectKeyIdentifier } from '#x509/extensions/subject-key-identifier.ts'
import { encodeName, equalNames, formatName, type Name, parseName } from '#x509/name.ts'
import type { Authorities, Authority, TrustedAuthority } from './authorities.ts'
import { checkSlugFree, describe, keepAuthority, keyLabelOf, noteChange, type Stored, withNewKey } from './authority-record.ts'
import { ceremonyFacts } from './ceremony.ts'
import type { CAContext } from './context.ts'
import { followRekey, forgetEndpoints } from './endpoint.ts'
import { checkAuthorityCertificate, refused, trustedIssuerOf } from './foreign-certificate.ts'
import { CRL_VALIDITY_DEFAULT_SECONDS, openAuthorityProfile } from './make-authority.ts'
import { activeOne, checkNewest, replaceCertificate, retireIn } from './rotate.ts'
import { DEFAULT_ORGANIZATION } from './tables.ts'
import { checkNotListed } from './trusted.ts'

export interface AuthorityRequest {
  /** Becomes the authority's, unless it renews one. */
  readonly id: string
  readonly slug: string
  readonly generation: number
  readonly address: string
  readonly profile: string
  readonly keyLabel: string
  readonly keyAlgorithm: KeyAlgorithmId
  /** DER CertificationRequest */
  readonly request: Uint8Array
  readonly crlValiditySeconds: number
  readonly createdAt: Date
}

export interface NewAuthorityRequest {
  readonly slug: string
  readonly name: Name
  readonly profile: string
  readonly keyAlgorithm: KeyAlgorithmId
  readonly crlValiditySeconds?: number
  /** Where its key is made; the default store unless told. */
  readonly keyStore?: string
}

/** Makes a key and a request for a new authority. */
export async function requestAuthority(context: CAContext, input: NewAuthorityRequest, actor: string): Promise<AuthorityRequest> {
  const { keys, world, db } = context
  await openAuthorityProfile(context, input)
  await checkSlugFree(db, input.slug)
  const of = { id: uuidv7(world), slug: input.slug, generation: 1 }
  const rest = { profile: input.profile, crlValiditySeconds: input.crlValiditySeconds ?? CRL_VALIDITY_DEFAULT_SECONDS }
  return withNewKey(keys, keyReference(input.keyStore, keyLabelOf(of)), input.keyAlgorithm, async (signer) => {
    const request = await requestOf(context, { ...of, ...rest }, encodeName(input.name), signer)
    await keepRequest(context, request, actor, (tx) => checkSlugFree(tx, input.slug))
    return request
  })
}

export interface RotationRequest {
  /** `renew` keeps the key; `rekey` makes one for the next generation. */
  readonly mode: 'renew' | 'rekey'
  readonly keyAlgorithm?: KeyAlgorithmId
}

/** Makes a request for an authority that is there, with its key or a new one; the certificate that comes back replaces it. */
export async function requestRotation(
  context: CAContext,
  authorities: Authorities,
  address: string,
  { mode, keyAlgorithm }: RotationRequest,
  actor: string,
): Promise<AuthorityRequest> {
  const { keys, world } = context
  const authority = activeOne(authorities, address)
  checkNewest(authorities, authority)
  const { slug, generation, profile, crlValiditySeconds, certificate, signer } = authority
  if (mode === 'renew') {
    const request = await requestOf(
      context,
      { id: uuidv7(world), slug, generation, profile, crlValiditySeconds },
      certificate.subject,
      signer,
    )
    await keepRequest(context, request, actor)
    return request
  }
  const of = { id: uuidv7(world), slug, generation: generation + 1, profile, crlValiditySeconds }
  const algorithm = keyAlgorithm ?? authority.keyAlgorithm
  await openAuthorityProfile(context, { slug, profile, keyAlgorithm: algorithm })
  const label = keyReference(keyStoreOf(authority.keyLabel), keyLabelOf(of))
  return withNewKey(keys, label, algorithm, async (made) => {
    const request = await requestOf(context, of, certificate.subject, made)
    await keepRequest(context, request, actor)
    return request
  })
}

type About = Pick<AuthorityRequest, 'id' | 'slug' | 'generation' | 'profile' | 'crlValiditySeconds'>

async function requestOf({ world }: CAContext, about: About, subject: Uint8Array, signer: Signer): Promise<AuthorityRequest> {
  const signatureAlgorithm = certificateSignatureOf(signer.keyAlgorithm)
  const { subjectPublicKey } = importPublicKey(signer.publicKey)
  const request = await encodeCertificationRequest(
    {
      subject,
      publicKey: signer.publicKey,
      extensions: [
        extensionWith(basicConstraints, { cA: true }, true),
        extensionWith(keyUsage, ['keyCertSign', 'cRLSign'], true),
        extensionWith(subjectKeyIdentifier, fingerprint(subjectPublicKey).subarray(0, 20)), // RFC 7093, 2, method 1
      ],
    },
    { signatureAlgorithm, sign: (message) => signer.sign(message, signatureAlgorithm) },
  )
  return {
    ...about,
    address: `${about.slug}.${about.generation}`,
    keyLabel: signer.label,
    keyAlgorithm: signer.keyAlgorithm,
    request,
    createdAt: new Date(world.clock.now()),
  }
}

async function keepRequest(
  { db, audit, keys, settings }: CAContext,
  request: AuthorityRequest,
  actor: string,
  check: (tx: Transaction) => Promise<void> = async () => {},
): Promise<void> {
  const { id, slug, generation, profile, keyLabel, keyAlgorithm } = request
  const row = {
    id,
    organization_id: DEFAULT_ORGANIZATION,
    version: 1,
    slug,
    generation,
    profile,
    key_label: keyLabel,
    key_algorithm: keyAlgorithm,
    request: request.request,
    crl_validity_seconds: request.crlValiditySeconds,
    created_at: request.createdAt.getTime(),
  }
  const { subject, subjectPublicKeyInfo } = parseCertificationRequest(request.request)
  try {
    await db.transaction(async (tx) => {
      await noteChange(tx)
      await check(tx)
      await tx.insertMany('authority_request', Object.keys(row), [Object.values(row)])
      await audit.record(tx, {
        actor,
        act: 'ca.request',
        object: `authority:${id}`,
        outcome: 'done',
        facts: {
          address: request.address,
          profile,
          keyAlgorithm,
          keyStore: keyStoreOf(keyLabel) ?? keys.id,
          keyLabel,
          subject: formatName(parseName(subject)),
          keyFingerprint: fingerprint(subjectPublicKeyInfo).toHex(),
          requestFingerprint: fingerprint(request.request).toHex(),
          programVersion: settings.programVersion,
        },
      })
    })
  } catch (error) {
    if (!isDuplicate(error, 'authority_request')) throw error
    throw new TrustError('conflict', 'authorityRequested', { facts: { authority: slug } })
  }
}

export async function listRequests({ db }: Pick<CAContext, 'db'>): Promise<readonly AuthorityRequest[]> {
  return (await db.query('SELECT * FROM authority_request WHERE organization_id = ? ORDER BY id', DEFAULT_ORGANIZATION)).map(
    requestOfRow,
  )
}

/** @throws TrustError `notFound` */
export async function openRequest({ db }: Pick<CAContext, 'db'>, slug: string): Promise<AuthorityRequest> {
  const [row] = await db.query(
    'SELECT * FROM authority_request WHERE organization_id = ? AND slug = ?',
    DEFAULT_ORGANIZATION,
    slug,
  )
  if (row === undefined) throw new TrustError('notFound', 'authorityNotRequested', { facts: { authority: slug } })
  return requestOfRow(row)
}

const requestOfRow = (row: Row): AuthorityRequest => ({
  id: row['id'] as string,
  slug: row['slug'] as string,
  generation: row['generation'] as number,
  address: `${row['slug'] as string}.${row['generation'] as number}`,
  profile: row['profile'] as string,
  keyLabel: row['key_label'] as string,
  keyAlgorithm: row['key_algorithm'] as KeyAlgorithmId,
  request: row['request'] as Uint8Array,
  crlValiditySeconds: row['crl_validity_seconds'] as number,
  createdAt: new Date(row['created_at'] as number),
})

/** Takes it back; a key that was made for it is destroyed. @throws TrustError `notFound` */
export async function cancelRequest(context: CAContext, authorities: Authorities, slug: string, actor: string): Promise<void> {
  const { db, audit, keys } = context
  const { id, address, keyLabel } = await openRequest(context, slug)
  await db.transaction(async (tx) => {
    await takeRequest(tx, id, slug)
    await audit.record(tx, { actor, act: 'ca.cancel-request', object: `authority:${id}`, outcome: 'done', facts: { address } })
  })
  await authorities.refresh() // another process may have made an authority of this key a moment ago
  if (!authorities.list().some((authority) => authority.keyLabel === keyLabel)) await keys.destroy(keyLabel)
}

/** @throws TrustError `notFound` when another was faster */
async function takeRequest(tx: Transaction, id: string, slug: string): Promise<void> {
  const taken = await tx.query('DELETE FROM authority_request WHERE id = ? RETURNING id', id)
  if (taken.length === 0) throw new TrustError('notFound', 'authorityNotRequested', { facts: { authority: slug } })
}

/**
 * Completes a request with the certificate that came back: the authority issues from now on.
 *
 * @param der the certificate alone; those above it were imported before, as trusted
 * @throws TrustError `policyRefused` when it is not for this request, not for an authority, or leads to no trusted root
 */
export async function importCertificate(
  context: CAContext,
  authorities: Authorities,
  slug: string,
  der: Uint8Array,
  actor: string,
): Promise<Authority> {
  const { db, keys, audit } = context
  const request = await openRequest(context, slug)
  const certificate = parseCertificate(der)
  const issuer = await checkForRequest(context, authorities, request, certificate)
  const signer = await keys.open(request.keyLabel)
  const former = authorities.list().findLast((one) => one.slug === slug)
  const isRenewal = former?.generation === request.generation && former.keyLabel === request.keyLabel
  if (former !== undefined && !isRenewal && former.generation >= request.generation)
    throw new TrustError('conflict', 'authorityNotNewest', { facts: { authority: request.address, newest: former.address } })
  const stored: Stored = {
    id: isRenewal ? former.id : request.id,
    slug,
    generation: request.generation,
    profile: request.profile,
    issuerId: issuer.id,
    state: 'active',
    crlShards: former?.crlShards ?? 1,
    crlValiditySeconds: request.crlValiditySeconds,
    crlDeltaSeconds: former?.crlDeltaSeconds,
  }
  const authority = describe(stored, certificate, signer)
  const rest = async (tx: Transaction): Promise<void> => {
    await takeRequest(tx, request.id, slug)
    await recordForeign(context, tx, issuer, authority)
    await audit.record(tx, {
      actor,
      act: 'ca.import',
      object: `authority:${authority.id}`,
      outcome: 'done',
      facts: { ...ceremonyFacts(context, authority, issuer), request: request.id },
    })
  }
  if (isRenewal) {
    await db.transaction(async (tx) => {
      await noteChange(tx)
      await replaceCertificate(context, tx, former, authority)
      await rest(tx)
    })
  } else {
    await keepAuthority(context, authority, async (tx) => {
      if (former !== undefined) {
        await retireIn(tx, former)
        await followRekey(context, tx, { from: former, to: authority }, actor)
      }
      await rest(tx)
    })
    forgetEndpoints(db)
  }
  await authorities.refresh()
  return authorities.byId(authority.id)
}

async function checkForRequest(
  context: CAContext,
  authorities: Authorities,
  { request, profile }: AuthorityRequest,
  certificate: Certificate,
): Promise<TrustedAuthority> {
  const { subject, subjectPublicKeyInfo } = parseCertificationRequest(request)
  const now = context.world.clock.now()
  if (!equal(certificate.subjectPublicKeyInfo, subjectPublicKeyInfo)) throw refused('its key is not that of the request')
  if (!equalNames(certificate.subject, subject)) throw refused('its subject is not that of the request')
  checkAuthorityCertificate(certificate, now)
  if (certificate.notBefore.getTime() > now) throw refused(`it begins on ${certificate.notBefore.toISOString()}`)
  if (extensionOf(certificate, keyUsage)?.value.includes('cRLSign') === false)
    throw refused('its key usage does not include cRLSign')
  if (extensionOf(certificate, subjectKeyIdentifier) === undefined) throw refused('it has no subjectKeyIdentifier')
  const depth = (
    await openAuthorityProfile(context, { slug: 'x', profile, keyAlgorithm: importPublicKey(subjectPublicKeyInfo).algorithm })
  ).pathLenConstraint
  const given = extensionOf(certificate, basicConstraints)?.value.pathLenConstraint
  if (given !== undefined && depth !== undefined && given < depth)
    throw refused(`it allows ${given} authorities below it, and its profile means ${depth}`)
  const issuer = await trustedIssuerOf(context, authorities, certificate, now)
  await checkNotListed(context, issuer, certificate.serialNumber)
  return issuer
}

/** So that the issuer's CRL, once imported, finds it. */
async function recordForeign(
  { world }: CAContext,
  tx: Transaction,
  issuer: TrustedAuthority,
  { profile, certificate }: Authority,
): Promise<void> {
  const row = {
    id: uuidv7(world),
    organization_id: DEFAULT_ORGANIZATION,
    version: 1,
    authority_id: issuer.id,
    serial_number: certificate.serialNumber,
    profile,
    subject: formatName(parseName(certificate.subject)),
    key_hash: fingerprint(certificate.subjectPublicKeyInfo),
    not_before: certificate.notBefore.getTime(),
    not_after: certificate.notAfter.getTime(),
    state: 'active',
    crl_shard: 0,
    der: certificate.der,
    created_at: world.clock.now(),
  }
  await tx.insertMany('certificate', Object.keys(row), [Object.values(row)])
}
