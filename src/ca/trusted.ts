/**
 * Authorities whose keys are elsewhere: others' that are trusted here, and offline roots of ours whose CRLs come by hand.
 *
 * @module
 */
import { identifySignature, importPublicKey } from '#algorithms/public-key.ts'
import { equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { uuidv7 } from '#base/world.ts'
import type { Row, Transaction } from '#store/database.ts'
import { extensionOf, fingerprint, parseCertificate, serialHex } from '#x509/certificate.ts'
import { type CertificateList, extensionOfList, parseCertificateList, verifyListSignature } from '#x509/crl.ts'
import { authorityKeyIdentifier } from '#x509/extensions/authority-key-identifier.ts'
import {
  type CRLReason,
  crlNumber,
  deltaCRLIndicator,
  issuingDistributionPoint,
  reasonCode,
} from '#x509/extensions/crl-extensions.ts'
import { knownExtension } from '#x509/extensions/registry.ts'
import { subjectKeyIdentifier } from '#x509/extensions/subject-key-identifier.ts'
import { equalNames, formatName, parseName } from '#x509/name.ts'
import type { Authorities, TrustedAuthority } from './authorities.ts'
import { checkSlug, checkSlugFree, noteChange } from './authority-record.ts'
import type { CAContext } from './context.ts'
import { checkAuthorityCertificate, isSignedBy, refused, trustedIssuerOf } from './foreign-certificate.ts'
import { DEFAULT_ORGANIZATION } from './tables.ts'

export interface NewTrusted {
  readonly slug: string
  readonly kind: TrustedAuthority['kind']
  /** DER */
  readonly certificate: Uint8Array
}

/**
 * Trusts an authority from now on. A root is trusted by whoever asks; one below is trusted because of the trusted one above.
 * A further certificate under a name that is there becomes its next generation.
 */
export async function trustAuthority(
  context: CAContext,
  authorities: Authorities,
  { slug, kind, certificate: der }: NewTrusted,
  actor: string,
): Promise<TrustedAuthority> {
  const { db, audit, world } = context
  checkSlug(slug)
  const certificate = parseCertificate(der)
  const now = world.clock.now()
  checkAuthorityCertificate(certificate, now)
  const publicKey = importPublicKey(certificate.subjectPublicKeyInfo)
  context.policy.check(publicKey.algorithm, now)
  const isRoot = await isSignedBy(certificate, { certificate, publicKey })
  const issuer = isRoot ? undefined : await trustedIssuerOf(context, authorities, certificate, now)
  const same = [...authorities.trusted(), ...authorities.list()].find((one) => equal(one.certificate.der, der))
  if (same !== undefined) throw new TrustError('conflict', 'authorityKnown', { facts: { authority: same.address } })
  const id = uuidv7(world)
  await db.transaction(async (tx) => {
    await noteChange(tx)
    const generation = await nextGeneration(tx, slug, certificate.subject)
    const row = {
      id,
      organization_id: DEFAULT_ORGANIZATION,
      version: 1,
      slug,
      generation,
      kind,
      issuer_id: issuer?.id ?? null,
      certificate: der,
      state: 'active',
      created_at: now,
    }
    await tx.insertMany('trusted_authority', Object.keys(row), [Object.values(row)])
    await audit.record(tx, {
      actor,
      act: 'ca.trust',
      object: `authority:${id}`,
      outcome: 'done',
      facts: {
        address: `${slug}.${generation}`,
        kind,
        subject: formatName(parseName(certificate.subject)),
        serialNumber: serialHex(certificate),
        certificateFingerprint: fingerprint(der).toHex(),
        keyFingerprint: fingerprint(certificate.subjectPublicKeyInfo).toHex(),
        issuer: issuer?.address ?? 'itself',
      },
    })
  })
  await authorities.refresh()
  return authorities.trusted().find((one) => one.id === id) as TrustedAuthority
}

async function nextGeneration(tx: Transaction, slug: string, subject: Uint8Array): Promise<number> {
  const [newest] = await tx.query(
    'SELECT generation, certificate FROM trusted_authority WHERE organization_id = ? AND slug = ? ORDER BY generation DESC LIMIT 1',
    DEFAULT_ORGANIZATION,
    slug,
  )
  if (newest === undefined) {
    await checkSlugFree(tx, slug)
    return 1
  }
  if (!equalNames(parseCertificate(newest['certificate'] as Uint8Array).subject, subject))
    throw new TrustError('conflict', 'authorityTaken', { facts: { authority: slug } })
  return (newest['generation'] as number) + 1
}

/** Trusts it no more; what it issued for authorities of ours stays as it is. @throws TrustError `notFound`, `conflict` */
export async function distrustAuthority(
  context: CAContext,
  authorities: Authorities,
  address: string,
  actor: string,
): Promise<void> {
  const { db, audit } = context
  const { id, address: exact } = authorities.trustedByAddress(address)
  await db.transaction(async (tx) => {
    await noteChange(tx)
    const changed = await tx.query(
      "UPDATE trusted_authority SET state = 'retired', version = version + 1 WHERE id = ? AND state = 'active' RETURNING id",
      id,
    )
    if (changed.length === 0) throw new TrustError('conflict', 'authorityRetired', { facts: { authority: exact } })
    await audit.record(tx, { actor, act: 'ca.distrust', object: `authority:${id}`, outcome: 'done', facts: { address: exact } })
  })
  await authorities.refresh()
}

export interface ImportedCRL {
  readonly crlNumber: bigint
  readonly thisUpdate: Date
  readonly nextUpdate: Date
  readonly entries: number
  readonly der: Uint8Array
}

/** A list from the future is one of a wrong clock. */
const CLOCK_SLACK_MILLISECONDS = 300_000

/**
 * Takes the CRL that an offline authority made: it is published from now on, and what it says of authorities of ours counts.
 *
 * @throws TrustError `policyRefused` when it is of nobody trusted here, older than the one that is there, ended, or not the whole list
 */
export async function importCRL(
  context: CAContext,
  authorities: Authorities,
  der: Uint8Array,
  actor: string,
): Promise<{ readonly authority: TrustedAuthority; readonly crl: ImportedCRL }> {
  const { db, audit, world } = context
  const list = parseCertificateList(der)
  const authority = await issuerOfList(authorities, list)
  const now = world.clock.now()
  context.policy.check(identifySignature(list.signatureAlgorithm), now)
  context.policy.check(authority.publicKey.algorithm, now)
  const number = numberOf(list, now)
  const revoked = new Map<string, Listed>()
  for (const { serialNumber, revokedAt, extensions } of list.entries())
    revoked.set(serialNumber.toHex(), { at: revokedAt, reason: extensionOfList({ extensions }, reasonCode)?.value })
  const crl = { crlNumber: number, thisUpdate: list.thisUpdate, nextUpdate: list.nextUpdate as Date, entries: revoked.size, der }
  await db.transaction(async (tx) => {
    await noteChange(tx)
    const last = await readImported(tx, authority.id)
    if (last !== undefined && (number <= last.crlNumber || list.thisUpdate < last.thisUpdate))
      throw refusedList(`its number ${number} is not above ${last.crlNumber}, which is here`)
    await tx.query('DELETE FROM imported_crl WHERE authority_id = ?', authority.id)
    const row = {
      id: uuidv7(world),
      organization_id: DEFAULT_ORGANIZATION,
      version: 1,
      authority_id: authority.id,
      crl_number: String(number),
      this_update: crl.thisUpdate.getTime(),
      next_update: crl.nextUpdate.getTime(),
      entries: crl.entries,
      der,
      created_at: now,
    }
    await tx.insertMany('imported_crl', Object.keys(row), [Object.values(row)])
    await takeOver(tx, authority.id, revoked, now)
    await audit.record(tx, {
      actor,
      act: 'ca.import-crl',
      object: `authority:${authority.id}`,
      outcome: 'done',
      facts: {
        address: authority.address,
        crlNumber: String(number),
        entries: crl.entries,
        nextUpdate: crl.nextUpdate.toISOString(),
        fingerprint: fingerprint(der).toHex(),
      },
    })
  })
  await authorities.refresh()
  return { authority, crl }
}

interface Listed {
  readonly at: Date
  readonly reason: CRLReason | undefined
}

/** Only takes away: what somebody here revoked or put on hold stays so, whatever the list leaves out. */
async function takeOver(tx: Transaction, authorityId: string, listed: ReadonlyMap<string, Listed>, now: number): Promise<void> {
  const rows = await tx.query(
    "SELECT id, serial_number, state FROM certificate WHERE authority_id = ? AND state <> 'revoked'",
    authorityId,
  )
  for (const row of rows) {
    const found = listed.get((row['serial_number'] as Uint8Array).toHex())
    const isHold = found?.reason === 'certificateHold'
    if (found === undefined || found.reason === 'removeFromCRL' || (isHold && row['state'] === 'held')) continue
    await tx.query(
      `UPDATE certificate SET state = ?, revoked_at = COALESCE(revoked_at, ?), revocation_reason = ?, changed_at = ?, version = version + 1
        WHERE id = ?`,
      isHold ? 'held' : 'revoked',
      found.at.getTime(),
      found.reason ?? 'unspecified',
      now,
      row['id'] as string,
    )
  }
}

async function issuerOfList(authorities: Authorities, list: CertificateList): Promise<TrustedAuthority> {
  const named = extensionOfList(list, authorityKeyIdentifier)?.value.keyIdentifier
  for (const authority of authorities.trusted()) {
    const { certificate, publicKey } = authority
    if (!equalNames(list.issuer, certificate.subject)) continue
    const own = extensionOf(certificate, subjectKeyIdentifier)?.value
    if (named !== undefined && own !== undefined && !equal(named, own)) continue // another generation's
    if (await verifyListSignature(list, publicKey)) return authority
  }
  throw refusedList('no trusted authority here signed it')
}

/** @returns the number of a whole list that counts now */
function numberOf(list: CertificateList, now: number): bigint {
  if (list.nextUpdate === undefined) throw refusedList('it does not say when the next one comes')
  if (list.nextUpdate.getTime() <= now) throw refusedList(`it ended on ${list.nextUpdate.toISOString()}`)
  if (list.thisUpdate.getTime() > now + CLOCK_SLACK_MILLISECONDS)
    throw refusedList(`it begins on ${list.thisUpdate.toISOString()}: compare the clocks`)
  if (extensionOfList(list, deltaCRLIndicator) !== undefined) throw refusedList('it is a delta, not the whole list')
  // RFC 5280, 5.2.5: a list of one point or one kind says nothing of the rest, and would take away what another part revokes
  if (extensionOfList(list, issuingDistributionPoint) !== undefined) throw new TrustError('policyRefused', 'foreignCRLPartial')
  const unknown = list.extensions.find(({ critical, extnID }) => critical && knownExtension(extnID) === undefined)
  if (unknown !== undefined) throw refusedList(`its critical extension ${unknown.extnID} is not known here`)
  const number = extensionOfList(list, crlNumber)?.value
  if (number === undefined) throw refusedList('it has no number')
  return number
}

const refusedList = (finding: string): TrustError => new TrustError('policyRefused', 'foreignCRL', { facts: { finding } })

async function readImported(db: Pick<CAContext['db'], 'query'>, authorityId: string): Promise<ImportedCRL | undefined> {
  const [row] = await db.query('SELECT * FROM imported_crl WHERE authority_id = ?', authorityId)
  return row === undefined ? undefined : importedOf(row)
}

const importedOf = (row: Row): ImportedCRL => ({
  crlNumber: BigInt(row['crl_number'] as string),
  thisUpdate: new Date(row['this_update'] as number),
  nextUpdate: new Date(row['next_update'] as number),
  entries: row['entries'] as number,
  der: row['der'] as Uint8Array,
})

/** @throws TrustError `notFound` while none was imported */
export async function latestImportedCRL(
  { db }: Pick<CAContext, 'db'>,
  { id, address }: Pick<TrustedAuthority, 'id' | 'address'>,
): Promise<ImportedCRL> {
  const crl = await readImported(db, id)
  if (crl === undefined) throw new TrustError('notFound', 'importedCRLNone', { facts: { authority: address } })
  return crl
}

/** Of an address, or of a slug for its newest generation; undefined where it is not that of an offline authority that is trusted. */
export const offlineAt = (authorities: Authorities, address: string): TrustedAuthority | undefined =>
  authorities.trusted().findLast((one) => one.kind === 'offline' && (one.address === address || one.slug === address))

/** What relying parties get under the offline authority's own address. @throws TrustError `notFound` */
export async function publishedImportedCRL(
  context: Pick<CAContext, 'db'>,
  authority: TrustedAuthority,
  { shard = 0, isDelta }: { readonly shard: number | undefined; readonly isDelta: boolean },
) {
  if (shard !== 0 || isDelta) throw new TrustError('notFound', 'importedCRLNone', { facts: { authority: authority.address } })
  const { der, crlNumber: number, thisUpdate, nextUpdate } = await latestImportedCRL(context, authority)
  return {
    tag: `${authority.id}-${number}`,
    thisUpdate,
    nextUpdate,
    octets: der.length,
    // oxlint-disable-next-line require-await -- one piece, where others are read piece by piece
    async *read(start: number, end: number) {
      yield der.subarray(start, end)
    },
  }
}

/** `due` once three quarters of its life are over: someone has to go to the offline machine. */
export type ImportedState = 'none' | 'published' | 'due' | 'overdue'

export interface OfflineState {
  readonly authority: TrustedAuthority
  readonly state: ImportedState
  readonly crl: Omit<ImportedCRL, 'der'> | undefined
}

/** Of each offline authority that is trusted. */
export async function offlineStates(
  { db, world }: Pick<CAContext, 'db' | 'world'>,
  authorities: Authorities,
): Promise<readonly OfflineState[]> {
  const now = world.clock.now()
  return Promise.all(
    authorities
      .trusted()
      .filter(({ kind }) => kind === 'offline')
      .map(async (authority) => {
        const crl = await readImported(db, authority.id)
        return { authority, crl, state: crl === undefined ? 'none' : importedState(crl, now) }
      }),
  )
}

/** The same for who has a database and no authorities: in the order of their addresses. */
export async function offlineStatesIn(
  db: Pick<CAContext['db'], 'query'>,
  now: number,
): Promise<
  readonly {
    readonly slug: string
    readonly generation: number
    readonly state: ImportedState
    readonly nextUpdate: Date | undefined
  }[]
> {
  const rows = await db.query(
    `SELECT id, slug, generation FROM trusted_authority WHERE organization_id = ? AND kind = 'offline' AND state = 'active'
      ORDER BY slug, generation`,
    DEFAULT_ORGANIZATION,
  )
  return Promise.all(
    rows.map(async (row) => {
      const crl = await readImported(db, row['id'] as string)
      return {
        slug: row['slug'] as string,
        generation: row['generation'] as number,
        state: crl === undefined ? 'none' : importedState(crl, now),
        nextUpdate: crl?.nextUpdate,
      }
    }),
  )
}

const DUE_AT = 0.75

function importedState({ thisUpdate, nextUpdate }: ImportedCRL, now: number): ImportedState {
  if (now >= nextUpdate.getTime()) return 'overdue'
  const life = nextUpdate.getTime() - thisUpdate.getTime()
  return now >= thisUpdate.getTime() + life * DUE_AT ? 'due' : 'published'
}

/** @throws TrustError `policyRefused` when the list that is here says it is revoked */
export async function checkNotListed(
  { db }: Pick<CAContext, 'db'>,
  issuer: TrustedAuthority,
  serialNumber: Uint8Array,
): Promise<void> {
  const crl = await readImported(db, issuer.id)
  if (crl === undefined) return
  for (const entry of parseCertificateList(crl.der).entries())
    if (equal(entry.serialNumber, serialNumber)) throw refused(`${issuer.address} has revoked it`)
}
