/**
 * Writes a backup while the installation works: every table as it was at one moment, and the files beside the database.
 *
 * Software keys are in it as they lie in the database, wrapped; so is the key that wraps them, which only recovery
 * recipients can then get at. The audit log's key signs, so that nobody else can make a backup of this installation.
 *
 * @module
 */
import { createHash, hash } from 'node:crypto'
import type { AuditLog } from '#audit/log.ts'
import { utf8 } from '#base/bytes.ts'
import { uuidv7, type World } from '#base/world.ts'
import type { Recipient } from '#cms/encrypt.ts'
import type { Database, Row, Snapshot, SqlValue } from '#store/database.ts'
import { sealChunks, sealHead } from './container.ts'
import { type BackupFile, type BackupRecord, encodeRecord, type Manifest, type SqlRow } from './records.ts'

export interface WriteBackupOptions {
  readonly database: Database
  readonly world: World
  readonly log: AuditLog
  readonly files: readonly BackupFile[]
  readonly recipients: readonly [Recipient, ...Recipient[]]
  /** Of this program. */
  readonly version: string
  /** Told now and then how many rows are written. */
  readonly progress?: (rows: number) => void
}

export interface WrittenBackup {
  readonly manifest: Manifest
  readonly rows: number
  readonly tables: number
  readonly octets: number
}

/**
 * What a backup leaves out: the schema's own record, which the manifest has and a restore writes anew; who holds which
 * lease; and signed-in browsers and sign-in links, of which a restore would bring back those that were used or ended.
 */
const LEFT_OUT: ReadonlySet<string> = new Set(['schema_migration', 'lease', 'browser_session', 'one_time_link'])

/** Rows of one record, which has at most about so many octets more than its last row. */
const RECORD_OCTETS = 64 << 10

/** @param sink takes the file piece by piece, in order @throws TrustError `unavailable` when database or key are away */
export async function writeBackup(
  options: WriteBackupOptions,
  sink: (octets: Uint8Array) => Promise<void>,
): Promise<WrittenBackup> {
  const { database, world, recipients } = options
  const head = await sealHead(recipients, world.random)
  let octets = head.octets.length
  await sink(head.octets)
  return database.snapshot(async (snapshot) => {
    const manifest = await manifestOf(options, snapshot)
    const counted = { rows: 0, tables: 0 }
    for await (const chunk of sealChunks(head, contentOf(options, snapshot, manifest, head.octets, counted))) {
      octets += chunk.length
      await sink(chunk)
    }
    return { manifest, ...counted, octets }
  })
}

async function manifestOf({ database, world, log, version }: WriteBackupOptions, snapshot: Snapshot): Promise<Manifest> {
  const migrations = await Array.fromAsync(
    snapshot.iterate<{ id: string; digest: string }>('SELECT id, digest FROM schema_migration ORDER BY id'),
  )
  const sizes = snapshot.iterate<{ size: number }>('SELECT size FROM audit_log WHERE organization_id = ?', log.organizationId)
  const [first] = await Array.fromAsync(sizes)
  const createdAt = Math.trunc(world.clock.now())
  const identity = { id: uuidv7(world), createdAt, version, engine: database.id, origin: log.origin }
  return { format: 1, ...identity, logSize: first?.size ?? 0, migrations: migrations.map(({ id, digest }) => ({ id, digest })) }
}

async function* contentOf(
  { log, files, progress }: WriteBackupOptions,
  snapshot: Snapshot,
  manifest: Manifest,
  head: Uint8Array,
  counted: { rows: number; tables: number },
): AsyncGenerator<Uint8Array, void, undefined> {
  const signed = async (text: string): Promise<Uint8Array> =>
    encodeRecord({ type: 'signature', octets: await log.signer.sign(utf8(text), 'ecdsa-sha256') })
  const digest = createHash('sha256')
  const noted = (record: BackupRecord): Uint8Array => {
    const octets = encodeRecord(record)
    digest.update(octets)
    return octets
  }

  yield await signed(headText(log.origin, head))
  yield noted({ type: 'manifest', manifest })
  for (const file of files) yield noted({ type: 'file', file })
  for (const { name, columns } of await snapshot.tables()) {
    if (LEFT_OUT.has(name)) continue
    yield noted({ type: 'table', name, columns })
    const before = counted.rows
    const read = snapshot.iterate(`SELECT ${columns.join(', ')} FROM ${name}`)
    for await (const rows of gathered(read, columns)) {
      counted.rows += rows.length
      progress?.(counted.rows)
      yield noted({ type: 'rows', rows })
    }
    counted.tables++
    yield noted({ type: 'tableEnd', rows: counted.rows - before })
  }
  yield noted({ type: 'end', ...counted })
  yield await signed(endText(manifest, digest.digest('hex')))
}

/** Several rows for each record. */
async function* gathered(
  rows: AsyncIterable<Row>,
  columns: readonly string[],
): AsyncGenerator<readonly SqlRow[], void, undefined> {
  let held: SqlRow[] = []
  let size = 0
  for await (const row of rows) {
    const values = columns.map((column) => row[column] as SqlValue)
    held.push(values)
    for (const value of values) size += typeof value === 'string' || value instanceof Uint8Array ? value.length + 5 : 9
    if (size < RECORD_OCTETS) continue
    yield held
    held = []
    size = 0
  }
  if (held.length > 0) yield held
}

/** One line each, which no checkpoint is: the same key signs those. */
export const headText = (origin: string, head: Uint8Array): string => `sealworks backup 1 head ${origin} ${hash('sha256', head)}`
export const endText = ({ origin, id }: Manifest, digest: string): string => `sealworks backup 1 end ${origin} ${id} ${digest}`
