/**
 * An authority's rows and its key: written together, so that no process sees one without the other.
 *
 * @module
 */
import { importPublicKey } from '#algorithms/public-key.ts'
import { certificateSignatureOf, type KeyAlgorithmId } from '#algorithms/table.ts'
import { equal } from '#base/bytes.ts'
import { asTrustError, TrustError } from '#base/errors.ts'
import { uuidv7 } from '#base/world.ts'
import type { Signer } from '#keys/key-store.ts'
import type { Queries, Transaction } from '#store/database.ts'
import { isDuplicate } from '#store/duplicate.ts'
import { type Certificate, extensionOf } from '#x509/certificate.ts'
import { subjectKeyIdentifier } from '#x509/extensions/subject-key-identifier.ts'
import type { Authority, FurtherKind } from './authorities.ts'
import type { CAContext } from './context.ts'
import { DEFAULT_ORGANIZATION } from './tables.ts'

/** What the row says, besides its certificate and key. */
export type Stored = Pick<
  Authority,
  'id' | 'slug' | 'generation' | 'profile' | 'issuerId' | 'state' | 'crlShards' | 'crlValiditySeconds' | 'crlDeltaSeconds'
>

/** @throws TrustError `unavailable` when the key is not the certificate's */
export function describe(stored: Stored, certificate: Certificate, signer: Signer): Authority {
  if (!equal(signer.publicKey, certificate.subjectPublicKeyInfo))
    throw new TrustError('unavailable', 'authorityKeyMismatch', { facts: { authority: stored.slug } })
  const keyIdentifier = extensionOf(certificate, subjectKeyIdentifier)?.value
  if (keyIdentifier === undefined)
    throw new TrustError('internal', 'internal', { cause: 'an authority without subjectKeyIdentifier' })
  return {
    ...stored,
    address: `${stored.slug}.${stored.generation}`,
    keyLabel: signer.label,
    keyAlgorithm: signer.keyAlgorithm,
    signatureAlgorithm: certificateSignatureOf(signer.keyAlgorithm),
    certificate,
    publicKey: importPublicKey(certificate.subjectPublicKeyInfo),
    keyIdentifier,
    signer,
  }
}

/** Inside the transaction of any change to what {@link Authorities} shows: every process looks at this number. */
export const noteChange = (tx: Transaction): Promise<unknown> =>
  tx.query('UPDATE authority_change SET version = version + 1 WHERE organization_id = ?', DEFAULT_ORGANIZATION)

/** After the state of a certificate changed: it may be an authority's own. */
export const noteCertificateChange = (tx: Transaction, certificateId: string): Promise<unknown> =>
  tx.query(
    `UPDATE authority_change SET version = version + 1 WHERE organization_id = ? AND EXISTS (
      SELECT 1 FROM certificate c JOIN authority a ON a.certificate = c.der WHERE c.id = ?)`,
    DEFAULT_ORGANIZATION,
    certificateId,
  )

/** Decision 22: never beginning with "m", since a base64 OCSP request begins with "M". */
const SLUG = /^[a-ln-z0-9][a-z0-9]{0,31}$/

/** @throws TrustError `malformed` */
export function checkSlug(slug: string): void {
  if (!SLUG.test(slug)) throw new TrustError('malformed', 'authoritySlug')
}

/** Names of authorities, of requests for them, and of trusted ones are one name space: they share the paths. @throws TrustError `conflict` */
export async function checkSlugFree(db: Queries, slug: string): Promise<void> {
  for (const table of ['authority', 'authority_request', 'trusted_authority'] as const) {
    const [taken] = await db.query(`SELECT id FROM ${table} WHERE organization_id = ? AND slug = ?`, DEFAULT_ORGANIZATION, slug)
    if (taken !== undefined) throw new TrustError('conflict', 'authorityTaken', { facts: { authority: slug } })
  }
}

export const keyLabelOf = ({ slug, generation, id }: Pick<Stored, 'slug' | 'generation' | 'id'>): string =>
  `ca/${slug}.${generation}/${id}`

/**
 * A key whose first use is refused is of no use: it is destroyed, and the next attempt makes another under another label.
 * Where it cannot be told whether the authority was kept, the key stays: without it the authority would be lost.
 */
export async function withNewKey<T>(
  keys: CAContext['keys'],
  label: string,
  algorithm: KeyAlgorithmId,
  use: (signer: Signer) => Promise<T>,
): Promise<T> {
  const signer = await keys.generate(label, algorithm)
  try {
    return await use(signer)
  } catch (error) {
    if (!isUncertain(error)) await keys.destroy(label)
    throw error
  }
}

const UNCERTAIN = new Set(['databaseUnavailable', 'commitUnknown'])
const isUncertain = (error: unknown): boolean => UNCERTAIN.has(asTrustError(error).reason)

/** @param and more of the same transaction @throws TrustError `conflict` when another request was faster with this name */
export async function keepAuthority(
  { db, world }: CAContext,
  authority: Authority,
  and: (tx: Transaction) => Promise<void>,
): Promise<void> {
  const row = {
    id: authority.id,
    organization_id: DEFAULT_ORGANIZATION,
    version: 1,
    slug: authority.slug,
    generation: authority.generation,
    profile: authority.profile,
    issuer_id: authority.issuerId ?? null,
    key_label: authority.keyLabel,
    key_algorithm: authority.keyAlgorithm,
    certificate: authority.certificate.der,
    state: authority.state,
    crl_shards: authority.crlShards,
    crl_validity_seconds: authority.crlValiditySeconds,
    crl_delta_seconds: authority.crlDeltaSeconds ?? null,
    created_at: world.clock.now(),
  }
  try {
    await db.transaction(async (tx) => {
      await noteChange(tx) // first: its row lets one change of authorities through after the other
      await and(tx)
      await tx.insertMany('authority', Object.keys(row), [Object.values(row)])
    })
  } catch (error) {
    if (!isDuplicate(error, 'authority')) throw error
    throw new TrustError('conflict', 'authorityTaken', { facts: { authority: authority.slug } })
  }
}

/** Another certificate for the key or the name of an authority. */
export const keepFurther = (
  tx: Transaction,
  { world }: Pick<CAContext, 'world'>,
  { authorityId, kind, der }: { readonly authorityId: string; readonly kind: FurtherKind; readonly der: Uint8Array },
): Promise<unknown> =>
  tx.query(
    'INSERT INTO authority_certificate (id, organization_id, version, authority_id, kind, der, created_at) VALUES (?, ?, 1, ?, ?, ?, ?)',
    uuidv7(world),
    DEFAULT_ORGANIZATION,
    authorityId,
    kind,
    der,
    world.clock.now(),
  )
