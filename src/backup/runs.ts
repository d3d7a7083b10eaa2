/**
 * Backups that the server makes by itself or when asked: one at a time, into a directory, with a record of each.
 *
 * @module
 */
import { mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Audit } from '#audit/audit.ts'
import type { AuditLog } from '#audit/log.ts'
import { asTrustError, TrustError } from '#base/errors.ts'
import type { Log } from '#base/log.ts'
import { uuidv7, type World } from '#base/world.ts'
import type { Recipient } from '#cms/encrypt.ts'
import type { Database, Queries, Row } from '#store/database.ts'
import { acquireLease, type Lease, releaseLease, renewLease } from '#store/lease.ts'
import type { BackupFile } from './records.ts'
import { writeBackup } from './write.ts'

export interface BackupRun {
  readonly id: string
  /** `interrupted`: whoever made it has not been heard of for a while. */
  readonly state: 'running' | 'done' | 'failed' | 'interrupted'
  /** In the directory of backups. */
  readonly file: string
  /** What stands in the backup itself. */
  readonly backupId: string | undefined
  readonly rows: number
  readonly octets: number
  /** Entries of the audit log that it has. */
  readonly logSize: number | undefined
  /** Why it failed. */
  readonly reason: string | undefined
  readonly startedAt: number
  readonly finishedAt: number | undefined
  /** When it was last tried out, as far as somebody said so. */
  readonly rehearsedAt: number | undefined
}

export interface BackupsOptions {
  readonly database: Database
  readonly world: World
  readonly audit: Audit
  readonly log: AuditLog
  readonly directory: string
  readonly version: string
  /** Read when a backup begins: certificates and keys may be replaced while the server runs. */
  readonly contents: () => Promise<{ readonly recipients: readonly Recipient[]; readonly files: readonly BackupFile[] }>
  readonly report: Log
  /** No other process can be at work on this database, so that the lease of one that crashed need not run out. */
  readonly alone: boolean
}

type Given = Awaited<ReturnType<BackupsOptions['contents']>>

export interface Backups {
  /** @returns as soon as it has begun @throws TrustError `conflict` while another is made, `unavailable` without recipients */
  start(actor: string): Promise<BackupRun>
  /** Newest first. */
  list(): Promise<readonly BackupRun[]>
  /** @throws TrustError `notFound` */
  find(id: string): Promise<BackupRun>
  /** A piece of the file. @throws TrustError `notFound` when there is no such backup or piece, or its file is elsewhere by now */
  part(id: string, number: number): Promise<{ readonly octets: Uint8Array; readonly last: boolean }>
  /** Somebody tried it out. @throws TrustError `notFound` */
  rehearsed(backupId: string, actor: string): Promise<BackupRun>
  /** Waits for what is under way. */
  settle(): Promise<void>
}

const LEASE = 'backup'
const LEASE_SECONDS = 60
/** How often the record says how far it is. */
const SEEN_MILLISECONDS = 1000
/** An answer of the REST interface, in base64. */
const PART_OCTETS = 512 << 10
const LISTED_MAX = 200

export function backups({ database, world, audit, log, directory, version, contents, report, alone }: BackupsOptions): Backups {
  const { organizationId } = log
  let running: Promise<void> = Promise.resolve()
  let isRunning = false

  const find = async (id: string): Promise<BackupRun> => {
    const [row] = await database.query('SELECT * FROM backup_run WHERE organization_id = ? AND id = ?', organizationId, id)
    if (row === undefined) throw new TrustError('notFound', 'backupUnknown')
    return runOf(row, world.clock.now())
  }

  /** In a file beside, so that a file of that name is whole. */
  async function make(id: string, file: string, actor: string, given: Given, renew: () => Promise<void>): Promise<void> {
    const [first, ...others] = given.recipients
    if (first === undefined) throw new TrustError('unavailable', 'backupRecipients')
    const path = join(directory, file)
    const part = await open(`${path}.part`, 'wx', 0o600)
    let rows = 0
    let octets = 0
    let seenAt = world.clock.now()
    try {
      const { recipients, files } = { recipients: [first, ...others] as const, files: given.files }
      const sink = async (piece: Uint8Array): Promise<void> => {
        await part.write(piece)
        octets += piece.length
        world.faults.reach('backup written')
        const now = world.clock.now()
        if (now - seenAt < SEEN_MILLISECONDS) return
        seenAt = now
        await Promise.all([seen(id, rows, octets), renew()])
      }
      const progress = (count: number): void => void (rows = count)
      const written = await writeBackup({ database, world, log, files, recipients, version, progress }, sink)
      await part.sync()
      await part.close()
      await rename(`${path}.part`, path)
      await syncDirectory(directory)
      const { manifest } = written
      await database.transaction(async (tx) => {
        await tx.query(
          `UPDATE backup_run SET state = 'done', backup_id = ?, row_count = ?, octets = ?, log_size = ?, finished_at = ?, version = version + 1
            WHERE id = ?`,
          ...[manifest.id, written.rows, written.octets, manifest.logSize, world.clock.now(), id],
        )
        const facts = { rows: written.rows, octets: written.octets, logSize: manifest.logSize, recipients: recipients.length }
        await audit.record(tx, { actor, act: 'backup.create', object: `backup:${manifest.id}`, outcome: 'done', facts })
      })
    } catch (error) {
      await part.close().catch(() => {})
      await rm(`${path}.part`, { force: true })
      throw error
    }
  }

  async function run(...[id, file, actor, given, renew]: Parameters<typeof make>): Promise<void> {
    try {
      await make(id, file, actor, given, renew)
    } catch (error) {
      await failed(id, actor, error)
    }
  }

  async function failed(id: string, actor: string, thrown: unknown): Promise<void> {
    const error = asTrustError(thrown)
    report.error('a backup failed', { backup: id, error })
    await database.transaction((tx) =>
      tx.query(
        "UPDATE backup_run SET state = 'failed', reason = ?, finished_at = ?, version = version + 1 WHERE id = ?",
        ...[error.reason, world.clock.now(), id],
      ),
    )
    await audit.refuse({ actor, act: 'backup.create', object: `backup:${id}`, reason: error.reason, facts: { code: error.code } })
  }

  /** One backup at a time, of all processes. */
  async function takeTurn(holder: string): Promise<Lease> {
    if (isRunning) throw new TrustError('conflict', 'backupRunning')
    isRunning = true
    try {
      const lease = await acquireLease(database, world, { name: LEASE, holder, seconds: LEASE_SECONDS, alone })
      if (lease === undefined) throw new TrustError('conflict', 'backupRunning')
      return lease
    } catch (error) {
      isRunning = false
      throw error
    }
  }

  const seen = (id: string, rows: number, octets: number): Promise<unknown> =>
    database.transaction((tx) =>
      tx.query(
        'UPDATE backup_run SET row_count = ?, octets = ?, seen_at = ? WHERE id = ?',
        ...[rows, octets, world.clock.now(), id],
      ),
    )

  return {
    find,

    async start(actor) {
      const given = await contents()
      if (given.recipients.length === 0) throw new TrustError('unavailable', 'backupRecipients')
      const id = uuidv7(world)
      const lease = await takeTurn(id)
      const now = world.clock.now()
      const file = fileName(now, id)
      const renew = async (): Promise<void> => void (await renewLease(database, world, lease, LEASE_SECONDS))
      const end = async (): Promise<void> => {
        isRunning = false
        await releaseLease(database, lease)
      }
      try {
        await mkdir(directory, { recursive: true, mode: 0o700 })
        await removeParts(directory)
        await database.transaction((tx) =>
          tx.query(
            `INSERT INTO backup_run (id, organization_id, version, state, actor, file, row_count, octets, started_at, seen_at)
              VALUES (?, ?, 1, 'running', ?, ?, 0, 0, ?, ?)`,
            ...[id, organizationId, actor, file, now, now],
          ),
        )
      } catch (error) {
        await end()
        throw error
      }
      running = run(id, file, actor, given, renew)
        .catch((error: unknown) =>
          report.error('the record of a backup was not written', { backup: id, error: asTrustError(error) }),
        )
        .then(end, end)
      return find(id)
    },

    async list() {
      const rows = await database.query(
        'SELECT * FROM backup_run WHERE organization_id = ? ORDER BY id DESC LIMIT ?',
        ...[organizationId, LISTED_MAX],
      )
      const now = world.clock.now()
      return rows.map((row) => runOf(row, now))
    },

    async part(id, number) {
      const { state, file } = await find(id)
      if (state !== 'done') throw new TrustError('conflict', 'backupNotDone')
      const path = join(directory, file)
      const handle = await open(path, 'r').catch((cause: unknown) => {
        throw new TrustError('notFound', 'backupElsewhere', { facts: { file }, cause })
      })
      try {
        const { size } = await stat(path)
        const octets = new Uint8Array(Math.max(0, Math.min(PART_OCTETS, size - number * PART_OCTETS)))
        if (octets.length === 0) throw new TrustError('notFound', 'backupUnknown')
        await handle.read(octets, 0, octets.length, number * PART_OCTETS)
        return { octets, last: number * PART_OCTETS + octets.length >= size }
      } finally {
        await handle.close()
      }
    },

    async rehearsed(backupId, actor) {
      const id = await database.transaction(async (tx) => {
        const [row] = await tx.query<{ id: string }>(
          `UPDATE backup_run SET rehearsed_at = ?, version = version + 1
            WHERE organization_id = ? AND backup_id = ? AND state = 'done' RETURNING id`,
          ...[world.clock.now(), organizationId, backupId],
        )
        if (row === undefined) throw new TrustError('notFound', 'backupUnknown')
        await audit.record(tx, { actor, act: 'backup.rehearse', object: `backup:${backupId}`, outcome: 'done' })
        return row.id
      })
      return find(id)
    },

    settle: () => running,
  }
}

/** When the newest was made and the newest was tried out, for health and doctor. @returns undefined for what never was */
export async function newestBackup(
  database: Queries,
  organizationId: string,
): Promise<{ readonly madeAt: number | undefined; readonly rehearsedAt: number | undefined }> {
  const [row] = await database.query<{ made: number | null; rehearsed: number | null }>(
    "SELECT max(finished_at) AS made, max(rehearsed_at) AS rehearsed FROM backup_run WHERE organization_id = ? AND state = 'done'",
    organizationId,
  )
  return { madeAt: row?.made ?? undefined, rehearsedAt: row?.rehearsed ?? undefined }
}

function runOf(row: Row, now: number): BackupRun {
  const stored = row['state'] as 'running' | 'done' | 'failed'
  const silent = now - (row['seen_at'] as number) > LEASE_SECONDS * 1000
  return {
    id: row['id'] as string,
    state: stored === 'running' && silent ? 'interrupted' : stored,
    file: row['file'] as string,
    backupId: (row['backup_id'] as string | null) ?? undefined,
    rows: row['row_count'] as number,
    octets: row['octets'] as number,
    logSize: (row['log_size'] as number | null) ?? undefined,
    reason: (row['reason'] as string | null) ?? undefined,
    startedAt: row['started_at'] as number,
    finishedAt: (row['finished_at'] as number | null) ?? undefined,
    rehearsedAt: (row['rehearsed_at'] as number | null) ?? undefined,
  }
}

/** Sorted by time; the end of the id keeps two of one second apart. */
const fileName = (now: number, id: string): string =>
  `sealworks-${new Date(now).toISOString().slice(0, 19).replace(/[-:]/g, '')}Z-${id.slice(-8)}.backup`

/** What processes that died left: who has the lease is the only one that writes. */
async function removeParts(directory: string): Promise<void> {
  const parts = (await readdir(directory)).filter((name) => name.startsWith('sealworks-') && name.endsWith('.backup.part'))
  for (const name of parts) await rm(join(directory, name), { force: true })
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}
