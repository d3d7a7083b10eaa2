/**
 * The journal: what was recorded since the last backup, kept outside the database within a second.
 *
 * Background work follows the audit log and appends each stretch of it as one signed line: its entries, the certificates
 * that they tell of, and what the log's tree was after them. A restored installation reads them to know again what was
 * issued and revoked after its backup, and its audit log goes on as the one that it was.
 *
 * It holds no keys and nothing that the audit log and certificates do not say.
 *
 * @module
 */
import { hash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { ENTRY_COLUMNS, type EntryRow, entryText } from '#audit/entry.ts'
import type { AuditLog } from '#audit/log.ts'
import { decodePeaks, emptyTree, encodePeaks, grow, type Tree } from '#audit/merkle.ts'
import { utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import type { World } from '#base/world.ts'
import { certificatesForJournal, type JournaledCertificate, revocationTimes } from '#ca/restoration.ts'
import type { Database } from '#store/database.ts'
import { acquireLease, type Lease, releaseLease, renewLease } from '#store/lease.ts'

/** The columns of an entry that are hashed, in the order of the line's arrays. */
export type JournaledEntry = readonly [
  id: string,
  organizationId: string,
  at: number,
  actor: string,
  act: string,
  object: string,
  outcome: string,
  reason: string | null,
  facts: string,
]

/** One line of a journal. */
export interface Stretch {
  readonly origin: string
  /** Place of the first entry, and of the one after the last. */
  readonly from: number
  readonly to: number
  readonly entries: readonly JournaledEntry[]
  readonly certificates: readonly JournaledCertificate[]
  /** By certificate, of those that were revoked or held: milliseconds. */
  readonly revokedAt: Readonly<Record<string, number>>
  /** Base64: the tree of the log after these entries. */
  readonly peaks: string
}

export interface JournalOptions {
  readonly database: Database
  readonly world: World
  readonly log: AuditLog
  readonly directory: string
  /** This process: a fresh id at each start. */
  readonly holder: string
  /** No other process can be at work on this database. */
  readonly alone: boolean
}

export interface Journal {
  /** Appends what the audit log has and the journal has not. Does nothing while another process does. */
  runOnce(): Promise<{ readonly entries: number; readonly leading: boolean }>
  release(): Promise<void>
}

const LEASE_SECONDS = 15
const RENEW_MILLISECONDS = 10_000
/** With their certificates some 2 MB: what is read and written in one go. */
const STRETCH_ENTRIES_MAX = 1000
const STRETCH_OCTETS_MAX = 8 << 20
/** Of one run, so that stopping does not wait long. */
const STRETCHES_MAX = 20
/** A file of a size that can be copied and, once a backup covers it, deleted. */
const FILE_OCTETS_MAX = 64 << 20

const FILE_NAME = /^journal-(\d{15})\.txt$/
const fileName = (from: number): string => `journal-${String(from).padStart(15, '0')}.txt`

export function journal({ database, world, log, directory, holder, alone }: JournalOptions): Journal {
  let held: Lease | undefined
  /** Where this process has left off; undefined until it has looked. */
  let place: Place | undefined

  const lead = async (): Promise<boolean> => {
    if (held !== undefined && held.expiresAt - world.clock.now() < RENEW_MILLISECONDS)
      held = await renewLease(database, world, held, LEASE_SECONDS)
    if (held === undefined) {
      place = undefined // another may have written meanwhile
      held = await acquireLease(database, world, { name: 'backup-journal', holder, seconds: LEASE_SECONDS, alone })
    }
    return held !== undefined
  }

  const nextStretch = async (tree: Tree): Promise<{ readonly stretch: Stretch; readonly tree: Tree } | undefined> => {
    const rows = await database.query<EntryRow>(
      `SELECT ${ENTRY_COLUMNS} FROM audit_entry WHERE organization_id = ? AND log_index >= ? AND log_index < ? ORDER BY log_index`,
      ...[log.organizationId, tree.size, tree.size + STRETCH_ENTRIES_MAX],
    )
    if (rows.length === 0) return undefined
    const taken = withinOctets(rows)
    if (taken.some(({ log_index }, n) => log_index !== tree.size + n)) throw new TrustError('unavailable', 'auditLogDamaged')
    const grown = grow(
      tree,
      taken.map(({ leaf_hash }) => leaf_hash),
    )
    const certificates = await certificatesForJournal(
      database,
      taken.flatMap((row) => certificateOf(row, ISSUES)),
    )
    const revokedAt = await revocationTimes(
      database,
      taken.flatMap((row) => certificateOf(row, TAKES_OUT_OF_USE)),
    )
    const stretch = {
      origin: log.origin,
      from: tree.size,
      to: grown.size,
      entries: taken.map(journaledEntry),
      certificates,
      revokedAt,
      peaks: encodePeaks(grown).toBase64(),
    }
    return { stretch, tree: grown }
  }

  return {
    async runOnce() {
      if (!(await lead())) return { entries: 0, leading: false }
      place ??= await findPlace(directory, log)
      let entries = 0
      for (let n = 0; n < STRETCHES_MAX; n++) {
        const next = await nextStretch(place.tree)
        if (next === undefined) break
        const json = JSON.stringify(next.stretch)
        const signature = await log.signer.sign(utf8(stretchText(log.origin, json)), 'ecdsa-sha256')
        const line = utf8(`${signature.toBase64()} ${json}\n`)
        const before: Place = place
        place = undefined // what a failed write left behind is looked at again
        const begins = before.octets === 0 || before.octets + line.length > FILE_OCTETS_MAX
        const file: string = begins ? fileName(next.stretch.from) : before.file
        await append(join(directory, file), line)
        place = { tree: next.tree, file, octets: (begins ? 0 : before.octets) + line.length }
        entries += next.stretch.entries.length
        world.faults.reach('journal written')
      }
      return { entries, leading: true }
    },
    async release() {
      if (held !== undefined) await releaseLease(database, held)
      held = undefined
    },
  }
}

interface Place {
  readonly tree: Tree
  readonly file: string
  readonly octets: number
}

/** Where a journal ends: its last whole line. What a crash left of another is cut off. */
async function findPlace(directory: string, log: AuditLog): Promise<Place> {
  await mkdir(directory, { recursive: true, mode: 0o700 })
  const file = (await journalFiles(directory)).at(-1)
  if (file === undefined) return { tree: emptyTree, file: '', octets: 0 }
  let last: string | undefined
  let octets = 0
  for await (const line of wholeLines(join(directory, file))) {
    last = line
    octets += Buffer.byteLength(line) + 1
  }
  const handle = await open(join(directory, file), 'r+')
  try {
    await handle.truncate(octets)
    await handle.sync()
  } finally {
    await handle.close()
  }
  if (last === undefined) {
    // nothing of it was whole: the file before it says where it is to begin
    const [, from] = FILE_NAME.exec(file) ?? []
    if (Number(from) === 0) return { tree: emptyTree, file, octets: 0 }
    throw new TrustError('unavailable', 'journalOther', { facts: { file } })
  }
  const { origin, to, peaks } = parseStretch(jsonOf(last).json)
  const tree = decodePeaks(to, Uint8Array.fromBase64(peaks))
  if (origin !== log.origin || tree === undefined) throw new TrustError('unavailable', 'journalOther', { facts: { file } })
  return { tree, file, octets }
}

/** In the order of the log. */
export async function journalFiles(directory: string): Promise<readonly string[]> {
  return (await readdir(directory)).filter((name) => FILE_NAME.test(name)).toSorted()
}

async function append(path: string, octets: Uint8Array): Promise<void> {
  const file = await open(path, 'a', 0o600)
  try {
    await file.appendFile(octets)
    await file.sync()
  } finally {
    await file.close()
  }
}

/** A stretch with its certificates, in JSON and base64. */
const LINE_OCTETS_MAX = 8 * STRETCH_OCTETS_MAX

/** Without what stands behind the last line break. @throws TrustError `malformed` */
export async function* wholeLines(path: string): AsyncGenerator<string, void, undefined> {
  let parts: Buffer[] = []
  let size = 0
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 }) as AsyncIterable<Buffer>) {
    let from = 0
    for (let end: number; (end = chunk.indexOf(0x0a, from)) >= 0; from = end + 1) {
      yield Buffer.concat([...parts, chunk.subarray(from, end)]).toString()
      parts = []
      size = 0
    }
    parts.push(chunk.subarray(from))
    if ((size += chunk.length - from) > LINE_OCTETS_MAX)
      throw new TrustError('malformed', 'badJournal', { facts: { file: path } })
  }
}

/** What the audit log's key signs: one line, which no checkpoint is. */
export const stretchText = (origin: string, json: string): string => `sealworks journal 1 ${origin} ${hash('sha256', json)}`

/** @throws TrustError `malformed` */
export function jsonOf(line: string): { readonly signature: Uint8Array; readonly json: string } {
  const at = line.indexOf(' ')
  try {
    if (at > 0) return { signature: Uint8Array.fromBase64(line.slice(0, at)), json: line.slice(at + 1) }
  } catch {
    // refused below
  }
  throw badJournal()
}

/** @throws TrustError `malformed` */
export function parseStretch(json: string): Stretch {
  let value: unknown
  try {
    value = JSON.parse(json)
  } catch (cause) {
    throw badJournal(cause)
  }
  if (typeof value !== 'object' || value === null) throw badJournal()
  const { origin, from, to, entries, certificates, revokedAt, peaks } = value as Partial<Stretch>
  const whole =
    typeof origin === 'string' &&
    Number.isSafeInteger(from) &&
    Number.isSafeInteger(to) &&
    Array.isArray(entries) &&
    Array.isArray(certificates) &&
    typeof revokedAt === 'object' &&
    revokedAt !== null &&
    typeof peaks === 'string' &&
    (to as number) - (from as number) === entries.length
  if (!whole) throw badJournal()
  return { origin, from: from as number, to: to as number, entries, certificates, revokedAt, peaks }
}

const badJournal = (cause?: unknown): TrustError => new TrustError('malformed', 'badJournal', { facts: { file: 'it' }, cause })

const journaledEntry = (row: EntryRow): JournaledEntry => [
  ...([row.id, row.organization_id, row.at, row.actor, row.act, row.object, row.outcome, row.reason, row.facts] as const),
]

const ISSUES: ReadonlySet<string> = new Set(['certificate.issue'])
const TAKES_OUT_OF_USE: ReadonlySet<string> = new Set(['certificate.revoke', 'certificate.hold'])

function certificateOf({ act, object, outcome }: EntryRow, acts: ReadonlySet<string>): readonly string[] {
  const [kind, id] = object.split(':')
  return acts.has(act) && outcome === 'done' && kind === 'certificate' && id !== undefined ? [id] : []
}

function withinOctets(rows: readonly EntryRow[]): readonly EntryRow[] {
  let size = 0
  const end = rows.findIndex((row, n) => (size += entryText(row).length) > STRETCH_OCTETS_MAX && n > 0)
  return end < 0 ? rows : rows.slice(0, end)
}
