/**
 * Certificate authorities: kept ready with their keys, as all processes of the installation have them.
 *
 * An authority is addressed by an immutable slug and the generation of its key: `line1.2`.
 *
 * @module
 */
import { importPublicKey, type PublicKey } from '#algorithms/public-key.ts'
import type { KeyAlgorithmId, SignatureAlgorithmId } from '#algorithms/table.ts'
import { TrustError } from '#base/errors.ts'
import type { Signer } from '#keys/key-store.ts'
import type { Row } from '#store/database.ts'
import { type Certificate, parseCertificate } from '#x509/certificate.ts'
import { describe, type Stored } from './authority-record.ts'
import type { CAContext } from './context.ts'
import { createAuthority, type NewAuthority } from './make-authority.ts'
import { DEFAULT_ORGANIZATION } from './tables.ts'

export interface Authority {
  readonly id: string
  readonly slug: string
  readonly generation: number
  /** `slug.generation`, as it stands in paths. */
  readonly address: string
  readonly profile: string
  /** An authority of ours or a trusted one; undefined for a root. */
  readonly issuerId: string | undefined
  readonly keyLabel: string
  readonly keyAlgorithm: KeyAlgorithmId
  readonly signatureAlgorithm: SignatureAlgorithmId
  readonly certificate: Certificate
  readonly publicKey: PublicKey
  /** Its subjectKeyIdentifier: what the certificates below it name. */
  readonly keyIdentifier: Uint8Array
  readonly signer: Signer
  readonly state: AuthorityState
  /** Certificates are spread over this many CRLs; each certificate's is fixed at issuance. */
  readonly crlShards: number
  readonly crlValiditySeconds: number
  /** How long its delta CRLs are valid; undefined where it makes none. */
  readonly crlDeltaSeconds: number | undefined
}

/**
 * `active` issues. `retired` issues nothing more, and goes on to speak of what it issued. `ended`: its key is destroyed.
 * `revoked` while its own certificate is revoked or held: it issues nothing, and nobody enrolls with what it issued.
 */
export type AuthorityState = 'active' | 'retired' | 'revoked' | 'ended'

/** An authority whose key is not here: an offline root of ours, or another's that some endpoint or path ends at. It never issues here. */
export interface TrustedAuthority {
  readonly id: string
  readonly slug: string
  readonly generation: number
  readonly address: string
  /** `offline`: ours, and its CRL is published here. `foreign`: another's, for trust only. */
  readonly kind: 'offline' | 'foreign'
  /** Another trusted one; undefined for a root. */
  readonly issuerId: string | undefined
  readonly certificate: Certificate
  readonly publicKey: PublicKey
  readonly state: 'active' | 'retired'
}

/**
 * More certificates for an authority's key or name: `earlier` ones of the same key; links between generations
 * (RFC 9810, 4.4); `cross` certificates that others gave it.
 */
export interface FurtherCertificate {
  readonly authorityId: string
  readonly kind: FurtherKind
  readonly certificate: Certificate
}
export type FurtherKind = 'earlier' | 'newWithOld' | 'oldWithNew' | 'cross'

/** The authorities of an installation, held ready. A change that any process makes is seen here after {@link Authorities.refresh}. */
export interface Authorities {
  list(): readonly Authority[]
  byId(id: string): Authority
  /** @param address `slug.generation`, or a slug for its newest generation @throws TrustError `notFound` */
  byAddress(address: string): Authority
  /** All with this subject: generations of one authority share it. @param subject DER Name */
  bySubject(subject: Uint8Array): readonly Authority[]
  /** Those that are trusted without their keys being here; retired ones are not among them. */
  trusted(): readonly TrustedAuthority[]
  /** Also a retired one. @throws TrustError `notFound` */
  trustedByAddress(address: string): TrustedAuthority
  /** The one above, ours or trusted; undefined above a root. */
  issuerOf(authority: Pick<Authority, 'issuerId'>): Authority | TrustedAuthority | undefined
  /** Of an authority of ours. */
  further(authority: Pick<Authority, 'id'>): readonly FurtherCertificate[]
  /** Reads again what changed since, here or in another process. @returns whether anything did */
  refresh(): Promise<boolean>
  create(input: NewAuthority, actor: string): Promise<Authority>
}

/** Opens every authority with its key. @throws TrustError `unavailable` when a key store cannot be reached */
export async function openAuthorities(context: CAContext): Promise<Authorities> {
  let view: View = { version: -1, own: [], trusted: [], further: [], ...indexesOf([], []) }
  let turn: Promise<unknown> = Promise.resolve()

  /** One after the other, so that what was read earlier never replaces what was read later. */
  function refresh(): Promise<boolean> {
    const refreshed = turn.then(async () => {
      const next = await readView(context, view)
      const changed = next !== view
      view = next
      return changed
    })
    turn = refreshed.catch(() => {})
    return refreshed
  }
  await refresh()

  const found = <T>(one: T | undefined, authority: string): T => {
    if (one === undefined) throw new TrustError('notFound', 'authorityUnknown', { facts: { authority } })
    return one
  }
  const authorities: Authorities = {
    list: () => view.own.map(({ authority }) => authority),
    byId: (id) => found(view.byId.get(id), id),
    byAddress: (address) => found(view.byAddress.get(address), address),
    bySubject: (subject) => view.bySubject.get(keyOf(subject)) ?? [],
    trusted: () => view.trusted.filter(({ state }) => state === 'active'),
    trustedByAddress: (address) => found(view.trustedByAddress.get(address), address),
    issuerOf({ issuerId }) {
      if (issuerId === undefined) return undefined
      return (
        view.byId.get(issuerId) ??
        found(
          view.trusted.find(({ id }) => id === issuerId),
          issuerId,
        )
      )
    },
    further: ({ id }) => view.further.filter(({ authorityId }) => authorityId === id),
    refresh,
    create: (input, actor) => createAuthority(context, authorities, input, actor),
  }
  return authorities
}

interface Indexes {
  readonly byId: ReadonlyMap<string, Authority>
  readonly byAddress: ReadonlyMap<string, Authority>
  readonly bySubject: ReadonlyMap<string, readonly Authority[]>
  readonly trustedByAddress: ReadonlyMap<string, TrustedAuthority>
}

/** All of it as of one moment, never changed in place. */
interface View extends Indexes {
  readonly version: number
  readonly own: readonly { readonly version: number; readonly authority: Authority }[]
  readonly trusted: readonly TrustedAuthority[]
  readonly further: readonly FurtherCertificate[]
}

/** @returns `last` itself when nothing changed */
async function readView(context: CAContext, last: View): Promise<View> {
  const { db } = context
  const [head] = await db.query('SELECT version FROM authority_change WHERE organization_id = ?', DEFAULT_ORGANIZATION)
  const version = (head?.['version'] as number | undefined) ?? 0
  if (version === last.version) return last
  // what comes in between is read twice, and nothing is missed
  const known = new Map(last.own.map((one) => [one.authority.id, one]))
  const own: View['own'][number][] = []
  const all = 'WHERE organization_id = ? ORDER BY id' // as they came
  for (const row of await db.query(`SELECT * FROM authority ${all}`, DEFAULT_ORGANIZATION))
    own.push(await openOne(context, row, known.get(row['id'] as string)))
  const trusted = (await db.query(`SELECT * FROM trusted_authority ${all}`, DEFAULT_ORGANIZATION)).map(trustedOf)
  const further = await db.query(
    'SELECT * FROM authority_certificate WHERE organization_id = ? ORDER BY id',
    DEFAULT_ORGANIZATION,
  )
  return {
    version,
    own,
    trusted,
    further: further.map(furtherOf),
    ...indexesOf(
      own.map(({ authority }) => authority),
      trusted,
    ),
  }
}

function indexesOf(own: readonly Authority[], trusted: readonly TrustedAuthority[]): Indexes {
  const byAddress = new Map<string, Authority>()
  const bySubject = new Map<string, Authority[]>()
  for (const authority of own) {
    byAddress.set(authority.address, authority)
    byAddress.set(authority.slug, authority) // generations come in order, so the newest stays
    const subject = keyOf(authority.certificate.subject)
    bySubject.set(subject, [...(bySubject.get(subject) ?? []), authority])
  }
  const trustedByAddress = new Map<string, TrustedAuthority>()
  for (const authority of trusted) {
    trustedByAddress.set(authority.address, authority)
    trustedByAddress.set(authority.slug, authority)
  }
  return { byId: new Map(own.map((authority) => [authority.id, authority])), byAddress, bySubject, trustedByAddress }
}

const keyOf = (name: Uint8Array): string => Buffer.from(name.buffer, name.byteOffset, name.length).toString('latin1')

/** An authority that did not change stays the same object: templates of its certificates are kept by it. */
async function openOne(context: CAContext, row: Row, known: View['own'][number] | undefined): Promise<View['own'][number]> {
  const version = row['version'] as number
  const stored = storedOf(row)
  const certificate = parseCertificate(row['certificate'] as Uint8Array)
  const state = await stateOf(context, stored, certificate)
  if (known?.version === version) {
    const { authority } = known
    return { version, authority: authority.state === state ? authority : { ...authority, state } }
  }
  const signer =
    stored.state === 'ended' ? signerWithoutKey(stored, row, certificate) : await context.keys.open(row['key_label'] as string)
  return { version, authority: describe({ ...stored, state }, certificate, signer) }
}

const storedOf = (row: Row): Stored => ({
  id: row['id'] as string,
  slug: row['slug'] as string,
  generation: row['generation'] as number,
  profile: row['profile'] as string,
  issuerId: (row['issuer_id'] as string | null) ?? undefined,
  state: row['state'] as AuthorityState,
  crlShards: row['crl_shards'] as number,
  crlValiditySeconds: row['crl_validity_seconds'] as number,
  crlDeltaSeconds: (row['crl_delta_seconds'] as number | null) ?? undefined,
})

/** What is left of a key that was destroyed. */
const signerWithoutKey = ({ slug, generation }: Stored, row: Row, certificate: Certificate): Signer => ({
  label: row['key_label'] as string,
  keyAlgorithm: row['key_algorithm'] as KeyAlgorithmId,
  publicKey: certificate.subjectPublicKeyInfo,
  sign: () => Promise.reject(new TrustError('unavailable', 'authorityEnded', { facts: { authority: `${slug}.${generation}` } })),
})

/** The certificate's record says whether it is revoked, and nothing else does, so that the two cannot disagree. */
async function stateOf(
  { db }: CAContext,
  { id, issuerId = id, state }: Pick<Authority, 'id' | 'issuerId' | 'state'>,
  { serialNumber }: Certificate,
): Promise<AuthorityState> {
  if (state === 'ended') return state
  const sql = 'SELECT revoked_at FROM certificate WHERE serial_number = ? AND authority_id = ?'
  const [record] = await db.query(sql, serialNumber, issuerId)
  return record !== undefined && record['revoked_at'] !== null ? 'revoked' : state
}

function trustedOf(row: Row): TrustedAuthority {
  const certificate = parseCertificate(row['certificate'] as Uint8Array)
  const [slug, generation] = [row['slug'] as string, row['generation'] as number]
  return {
    id: row['id'] as string,
    slug,
    generation,
    address: `${slug}.${generation}`,
    kind: row['kind'] as TrustedAuthority['kind'],
    issuerId: (row['issuer_id'] as string | null) ?? undefined,
    certificate,
    publicKey: importPublicKey(certificate.subjectPublicKeyInfo),
    state: row['state'] as TrustedAuthority['state'],
  }
}

const furtherOf = (row: Row): FurtherCertificate => ({
  authorityId: row['authority_id'] as string,
  kind: row['kind'] as FurtherKind,
  certificate: parseCertificate(row['der'] as Uint8Array),
})

/** Certificates from this authority up to its root, DER. */
export function chainOf(authorities: Authorities, authority: Authority | TrustedAuthority): readonly Uint8Array[] {
  const chain: Uint8Array[] = []
  for (let at: Authority | TrustedAuthority | undefined = authority; at !== undefined; at = authorities.issuerOf(at))
    chain.push(at.certificate.der)
  return chain
}

/**
 * The chain and the certificates that lead into it or out of it by other ways: links between generations, so that who
 * trusts the old root or the new one reaches both (RFC 7030, 4.1.3; RFC 9810, 4.4), and cross certificates.
 *
 * @param now expired ones are left out
 * @returns DER, the authority's own first
 */
export function offeredBy(authorities: Authorities, authority: Authority | TrustedAuthority, now: number): readonly Uint8Array[] {
  const chain: (Authority | TrustedAuthority)[] = []
  for (let at: Authority | TrustedAuthority | undefined = authority; at !== undefined; at = authorities.issuerOf(at))
    chain.push(at)
  const roots = chain.flatMap((one) =>
    'signer' in one && one.issuerId === undefined ? authorities.bySubject(one.certificate.subject) : [],
  )
  const further = [...chain, ...roots].flatMap((one) => ('signer' in one ? authorities.further(one) : []))
  const ways = further.filter(({ kind, certificate }) => kind !== 'earlier' && certificate.notAfter.getTime() > now)
  const all = [
    ...chain,
    ...roots.filter((one) => one.issuerId === undefined && one.certificate.notAfter.getTime() > now),
    ...ways,
  ]
  const seen = new Set<string>()
  return all.map(({ certificate }) => certificate.der).filter((der) => seen.size < seen.add(keyOf(der)).size)
}

/** Whether what it issued is still good for something: all the way up, and now. One that issues nothing more still speaks for what it issued: the generation before a rotation does. */
export function isVouchedFor(authorities: Authorities, issuer: Authority, now: number): boolean {
  for (let at: Authority | TrustedAuthority | undefined = issuer; at !== undefined; at = authorities.issuerOf(at)) {
    if (at.certificate.notAfter.getTime() < now) return false
    if ('kind' in at ? at.state === 'retired' : at.state === 'revoked' || at.state === 'ended') return false
  }
  return true
}
