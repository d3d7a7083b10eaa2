/**
 * Issuing: a certificate is built, read back, linted, and only then signed.
 *
 * What was not rehearsed cannot be signed, since only {@link rehearse} makes what {@link signRehearsed} takes.
 * Signing happens outside the database transaction; {@link stepsToInsert} are what it writes.
 *
 * @module
 */
import { hash } from 'node:crypto'
import type { PublicKey } from '#algorithms/public-key.ts'
import { certificateSignatureOf, type KeyAlgorithmId, type SignatureAlgorithmId } from '#algorithms/table.ts'
import { concat, equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { uuidv7, type World } from '#base/world.ts'
import type { Signer } from '#keys/key-store.ts'
import { type Step, take } from '#store/batch.ts'
import type { Row, Transaction } from '#store/database.ts'
import { encodeTBSCertificate, encodeValidity, parseTBSCertificate } from '#x509/certificate.ts'
import { accessAt, authorityInfoAccess } from '#x509/extensions/authority-information-access.ts'
import { authorityKeyIdentifier } from '#x509/extensions/authority-key-identifier.ts'
import { basicConstraints } from '#x509/extensions/basic-constraints.ts'
import { certificatePolicies } from '#x509/extensions/certificate-policies.ts'
import { crlDistributionPoints, distributionPointAt, freshestCRL } from '#x509/extensions/crl-distribution-points.ts'
import { extKeyUsage } from '#x509/extensions/extended-key-usage.ts'
import { encodeExtension } from '#x509/extensions/extension.ts'
import { keyUsage } from '#x509/extensions/key-usage.ts'
import { nameConstraints } from '#x509/extensions/name-constraints.ts'
import { ocspNoCheck } from '#x509/extensions/ocsp-extensions.ts'
import { subjectAltName as subjectAltNameType } from '#x509/extensions/subject-alternative-name.ts'
import { subjectKeyIdentifier } from '#x509/extensions/subject-key-identifier.ts'
import { encodeSigned, signatureIdentifier } from '#x509/signed.ts'
import type { Authority } from './authorities.ts'
import type { CAContext, CASettings } from './context.ts'
import { crlAddress, deltaCRLAddress, shardOf } from './crl.ts'
import { lint } from './lint/lint.ts'
import { nameConstraintsOf } from './name-constraints.ts'
import type { Profile } from './profile.ts'
import type { Plan } from './request-rules.ts'
import { DEFAULT_ORGANIZATION } from './tables.ts'

/** The end that means none. RFC 5280, 4.1.2.5. */
export const NO_EXPIRY = Date.UTC(9999, 11, 31, 23, 59, 59)
const DAY_MILLISECONDS = 86_400_000

/** Who signs: an authority, or for a root its own new key. */
interface Issuer {
  readonly subject: Uint8Array
  readonly keyIdentifier: Uint8Array
  readonly signer: Signer
  readonly signatureAlgorithm: SignatureAlgorithmId
  /** Undefined while a root signs itself. */
  readonly authority: Authority | undefined
}

export type SelfSigned = Omit<Plan, 'authority'> & { readonly selfSigner: Signer }

/** A root signs itself: nothing stands above it. */
export const selfSigned = (holder: Omit<Plan, 'authority'>, selfSigner: Signer): SelfSigned => ({ ...holder, selfSigner })

/** A certificate that passed its rehearsal. Made here only. */
export interface Rehearsed {
  readonly tbsCertificate: Uint8Array
  readonly issuer: Issuer
  readonly plan: Plan | SelfSigned
  readonly record: Omit<Issued, 'der'>
}

/** A signed certificate with what its row says. */
export interface Issued {
  readonly id: string
  readonly der: Uint8Array
  /** Undefined only between a root's signature and its own record. */
  readonly authorityId: string | undefined
  readonly serialNumber: Uint8Array
  readonly profile: Profile
  readonly subjectText: string
  readonly productSerial: string | undefined
  readonly keyHash: Uint8Array
  readonly notBefore: number
  readonly notAfter: number
  readonly crlShard: number
  readonly issuedAt: number
  /** Algorithms that the policy wants reported, of the key and of the signature. */
  readonly deprecated: readonly string[]
}

/**
 * @throws TrustError `policyRefused` naming the lint rule or the algorithm; `unavailable` when an address has to be written
 *   and none is configured, and after a restore until it is known what was issued since the backup
 */
export function rehearse(
  { world, settings, policy }: Pick<CAContext, 'world' | 'settings' | 'policy'>,
  plan: Plan | SelfSigned,
): Rehearsed {
  const { profile, publicKey } = plan
  // revocation goes on to be said
  if (settings.issuanceClosed === true && profile.holder !== 'responder') throw new TrustError('unavailable', 'issuanceClosed')
  const issuer = issuerOf(plan)
  const issuedAt = world.clock.now()
  const deprecated = [publicKey.algorithm, issuer.signatureAlgorithm].filter((id) => policy.check(id, issuedAt) === 'deprecated')
  const notBefore = plan.period?.notBefore ?? wholeSecond(issuedAt - settings.backdateSeconds * 1000)
  const notAfter = plan.period?.notAfter ?? endOf(profile, issuer, issuedAt)
  const serialNumber = plan.serialNumber ?? newSerialNumber(world, issuedAt)
  const crlShard = issuer.authority === undefined ? 0 : shardOf(serialNumber, issuer.authority.crlShards)
  const template = templateOf(profile, issuer, settings, crlShard)
  const tbsCertificate = encodeTBSCertificate({
    serialNumber,
    signatureAlgorithm: signatureIdentifier(issuer.signatureAlgorithm),
    issuer: issuer.subject,
    validity: validityOf(template, notBefore, notAfter),
    subject: plan.subject,
    subjectPublicKeyInfo: publicKey.spki,
    extensions: [template.extensions, ...ownExtensions(plan)],
  })
  const rehearsal = parseTBSCertificate(tbsCertificate)
  const finding = lint(
    {
      certificate: rehearsal,
      publicKey,
      profile,
      issuer: issuer.authority?.certificate ?? rehearsal,
      weakKeys: settings.weakKeys,
    },
    template.passed.has(publicKey.algorithm) ? 'passed' : 'unknown',
  )
  if (finding !== undefined)
    throw new TrustError('policyRefused', 'lint', { facts: { rule: finding.rule, finding: finding.finding } })
  template.passed.add(publicKey.algorithm)
  return {
    tbsCertificate,
    issuer,
    plan,
    record: {
      id: uuidv7(world),
      authorityId: issuer.authority?.id,
      serialNumber,
      profile,
      subjectText: plan.subjectText,
      productSerial: plan.productSerial,
      keyHash: sha256(publicKey.spki),
      notBefore,
      notAfter,
      crlShard,
      issuedAt,
      deprecated,
    },
  }
}

export async function signRehearsed({ tbsCertificate, issuer, record }: Rehearsed): Promise<Issued> {
  const signature = await issuer.signer.sign(tbsCertificate, issuer.signatureAlgorithm)
  return { ...record, der: encodeSigned(tbsCertificate, signatureIdentifier(issuer.signatureAlgorithm), signature) }
}

function issuerOf(plan: Plan | SelfSigned): Issuer {
  if ('authority' in plan) {
    const { authority } = plan
    // a retired one goes on to say what is revoked, by a responder too (RFC 6960, 4.2.2.2)
    if (authority.state !== 'active' && !(authority.state === 'retired' && plan.profile.holder === 'responder'))
      throw new TrustError('unavailable', 'authorityRetired', { facts: { authority: authority.address } })
    const { certificate, keyIdentifier, signer, signatureAlgorithm } = authority
    return { subject: certificate.subject, keyIdentifier, signer, signatureAlgorithm, authority }
  }
  return {
    subject: plan.subject,
    keyIdentifier: plan.subjectKeyIdentifier ?? keyIdentifierOf(plan.publicKey),
    signer: plan.selfSigner,
    signatureAlgorithm: certificateSignatureOf(plan.publicKey.algorithm),
    authority: undefined,
  }
}

const SERIAL_RANDOM_OCTETS = 10

/**
 * 48 bits of time, then 80 of chance: rows arrive at one edge of the index, which doubles the rate of large tables,
 * and 80 bits are more than the 64 that nobody can guess. It tells when the certificate was issued, as notBefore does.
 */
function newSerialNumber({ random }: World, now: number): Uint8Array {
  const serialNumber = new Uint8Array(6 + SERIAL_RANDOM_OCTETS)
  for (let i = 5, rest = now; i >= 0; i--, rest = Math.floor(rest / 256)) serialNumber[i] = rest & 0xff
  serialNumber[0] = ((serialNumber[0] as number) & 0x3f) | 0x40 // positive and never zero, whatever the clock says
  serialNumber.set(random.octets(SERIAL_RANDOM_OCTETS), 6)
  return serialNumber
}

/** What is asked for is given whole or not at all; a responder is ours, and speaks for its authority to the last day. */
function endOf({ validity, holder }: Profile, { authority }: Issuer, issuedAt: number): number {
  if ('noExpiry' in validity) return NO_EXPIRY
  const end = wholeSecond(issuedAt + validity.days * DAY_MILLISECONDS)
  return holder === 'responder' && authority !== undefined ? Math.min(end, authority.certificate.notAfter.getTime()) : end
}

const wholeSecond = (time: number): number => Math.floor(time / 1000) * 1000

/** RFC 7093, 2, method 1: the leftmost 160 bits of the SHA-256 of the key. */
const keyIdentifierOf = ({ subjectPublicKey }: PublicKey): Uint8Array => sha256(subjectPublicKey).subarray(0, 20)

/** By way of hex, which takes half the time of a Buffer. */
const sha256 = (octets: Uint8Array): Uint8Array => Uint8Array.fromHex(hash('sha256', octets))

/** What is the same in every certificate of one authority, profile and shard: encoded once, and linted once per kind of key. */
interface Template {
  /** The address that its extensions name. */
  readonly publicUrl: string | undefined
  /** DER Extensions, one after the other. */
  readonly extensions: Uint8Array
  readonly passed: Set<KeyAlgorithmId>
  /** The latest; all certificates of one second have the same. */
  validity: { readonly notBefore: number; readonly notAfter: number; readonly der: Uint8Array } | undefined
}

/** By profile, authority and shard. */
const templates = new WeakMap<Profile, WeakMap<Authority, Template[]>>()

function templateOf(profile: Profile, issuer: Issuer, settings: CASettings, crlShard: number): Template {
  const { authority } = issuer
  if (authority === undefined) return makeTemplate(profile, issuer, settings, crlShard)
  const byAuthority = templates.get(profile) ?? new WeakMap<Authority, Template[]>()
  templates.set(profile, byAuthority)
  const shards = byAuthority.get(authority) ?? []
  byAuthority.set(authority, shards)
  const known = shards[crlShard]
  if (known !== undefined && known.publicUrl === settings.publicUrl) return known
  return (shards[crlShard] = makeTemplate(profile, issuer, settings, crlShard))
}

const makeTemplate = (profile: Profile, issuer: Issuer, settings: CASettings, crlShard: number): Template => ({
  publicUrl: settings.publicUrl,
  extensions: concat(encodeConstant(profile, issuer, settings, crlShard)),
  passed: new Set(),
  validity: undefined,
})

/** @returns DER Validity */
function validityOf(template: Template, notBefore: number, notAfter: number): Uint8Array {
  const { validity } = template
  if (validity?.notBefore === notBefore && validity.notAfter === notAfter) return validity.der
  const der = encodeValidity({ notBefore: new Date(notBefore), notAfter: new Date(notAfter) })
  template.validity = { notBefore, notAfter, der }
  return der
}

function ownExtensions(plan: Plan | SelfSigned): Uint8Array[] {
  const { profile, publicKey, subjectAltName, subject } = plan
  const extensions: Uint8Array[] = []
  if (profile.subjectKeyIdentifier)
    extensions.push(encodeExtension(subjectKeyIdentifier, plan.subjectKeyIdentifier ?? keyIdentifierOf(publicKey)))
  if (subjectAltName !== undefined)
    extensions.push(encodeExtension(subjectAltNameType, subjectAltName, subject.length <= EMPTY_NAME_OCTETS))
  return extensions
}

const EMPTY_NAME_OCTETS = 2

function encodeConstant(profile: Profile, issuer: Issuer, settings: CASettings, crlShard: number): Uint8Array[] {
  const { authority, keyIdentifier } = issuer
  const isAuthority = profile.holder === 'authority'
  const { pathLenConstraint } = profile
  const extensions: Uint8Array[] = [
    isAuthority
      ? encodeExtension(basicConstraints, { cA: true, ...(pathLenConstraint !== undefined && { pathLenConstraint }) }, true)
      : encodeExtension(basicConstraints, { cA: false }, true),
    encodeExtension(keyUsage, profile.keyUsage, true),
    encodeExtension(authorityKeyIdentifier, { keyIdentifier }),
  ]
  if (profile.nameConstraints !== undefined)
    extensions.push(encodeExtension(nameConstraints, nameConstraintsOf(profile.nameConstraints), true))
  if (profile.extendedKeyUsage.length > 0)
    extensions.push(encodeExtension(extKeyUsage, profile.extendedKeyUsage, profile.extendedKeyUsageCritical === true))
  if (profile.certificatePolicies !== undefined && profile.certificatePolicies.length > 0) {
    extensions.push(
      encodeExtension(
        certificatePolicies,
        profile.certificatePolicies.map((policyIdentifier) => ({ policyIdentifier })),
      ),
    )
  }
  if (profile.revocationPointers && authority !== undefined) {
    const { publicUrl } = settings
    if (publicUrl === undefined) throw new TrustError('unavailable', 'publicUrlMissing')
    extensions.push(
      encodeExtension(crlDistributionPoints, [distributionPointAt(crlAddress(publicUrl, authority, crlShard))]),
      encodeExtension(authorityInfoAccess, [
        ...(profile.withoutOCSP === true ? [] : [accessAt('ocsp', `${publicUrl}/ocsp/${authority.address}`)]),
        accessAt('caIssuers', `${publicUrl}/ca/${authority.address}.cer`),
      ]),
    )
    if (profile.freshestCRL === true && authority.crlDeltaSeconds !== undefined)
      extensions.push(encodeExtension(freshestCRL, [distributionPointAt(deltaCRLAddress(publicUrl, authority, crlShard))]))
  }
  if (profile.ocspNocheck === true) extensions.push(encodeExtension(ocspNoCheck, null))
  return extensions
}

export interface IssuedBy {
  readonly actor: string
  readonly endpointId?: string
}

/**
 * The certificate's row with its key binding and audit entry, to be kept together: `keep` of the store, or `take`
 * within a transaction that does more.
 *
 * They end with TrustError `policyRefused` when the key belongs to another product, `conflict` when the product has
 * another key: the unique indexes decide between requests that race.
 */
export function stepsToInsert(
  { audit, world }: Pick<CAContext, 'audit' | 'world'>,
  issued: Issued,
  { actor, endpointId }: IssuedBy,
): readonly Step[] {
  const { id, authorityId, profile, productSerial } = issued
  if (authorityId === undefined) throw new TypeError('a certificate is recorded under its authority')
  return [
    ...(productSerial === undefined ? [] : stepsToBind(world, issued, productSerial)),
    {
      sql: `INSERT INTO certificate (id, organization_id, version, authority_id, serial_number, profile, endpoint_id, subject, product_serial,
        key_hash, not_before, not_after, state, revoked_at, revocation_reason, crl_shard, der, created_at)
      VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'active', NULL, NULL, ?, ?, ?)`,
      parameters: [
        ...[id, DEFAULT_ORGANIZATION, authorityId, issued.serialNumber, profile.id, endpointId ?? null, issued.subjectText],
        ...[
          productSerial ?? null,
          issued.keyHash,
          issued.notBefore,
          issued.notAfter,
          issued.crlShard,
          issued.der,
          issued.issuedAt,
        ],
      ],
    },
    audit.statement({
      actor,
      act: 'certificate.issue',
      object: `certificate:${id}`,
      outcome: 'done',
      facts: {
        serialNumber: issued.serialNumber.toHex(),
        profile: profile.id,
        authority: authorityId,
        ...(endpointId !== undefined && { endpoint: endpointId }),
        ...(issued.deprecated.length > 0 && { deprecated: issued.deprecated.join(', ') }),
      },
    }),
  ]
}

/**
 * The issuer's state when the certificate is kept, not only when it was signed: an authority that was retired in between,
 * here or by another process, has issued its last certificate, and its key may be gone next.
 *
 * Goes before {@link stepsToInsert}; ends with TrustError `unavailable`, as {@link rehearse} does.
 */
export const stillIssues = ({ id, address }: Pick<Authority, 'id' | 'address'>): Step => ({
  sql: 'SELECT state FROM authority WHERE id = ? FOR SHARE',
  parameters: [id],
  expects: { state: 'active' },
  refusal: () => new TrustError('unavailable', 'authorityRetired', { facts: { authority: address } }),
})

/** Keeps an issued certificate within a transaction that does more. */
export const insertIssued = (context: CAContext, tx: Transaction, issued: Issued, by: IssuedBy): Promise<void> =>
  take(tx, stepsToInsert(context, issued, by))

/**
 * A first look, for a quick and clear refusal before anything is signed; the unique indexes decide (see {@link stepsToInsert}).
 *
 * @throws TrustError `policyRefused` when the key belongs to another product, `conflict` when the product has another key
 */
export async function checkBinding({ db }: Pick<CAContext, 'db'>, { record }: Rehearsed): Promise<void> {
  const { keyHash, productSerial, profile } = record
  if (productSerial === undefined) return
  const select = 'SELECT key_hash, product_serial FROM key_binding WHERE organization_id = ?'
  const [ofKey, ofProduct] = [`${select} AND key_hash = ?`, `${select} AND lower(product_serial) = lower(?) AND is_birth = 1`]
  // in one question, for a database that is not in this process
  const rows = await (profile.birth
    ? db.query(`${ofKey} UNION ALL ${ofProduct}`, DEFAULT_ORGANIZATION, keyHash, DEFAULT_ORGANIZATION, productSerial)
    : db.query(ofKey, DEFAULT_ORGANIZATION, keyHash))
  const isOurs = (row: Row): boolean => equal(row['key_hash'] as Uint8Array, keyHash)
  if (rows.some((row) => isOurs(row) && row['product_serial'] !== productSerial))
    throw new TrustError('policyRefused', 'keyOfAnotherProduct')
  if (!rows.every(isOurs)) throw new TrustError('conflict', 'productHasAnotherKey', { facts: { productSerial } })
}

/**
 * A key stays bound to one product for good; a birth binds the product to its key as well (decision 10).
 *
 * Serials that differ in case only are one name to whoever compares as X.520 says, so that only one of them is born.
 */
function stepsToBind(world: World, { keyHash, profile, issuedAt }: Issued, productSerial: string): readonly Step[] {
  // two statements rather than RETURNING, for which SQLite makes a table of its own each time
  return [
    {
      sql: `INSERT INTO key_binding (id, organization_id, version, key_hash, product_serial, is_birth, created_at) VALUES (?, ?, 1, ?, ?, ?, ?)
          ON CONFLICT (organization_id, key_hash) DO UPDATE SET
            version = key_binding.version + 1,
            is_birth = CASE WHEN excluded.is_birth = 1 THEN 1 ELSE key_binding.is_birth END`,
      parameters: [uuidv7(world), DEFAULT_ORGANIZATION, keyHash, productSerial, profile.birth ? 1 : 0, issuedAt],
      // of the two unique keys only that of births can refuse
      refusal: () => new TrustError('conflict', 'productHasAnotherKey', { facts: { productSerial } }),
    },
    {
      sql: 'SELECT product_serial FROM key_binding WHERE organization_id = ? AND key_hash = ?',
      parameters: [DEFAULT_ORGANIZATION, keyHash],
      expects: { product_serial: productSerial },
      refusal: () => new TrustError('policyRefused', 'keyOfAnotherProduct'),
    },
  ]
}
