/**
 * Certificate authorities: made by explicit commands, kept ready with their keys.
 *
 * An authority is addressed by an immutable slug and the generation of its key: `line1.2`.
 *
 * @module
 */
import { importPublicKey, type PublicKey } from '#algorithms/public-key.ts'
import { certificateSignatureOf, type KeyAlgorithmId, type SignatureAlgorithmId } from '#algorithms/table.ts'
import { equal } from '#base/bytes.ts'
import { asTrustError, TrustError } from '#base/errors.ts'
import { uuidv7 } from '#base/world.ts'
import type { Signer } from '#keys/key-store.ts'
import type { Row } from '#store/database.ts'
import { isDuplicate } from '#store/duplicate.ts'
import { type Certificate, extensionOf, parseCertificate } from '#x509/certificate.ts'
import { subjectKeyIdentifier } from '#x509/extensions/subject-key-identifier.ts'
import { encodeName, formatName, type Name } from '#x509/name.ts'
import type { CAContext } from './context.ts'
import { insertIssued, type Issued, rehearse, selfSigned, signRehearsed } from './issue.ts'
import { allowsKey, type Profile } from './profile.ts'
import { openProfile } from './profiles.ts'
import { DEFAULT_ORGANIZATION } from './tables.ts'

export interface Authority {
  readonly id: string
  readonly slug: string
  readonly generation: number
  /** `slug.generation`, as it stands in paths. */
  readonly address: string
  readonly profile: string
  /** Undefined for a root. */
  readonly issuerId: string | undefined
  readonly keyLabel: string
  readonly keyAlgorithm: KeyAlgorithmId
  readonly signatureAlgorithm: SignatureAlgorithmId
  readonly certificate: Certificate
  readonly publicKey: PublicKey
  /** Its subjectKeyIdentifier: what the certificates below it name. */
  readonly keyIdentifier: Uint8Array
  readonly signer: Signer
  /** `revoked` while its own certificate is revoked or held: it issues nothing, and nobody enrolls with what it issued. */
  readonly state: 'active' | 'retired' | 'revoked'
  /** Certificates are spread over this many CRLs; each certificate's is fixed at issuance. */
  readonly crlShards: number
  readonly crlValiditySeconds: number
}

export interface NewAuthority {
  readonly slug: string
  readonly name: Name
  readonly profile: 'root' | 'issuing' | (string & {})
  /** Address of the authority that signs it; absent for a root. */
  readonly issuer?: string
  readonly keyAlgorithm: KeyAlgorithmId
  /** Never expires: for the hierarchy above birth certificates (IEEE 802.1AR, 8.7). */
  readonly noExpiry?: boolean
  readonly crlValiditySeconds?: number
}

/** The authorities of an installation, held ready. One process's view; it grows as authorities are made. */
export interface Authorities {
  list(): readonly Authority[]
  byId(id: string): Authority
  /** @param address `slug.generation`, or a slug for its newest generation @throws TrustError `notFound` */
  byAddress(address: string): Authority
  /** All with this subject: generations of one authority share it. @param subject DER Name */
  bySubject(subject: Uint8Array): readonly Authority[]
  create(input: NewAuthority, actor: string): Promise<Authority>
  /** After the state of a certificate changed: it may be an authority's own. */
  certificateChanged(certificate: Pick<Certificate, 'der'>): Promise<void>
}

/** Decision 22: never beginning with "m", since a base64 OCSP request begins with "M". */
const SLUG = /^[a-ln-z0-9][a-z0-9]{0,31}$/
const CRL_VALIDITY_DEFAULT_SECONDS = 7 * 86400

/** Opens every authority with its key. @throws TrustError `unavailable` when a key store cannot be reached */
export async function openAuthorities(context: CAContext): Promise<Authorities> {
  const byId = new Map<string, Authority>()
  const byAddress = new Map<string, Authority>()
  const bySubject = new Map<string, Authority[]>()

  function add(authority: Authority): void {
    byId.set(authority.id, authority)
    byAddress.set(authority.address, authority)
    const newest = byAddress.get(authority.slug)
    if (newest === undefined || newest.generation <= authority.generation) byAddress.set(authority.slug, authority)
    const subject = keyOf(authority.certificate.subject)
    bySubject.set(subject, [...(bySubject.get(subject) ?? []).filter(({ id }) => id !== authority.id), authority])
  }

  const rows = await context.db.query(
    'SELECT * FROM authority WHERE organization_id = ? ORDER BY slug, generation',
    DEFAULT_ORGANIZATION,
  )
  for (const row of rows) add(await authorityOf(context, row))

  const authorities: Authorities = {
    list: () => [...byId.values()],
    byId(id) {
      const authority = byId.get(id)
      if (authority === undefined) throw new TrustError('notFound', 'authorityUnknown', { facts: { authority: id } })
      return authority
    },
    byAddress(address) {
      const authority = byAddress.get(address)
      if (authority === undefined) throw new TrustError('notFound', 'authorityUnknown', { facts: { authority: address } })
      return authority
    },
    bySubject: (subject) => bySubject.get(keyOf(subject)) ?? [],
    async create(input, actor) {
      const authority = await createAuthority(context, authorities, input, actor)
      add(authority)
      return authority
    },
    async certificateChanged({ der }) {
      const own = [...byId.values()].find(({ certificate }) => equal(certificate.der, der))
      if (own === undefined) return
      const otherwise = own.state === 'revoked' ? 'active' : own.state
      add({ ...own, state: await stateOf(context, own, own.certificate, otherwise) })
    },
  }
  return authorities
}

const keyOf = (name: Uint8Array): string => Buffer.from(name.buffer, name.byteOffset, name.length).toString('latin1')

async function authorityOf(context: CAContext, row: Row): Promise<Authority> {
  const certificate = parseCertificate(row['certificate'] as Uint8Array)
  const signer = await context.keys.open(row['key_label'] as string)
  const id = row['id'] as string
  const issuerId = (row['issuer_id'] as string | null) ?? undefined
  return describe(
    {
      id,
      slug: row['slug'] as string,
      generation: row['generation'] as number,
      profile: row['profile'] as string,
      issuerId,
      state: await stateOf(context, { id, issuerId }, certificate, row['state'] as Authority['state']),
      crlShards: row['crl_shards'] as number,
      crlValiditySeconds: row['crl_validity_seconds'] as number,
    },
    certificate,
    signer,
  )
}

/** The certificate's record says whether it is revoked, and nothing else does, so that the two cannot disagree. */
async function stateOf(
  { db }: CAContext,
  { id, issuerId = id }: Pick<Authority, 'id' | 'issuerId'>,
  { serialNumber }: Certificate,
  otherwise: Authority['state'],
): Promise<Authority['state']> {
  const sql = 'SELECT revoked_at FROM certificate WHERE serial_number = ? AND authority_id = ?'
  const [record] = await db.query(sql, serialNumber, issuerId)
  return record !== undefined && record['revoked_at'] !== null ? 'revoked' : otherwise
}

type Stored = Pick<
  Authority,
  'id' | 'slug' | 'generation' | 'profile' | 'issuerId' | 'state' | 'crlShards' | 'crlValiditySeconds'
>

function describe(stored: Stored, certificate: Certificate, signer: Signer): Authority {
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

async function createAuthority(
  context: CAContext,
  authorities: Authorities,
  input: NewAuthority,
  actor: string,
): Promise<Authority> {
  const { db, keys, world } = context
  if (!SLUG.test(input.slug)) throw new TrustError('malformed', 'authoritySlug')
  const builtIn = await openProfile(context, input.profile)
  if (builtIn.holder !== 'authority')
    throw new TrustError('policyRefused', 'profileNotForAuthorities', { facts: { profile: builtIn.id } })
  if (!allowsKey(builtIn, input.keyAlgorithm)) {
    throw new TrustError('policyRefused', 'keyNotInProfile', { facts: { algorithm: input.keyAlgorithm, profile: builtIn.id } })
  }
  const profile: Profile = input.noExpiry === true ? { ...builtIn, validity: { noExpiry: true } } : builtIn
  const issuer = input.issuer === undefined ? undefined : authorities.byAddress(input.issuer)
  if (issuer !== undefined && issuer.state !== 'active')
    throw new TrustError('conflict', 'authorityRetired', { facts: { authority: issuer.address } })

  const [taken] = await db.query(
    'SELECT id FROM authority WHERE organization_id = ? AND slug = ?',
    DEFAULT_ORGANIZATION,
    input.slug,
  )
  if (taken !== undefined) throw new TrustError('conflict', 'authorityTaken', { facts: { authority: input.slug } })

  const stored: Stored = {
    id: uuidv7(world),
    slug: input.slug,
    generation: 1,
    profile: profile.id,
    issuerId: issuer?.id,
    state: 'active',
    crlShards: 1,
    crlValiditySeconds: input.crlValiditySeconds ?? CRL_VALIDITY_DEFAULT_SECONDS,
  }
  return withNewKey(keys, `ca/${stored.slug}.${stored.generation}/${stored.id}`, input.keyAlgorithm, async (signer) => {
    const holder = {
      profile,
      publicKey: importPublicKey(signer.publicKey),
      subject: encodeName(input.name),
      subjectText: formatName(input.name),
      productSerial: undefined,
      subjectAltName: undefined,
    }
    const plan = issuer === undefined ? selfSigned(holder, signer) : { ...holder, authority: issuer }
    const issued = await signRehearsed(rehearse(context, plan))
    const authority = describe(stored, parseCertificate(issued.der), signer)
    await keepAuthority(context, authority, issued, actor)
    return authority
  })
}

/**
 * A key whose first use is refused is of no use: it is destroyed, and the next attempt makes another under another label.
 * Where it cannot be told whether the authority was kept, the key stays: without it the authority would be lost.
 */
async function withNewKey<T>(
  keys: CAContext['keys'],
  label: string,
  algorithm: KeyAlgorithmId,
  use: (signer: Signer) => Promise<T>,
): Promise<T> {
  const signer = await keys.generate(label, algorithm)
  try {
    return await use(signer)
  } catch (error) {
    if (asTrustError(error).reason !== 'databaseUnavailable') await keys.destroy(label)
    throw error
  }
}

/** @throws TrustError `conflict` when another request was faster with this name */
async function keepAuthority(context: CAContext, authority: Authority, issued: Issued, actor: string): Promise<void> {
  const { db, world, audit } = context
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
    certificate: issued.der,
    state: authority.state,
    crl_shards: authority.crlShards,
    crl_validity_seconds: authority.crlValiditySeconds,
    created_at: world.clock.now(),
  }
  try {
    await db.transaction(async (tx) => {
      await tx.insertMany('authority', Object.keys(row), [Object.values(row)])
      // a root's own certificate is recorded under itself, so that every certificate ever signed has its row
      await insertIssued(context, tx, { ...issued, authorityId: authority.issuerId ?? authority.id }, { actor })
      await audit.record(tx, {
        actor,
        act: 'ca.create',
        object: `authority:${authority.id}`,
        outcome: 'done',
        facts: { address: authority.address, profile: authority.profile, keyAlgorithm: authority.keyAlgorithm },
      })
    })
  } catch (error) {
    if (!isDuplicate(error, 'authority')) throw error
    throw new TrustError('conflict', 'authorityTaken', { facts: { authority: authority.slug } })
  }
}

/** Certificates from this authority up to its root, DER. */
export function chainOf(authorities: Authorities, authority: Authority): readonly Uint8Array[] {
  const chain: Uint8Array[] = []
  for (
    let at: Authority | undefined = authority;
    at !== undefined;
    at = at.issuerId === undefined ? undefined : authorities.byId(at.issuerId)
  ) {
    chain.push(at.certificate.der)
  }
  return chain
}
