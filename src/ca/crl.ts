/**
 * CRLs: what is revoked or held, per authority and shard, signed by the authority itself; and deltas to them.
 *
 * A list is read from one index that has all it needs, in one statement, so that it shows one moment. It is kept in
 * parts, so that neither storing nor serving holds a long one as a whole.
 *
 * Source: RFC 5280, 5.
 *
 * @module
 */
import { hash } from 'node:crypto'
import { TrustError } from '#base/errors.ts'
import { toWholeSeconds, uuidv7 } from '#base/world.ts'
import type { Database, Queries, Row, SqlValue } from '#store/database.ts'
import { type CertificateListFields, encodeCertificateList } from '#x509/crl.ts'
import { authorityKeyIdentifier } from '#x509/extensions/authority-key-identifier.ts'
import { distributionPointAt, freshestCRL } from '#x509/extensions/crl-distribution-points.ts'
import {
  crlNumber as crlNumberType,
  type CRLReason,
  deltaCRLIndicator,
  issuingDistributionPoint,
  issuingDistributionPointAt,
} from '#x509/extensions/crl-extensions.ts'
import { encodeExtension } from '#x509/extensions/extension.ts'
import type { Authorities, Authority } from './authorities.ts'
import type { CAContext, CASettings } from './context.ts'
import { lately } from './lately.ts'
import { crlNumbersSkipped } from './restoration.ts'
import { DEFAULT_ORGANIZATION } from './tables.ts'

/** In place of a shard: the one list of all that an authority with several shards has revoked. */
export const ALL_SHARDS = -1

/** Our serial numbers end in chance: their last 32 bits spread certificates evenly, and tell the shard for ever. */
export function shardOf(serialNumber: Uint8Array, shards: number): number {
  let tail = 0
  for (const octet of serialNumber.subarray(-4)) tail = (tail << 8) | octet
  return (tail >>> 0) % shards
}

/** What is known of a list without its octets. */
export interface CRLHead {
  readonly id: string
  readonly authorityId: string
  /** Or {@link ALL_SHARDS}. */
  readonly shard: number
  readonly isDelta: boolean
  readonly crlNumber: number
  /** Of a delta: the oldest list that it can be put onto. */
  readonly baseNumber: number | undefined
  readonly thisUpdate: Date
  readonly nextUpdate: Date
  readonly entries: number
  /** Octets of the DER. */
  readonly size: number
}

export interface IssuedCRL extends CRLHead {
  readonly der: Uint8Array
}

/** Makes and keeps the next full CRL of one shard. @returns it, once it is on disk */
export async function issueCRL(context: CAContext, authority: Authority, shard: number, actor: string): Promise<IssuedCRL> {
  for (;;) {
    const issued = await tryIssue(context, authority, { shard, isDelta: false }, actor)
    if (issued !== undefined) return issued
  }
}

/** Makes and keeps the next delta to a shard's full CRLs. @throws TrustError `notFound` while there is none to put it onto */
export async function issueDeltaCRL(context: CAContext, authority: Authority, shard: number, actor: string): Promise<IssuedCRL> {
  for (;;) {
    const issued = await tryIssue(context, authority, { shard, isDelta: true }, actor)
    if (issued !== undefined) return issued
  }
}

interface Which {
  readonly shard: number
  readonly isDelta: boolean
}

/** @returns undefined when another process took this number in the meantime: then there is a newer list than this one */
async function tryIssue(
  context: CAContext,
  authority: Authority,
  { shard, isDelta }: Which,
  actor: string,
): Promise<IssuedCRL | undefined> {
  const { db, world, settings } = context
  const now = world.clock.now()
  const thisUpdate = new Date(toWholeSeconds(now))
  const [last] = await db.query(
    'SELECT crl_number, this_update FROM crl WHERE authority_id = ? AND shard = ? ORDER BY crl_number DESC LIMIT 1',
    authority.id,
    shard,
  )
  // RFC 5280, 5.2.3: full lists and deltas share it, and it only grows
  const skipped = await crlNumbersSkipped(db, (last?.['this_update'] as number | undefined) ?? 0)
  const crlNumber = ((last?.['crl_number'] as number | undefined) ?? 0) + 1 + skipped
  const base = isDelta ? await oldestBase(db, authority, shard, now) : undefined
  const lastFull = isDelta ? undefined : await newest(db, authority, { shard, isDelta: false })
  const changeMark = await changesSince(db, authority, shard, thisUpdate.getTime()) // before the rows are read
  const rows: Rows =
    base === undefined
      ? { isListed: true, endsAfter: Math.min(now - KEPT_AFTER_END_MILLISECONDS, lastFull?.thisUpdate.getTime() ?? 0) }
      : { isListed: false, since: base.thisUpdate.getTime() - LATE_MILLISECONDS }
  const validSeconds = isDelta ? deltaSecondsOf(authority) : authority.crlValiditySeconds
  const nextUpdate = new Date(thisUpdate.getTime() + validSeconds * 1000)

  const fields: CertificateListFields = {
    issuer: authority.certificate.subject,
    thisUpdate,
    nextUpdate,
    extensions: [
      encodeExtension(authorityKeyIdentifier, { keyIdentifier: authority.keyIdentifier }),
      encodeExtension(crlNumberType, BigInt(crlNumber)),
      ...(base === undefined ? [] : [encodeExtension(deltaCRLIndicator, BigInt(base.crlNumber))]),
      ...scopeOf(settings, authority, shard),
      ...(base === undefined ? pointerToDelta(settings, authority, shard) : []),
    ],
  }
  let entries = 0
  const der = await encodeCertificateList(
    fields,
    async (put, again) => {
      const putRow = (row: Row): void => {
        entries++
        const revokedAt = row['revoked_at'] as number | null
        const serialNumber = row['serial'] as string
        // a hold that was released: RFC 5280, 5.2.4; when it began is of no use any more
        if (revokedAt === null) put({ serialNumber, revokedAt: row['changed_at'] as number, reason: 'removeFromCRL' })
        else put({ serialNumber, revokedAt, reason: row['revocation_reason'] as CRLReason })
      }
      for (let tries = 0; tries < QUICK_TRIES; tries++) {
        for (const each of shardsOf(authority, shard)) await readPages(db, authority.id, each, rows, putRow)
        if ((await changesSince(db, authority, shard, thisUpdate.getTime())) === changeMark) return
        again() // something changed meanwhile: what was read is not of one moment
        entries = 0
      }
      for (const each of shardsOf(authority, shard))
        for await (const row of db.iterate(...rowsOf(authority.id, each, rows))) putRow(row)
    },
    {
      signatureAlgorithm: authority.signatureAlgorithm,
      sign: (tbs) => authority.signer.sign(tbs, authority.signatureAlgorithm),
    },
    lastFull?.entries,
  )
  world.faults.reach('CRL signed')
  const head: CRLHead = {
    id: uuidv7(world),
    authorityId: authority.id,
    shard,
    isDelta,
    crlNumber,
    baseNumber: base?.crlNumber,
    thisUpdate,
    nextUpdate,
    entries,
    size: der.length,
  }
  return (await keep(context, authority, { ...head, der }, changeMark, actor)) ? { ...head, der } : undefined
}

/** RFC 5280, 3.3: a certificate leaves only after it stood on a CRL that was issued beyond its end; and not within a day of it. */
const KEPT_AFTER_END_MILLISECONDS = 86_400_000

/** Which certificates of a shard a list is made of: those revoked or held, or those changed since. */
export type Rows = { readonly isListed: true; readonly endsAfter: number } | { readonly isListed: false; readonly since: number }

type Statement = readonly [sql: string, ...parameters: SqlValue[]]

/** All at once, as of one moment. */
export const rowsOf = (authorityId: string, shard: number, rows: Rows): Statement =>
  rows.isListed
    ? [`${SELECT} AND changed_at IS NOT NULL ${LISTED}`, authorityId, shard, rows.endsAfter]
    : [`${SELECT} AND changed_at >= ?`, authorityId, shard, rows.since]

/** In the order of changes, from a place in it. */
export function pageOf(authorityId: string, shard: number, rows: Rows, changedAt: number, serialNumber: Uint8Array): Statement {
  const from = rows.isListed ? changedAt : Math.max(changedAt, rows.since - 1)
  const common = [authorityId, shard, from, serialNumber] as const
  return rows.isListed
    ? [`${SELECT} ${BEYOND} ${LISTED} ${PAGE}`, ...common, rows.endsAfter]
    : [`${SELECT} ${BEYOND} ${PAGE}`, ...common]
}

const SELECT =
  'SELECT hex(serial_number) AS serial, revoked_at, revocation_reason, changed_at FROM certificate WHERE authority_id = ? AND crl_shard = ?'
const LISTED = 'AND revoked_at IS NOT NULL AND not_after > ?'
/** The first condition follows from the second; it is said because SQLite asks for it before it takes the partial index. */
const BEYOND = 'AND changed_at IS NOT NULL AND (changed_at, serial_number) > (?, ?)'
/** Some 2 ms, after which others have their turn. */
const PAGE_ROWS = 2000
const PAGE = `ORDER BY changed_at, serial_number LIMIT ${PAGE_ROWS}`

/** A page costs a third of what a stream of its rows does, but several are not of one moment. */
const QUICK_TRIES = 2

async function readPages(db: Queries, authorityId: string, shard: number, rows: Rows, put: (row: Row) => void): Promise<void> {
  let changedAt = -1 // before the first
  let serialNumber = new Uint8Array(0)
  for (;;) {
    const page = await db.query(...pageOf(authorityId, shard, rows, changedAt, serialNumber))
    for (const row of page) put(row)
    const last = page.at(-1)
    if (last === undefined || page.length < PAGE_ROWS) return
    changedAt = last['changed_at'] as number
    serialNumber = Uint8Array.fromHex(last['serial'] as string)
    await new Promise(setImmediate)
  }
}

const shardsOf = ({ crlShards }: Authority, shard: number): readonly number[] =>
  shard === ALL_SHARDS ? Array.from({ length: crlShards }, (_, each) => each) : [shard]

/**
 * A change bears the time at which its transaction began, by the clock of the process that made it: it may become
 * visible later, and another process's clock may be ahead. A delta reaches back by this much, which repeats some
 * entries and leaves none out.
 */
const LATE_MILLISECONDS = 600_000

/**
 * Differs whenever a certificate of the shard was changed in a way that a list made at `time` cannot show: each change
 * makes a row's version larger.
 */
async function changesSince(db: Queries, authority: Authority, shard: number, time: number): Promise<string> {
  const marks: string[] = []
  for (const each of shardsOf(authority, shard)) {
    const [row] = await db.query(CHANGES_SINCE, authority.id, each, time - LATE_MILLISECONDS)
    marks.push(`${String(row?.['changed'])} ${String(row?.['versions'])}`)
  }
  return marks.length === 1 ? (marks[0] as string) : hash('sha256', marks.join(), 'base64url')
}

export const CHANGES_SINCE =
  'SELECT COUNT(*) AS changed, COALESCE(SUM(version), 0) AS versions FROM certificate WHERE authority_id = ? AND crl_shard = ? AND changed_at >= ?'

/** Clients keep a full list until it ends, so that a delta has to fit the oldest that has not ended. */
async function oldestBase(db: Queries, authority: Authority, shard: number, now: number): Promise<CRLHead> {
  const [row] = await db.query(
    'SELECT * FROM crl WHERE authority_id = ? AND shard = ? AND is_delta = 0 AND next_update > ? ORDER BY crl_number LIMIT 1',
    authority.id,
    shard,
    now,
  )
  if (row === undefined) throw noCRL(authority)
  return headOf(row)
}

const deltaSecondsOf = ({ crlDeltaSeconds, address }: Authority): number => {
  if (crlDeltaSeconds === undefined) throw new TrustError('notFound', 'crlNoDeltas', { facts: { authority: address } })
  return crlDeltaSeconds
}

/** One of several shards says so, or it would be taken for the whole (RFC 5280, 5.2.5); its address is the one in the certificates. */
function scopeOf({ publicUrl }: CASettings, authority: Authority, shard: number): readonly Uint8Array[] {
  if (shard === ALL_SHARDS || authority.crlShards === 1) return []
  if (publicUrl === undefined) throw new TrustError('unavailable', 'publicUrlMissing')
  return [encodeExtension(issuingDistributionPoint, issuingDistributionPointAt(crlAddress(publicUrl, authority, shard)))]
}

/** RFC 5280, 5.2.6: in full lists only. */
function pointerToDelta({ publicUrl }: CASettings, authority: Authority, shard: number): readonly Uint8Array[] {
  if (authority.crlDeltaSeconds === undefined || shard === ALL_SHARDS) return []
  if (publicUrl === undefined) throw new TrustError('unavailable', 'publicUrlMissing')
  return [encodeExtension(freshestCRL, [distributionPointAt(deltaCRLAddress(publicUrl, authority, shard))])]
}

/** Where relying parties find the CRL of a shard. */
export const crlAddress = (publicUrl: string, { address }: Pick<Authority, 'address'>, shard: number): string =>
  `${publicUrl}/crl/${address}/${shard}.crl`

/** Where they find what changed since. */
export const deltaCRLAddress = (publicUrl: string, { address }: Pick<Authority, 'address'>, shard: number): string =>
  `${publicUrl}/crl/${address}/${shard}/delta.crl`

/** Old lists say nothing that the certificate rows do not; a few are kept for downloads under way and for someone who compares. */
const KEPT_CRLS = 8
/** What one client's download holds in memory, and one row of the database. */
export const PART_OCTETS = 256 << 10
/** One transaction's: the disk's wait is shared, and other writers wait some 10 ms. */
const PARTS_EACH = 16

const PART_COLUMNS = ['id', 'organization_id', 'version', 'crl_id', 'authority_id', 'shard', 'crl_number', 'number', 'octets']

/** Parts first, and then the row that makes them a list. @returns false when another process took this number in the meantime */
async function keep(
  context: CAContext,
  authority: Authority,
  { der, ...crl }: IssuedCRL,
  changeMark: string,
  actor: string,
): Promise<boolean> {
  const { db, audit, world } = context
  const partsOf = (from: number): SqlValue[][] => {
    const rows: SqlValue[][] = []
    for (let number = from; number < from + PARTS_EACH && number * PART_OCTETS < der.length; number++) {
      const octets = der.subarray(number * PART_OCTETS, (number + 1) * PART_OCTETS)
      rows.push([uuidv7(world), DEFAULT_ORGANIZATION, 1, crl.id, crl.authorityId, crl.shard, crl.crlNumber, number, octets])
    }
    return rows
  }
  const parts = Math.ceil(der.length / PART_OCTETS)
  let first = 0
  for (; parts - first > PARTS_EACH; first += PARTS_EACH) {
    await db.transaction((tx) => tx.insertMany('crl_part', PART_COLUMNS, partsOf(first)))
  }
  const isKept = await db.transaction(async (tx) => {
    const kept = await tx.query(
      `INSERT INTO crl (id, organization_id, version, authority_id, shard, is_delta, crl_number, base_number, this_update,
          next_update, entries, size, change_mark)
        VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (authority_id, shard, crl_number) DO NOTHING RETURNING id`,
      crl.id,
      DEFAULT_ORGANIZATION,
      crl.authorityId,
      crl.shard,
      crl.isDelta ? 1 : 0,
      crl.crlNumber,
      crl.baseNumber ?? null,
      crl.thisUpdate.getTime(),
      crl.nextUpdate.getTime(),
      crl.entries,
      crl.size,
      changeMark,
    )
    if (kept.length === 0) {
      await tx.query('DELETE FROM crl_part WHERE crl_id = ?', crl.id)
      return false
    }
    await tx.insertMany('crl_part', PART_COLUMNS, partsOf(first))
    await audit.record(tx, {
      actor,
      act: 'ca.issue-crl',
      object: `authority:${crl.authorityId}`,
      outcome: 'done',
      facts: {
        crlNumber: crl.crlNumber,
        entries: crl.entries,
        ...(crl.shard !== 0 && { shard: crl.shard }),
        ...(crl.baseNumber !== undefined && { baseNumber: crl.baseNumber }),
      },
    })
    return true
  })
  headsLately.forget(db)
  if (isKept) await dropOld(context, authority, crl)
  return isKept
}

/** A delta's base is kept while a client may have it; parts without a list are of a process that ended half way. */
async function dropOld(
  { db }: CAContext,
  authority: Authority,
  { shard, isDelta, thisUpdate, crlNumber }: CRLHead,
): Promise<void> {
  const isBase = !isDelta && authority.crlDeltaSeconds !== undefined
  const old = await db.query<{ id: string }>(
    `SELECT id FROM crl WHERE authority_id = ? AND shard = ? AND is_delta = ? AND next_update <= ?
      ORDER BY crl_number DESC LIMIT 1000 OFFSET ${KEPT_CRLS}`,
    authority.id,
    shard,
    isDelta ? 1 : 0,
    isBase ? thisUpdate.getTime() : Number.MAX_SAFE_INTEGER,
  )
  await db.transaction(async (tx) => {
    for (const { id } of old) await tx.query('DELETE FROM crl WHERE id = ?', id)
    await tx.query(
      `DELETE FROM crl_part WHERE authority_id = ? AND shard = ? AND crl_number < ?
        AND NOT EXISTS (SELECT 1 FROM crl WHERE crl.id = crl_part.crl_id)`,
      authority.id,
      shard,
      crlNumber,
    )
  })
}

const headOf = (row: Row): CRLHead => ({
  id: row['id'] as string,
  authorityId: row['authority_id'] as string,
  shard: row['shard'] as number,
  isDelta: row['is_delta'] === 1,
  crlNumber: row['crl_number'] as number,
  baseNumber: (row['base_number'] as number | null) ?? undefined,
  thisUpdate: new Date(row['this_update'] as number),
  nextUpdate: new Date(row['next_update'] as number),
  entries: row['entries'] as number,
  size: row['size'] as number,
})

const noCRL = ({ address }: Pick<Authority, 'address'>): TrustError =>
  new TrustError('notFound', 'crlNone', { facts: { authority: address } })

const NEWEST = 'SELECT * FROM crl WHERE authority_id = ? AND shard = ? AND is_delta = ? ORDER BY crl_number DESC LIMIT 1'

async function newest(db: Queries, { id }: Pick<Authority, 'id'>, { shard, isDelta }: Which): Promise<CRLHead | undefined> {
  const [row] = await db.query(NEWEST, id, shard, isDelta ? 1 : 0)
  return row === undefined ? undefined : headOf(row)
}

const headsLately = lately<CRLHead>()

/** The newest list of a shard, without its octets. @throws TrustError `notFound` while none was issued */
export const latestCRLHead = (
  context: Pick<CAContext, 'db' | 'world'>,
  authority: Pick<Authority, 'id' | 'address'>,
  which: Which,
): Promise<CRLHead> =>
  headsLately.get(context, `${authority.id} ${which.shard} ${which.isDelta}`, async () => {
    const head = await newest(context.db, authority, which)
    if (head === undefined) throw noCRL(authority)
    return head
  })

/** A list's octets from `start` to before `end`, one part after the other. @throws TrustError `notFound` once it was dropped */
export async function* readCRL(
  { db }: Pick<CAContext, 'db'>,
  { id, size }: Pick<CRLHead, 'id' | 'size'>,
  start = 0,
  end = size,
): AsyncGenerator<Uint8Array> {
  for (let number = Math.floor(start / PART_OCTETS); number * PART_OCTETS < end; number++) {
    const octets = await readPart(db, id, number)
    const at = number * PART_OCTETS
    yield octets.subarray(Math.max(0, start - at), Math.min(octets.length, end - at))
  }
}

/** A list that was just issued is fetched by many at once, and most lists are one part. */
const KEPT_PARTS = 64
const keptParts = new WeakMap<Database, Map<string, Promise<Uint8Array>>>()

function readPart(db: Database, crlId: string, number: number): Promise<Uint8Array> {
  const kept = keptParts.get(db) ?? new Map<string, Promise<Uint8Array>>()
  keptParts.set(db, kept)
  const key = `${crlId} ${number}`
  const known = kept.get(key)
  if (known !== undefined) return known
  const reading = db.query('SELECT octets FROM crl_part WHERE crl_id = ? AND number = ?', crlId, number).then(([row]) => {
    if (row === undefined) throw new TrustError('notFound', 'crlDropped')
    return row['octets'] as Uint8Array
  })
  if (kept.size >= KEPT_PARTS) kept.delete(kept.keys().next().value as string)
  kept.set(key, reading)
  reading.catch(() => kept.delete(key))
  return reading
}

/**
 * What an address of the repository stands for. The authority's own stands for its one shard, or where it has several
 * for the list of all of them.
 *
 * @throws TrustError `notFound`
 */
export async function publishedCRL(
  context: CAContext,
  authorities: Authorities,
  address: string,
  { shard, isDelta }: { readonly shard: number | undefined; readonly isDelta: boolean },
) {
  const authority = authorities.byAddress(address)
  const isUnknown = shard === undefined ? isDelta && authority.crlShards > 1 : shard >= authority.crlShards
  if (isUnknown) throw new TrustError('notFound', 'crlShardUnknown', { facts: { authority: authority.address } })
  const which = { shard: shard ?? (authority.crlShards === 1 ? 0 : ALL_SHARDS), isDelta }
  const head = await latestCRLHead(context, authority, which)
  return {
    tag: head.id,
    thisUpdate: head.thisUpdate,
    nextUpdate: head.nextUpdate,
    octets: head.size,
    read: (start: number, end: number) => readCRL(context, head, start, end),
  }
}

/** The newest CRL of a shard, whole. @throws TrustError `notFound` while none was issued */
export async function latestCRL(context: Pick<CAContext, 'db'>, authority: Authority, shard: number): Promise<IssuedCRL> {
  const head = await newest(context.db, authority, { shard, isDelta: false })
  if (head === undefined) throw noCRL(authority)
  const der = new Uint8Array(head.size)
  let at = 0
  for await (const octets of readCRL(context, head)) {
    der.set(octets, at)
    at += octets.length
  }
  return { ...head, der }
}

/** Every list that an authority keeps fresh. */
function listsOf({ crlShards, crlDeltaSeconds }: Authority): readonly Which[] {
  const shards = Array.from({ length: crlShards }, (_, shard) => shard)
  return [
    ...shards.map((shard) => ({ shard, isDelta: false })),
    ...(crlDeltaSeconds === undefined ? [] : shards.map((shard) => ({ shard, isDelta: true }))),
    ...(crlShards > 1 ? [{ shard: ALL_SHARDS, isDelta: false }] : []),
  ]
}

/** Makes every list of an authority anew, or those of new shards only. @returns the last one */
export async function issueAllCRLs(context: CAContext, authority: Authority, actor: string, fromShard = 0): Promise<IssuedCRL> {
  let last: IssuedCRL | undefined
  for (const { shard, isDelta } of listsOf(authority)) {
    if (shard !== ALL_SHARDS && shard < fromShard) continue
    last = await (isDelta ? issueDeltaCRL : issueCRL)(context, authority, shard, actor)
  }
  if (last === undefined) throw new TrustError('internal', 'internal', { cause: 'an authority without a list' })
  return last
}

/**
 * Issues every list that is due: none yet, half of its life over, or something changed since and the least interval has
 * passed (many revocations, one list). With deltas, a change makes a delta, and a shard's full list waits for its half life.
 *
 * @returns how many were issued
 * @throws the first of what went wrong, once every other authority has had its turn
 */
export async function issueDueCRLs(context: CAContext, authorities: readonly Authority[]): Promise<number> {
  let issued = 0
  const failures: unknown[] = []
  for (const authority of authorities.filter(({ state }) => state === 'active' || state === 'retired')) {
    for (const [i, which] of listsOf(authority).entries()) {
      if (i % LOOKS_EACH === LOOKS_EACH - 1) await new Promise(setImmediate)
      try {
        if (!(await isDue(context, authority, which))) continue
        if ((await tryIssue(context, authority, which, 'system')) !== undefined) issued++
      } catch (error) {
        failures.push(error)
      }
    }
  }
  if (failures.length > 0) throw failures[0]
  return issued
}

/** Some 2 ms, after which others have their turn: an authority may have a thousand shards. */
const LOOKS_EACH = 32

async function isDue({ db, world, settings }: CAContext, authority: Authority, which: Which): Promise<boolean> {
  const [row] = await db.query(NEWEST, authority.id, which.shard, which.isDelta ? 1 : 0)
  if (row === undefined) return true
  const last = headOf(row)
  const now = world.clock.now()
  if (now > (last.thisUpdate.getTime() + last.nextUpdate.getTime()) / 2) return true
  if (now - last.thisUpdate.getTime() < settings.crlMinIntervalSeconds * 1000) return false
  // the list of all has no delta, and is for those who know none
  if (authority.crlDeltaSeconds !== undefined && !which.isDelta && which.shard !== ALL_SHARDS) return false
  return (await changesSince(db, authority, which.shard, last.thisUpdate.getTime())) !== row['change_mark']
}
