/**
 * Puts entries in order and signs how far the log has come. One process at a time does this, by lease; should two
 * ever meet, the row of the log lets only one of them through.
 *
 * Entries get their index by the order of their ids among those committed; one that commits later, with a lower id,
 * simply comes later.
 *
 * @module
 */
import { uuidv7, type World } from '#base/world.ts'
import { TrustError } from '#base/errors.ts'
import type { Database, Transaction } from '#store/database.ts'
import { findLog, type AuditLog } from './log.ts'
import { decodePeaks, encodePeaks, grow, rootOf, type Tree } from './merkle.ts'
import { signCheckpoint } from './note.ts'

export interface SequencerOptions {
  readonly database: Database
  readonly world: World
  readonly log: AuditLog
  /** Throws inside the transaction when the lease that allows this process to write has gone to another. */
  readonly fence: (tx: Transaction) => Promise<void>
}

export interface Sequencer {
  /**
   * Orders all entries that wait, then signs a checkpoint if the log has grown since the last.
   *
   * @throws TrustError `unavailable` when another has taken over, or key store or database cannot be reached
   */
  runOnce(): Promise<SequencerRun>
}

export interface SequencerRun {
  /** Entries that got their index in this run. */
  readonly sequenced: number
  /** Length of the log. */
  readonly size: number
}

/** Bounds one transaction: about 10 ms of SQLite's only writer. */
const BATCH_ENTRIES_MAX = 1000
/** Bounds one run, so that a checkpoint comes even while entries arrive as fast as they are placed. */
const BATCHES_MAX = 20

export function auditSequencer({ database, world, log, fence }: SequencerOptions): Sequencer {
  const { organizationId, origin, signer } = log

  const anyWaiting = async (): Promise<boolean> => {
    const sql = 'SELECT id FROM audit_entry WHERE organization_id = ? AND log_index IS NULL LIMIT 1'
    return (await database.query(sql, organizationId)).length > 0
  }

  const takeBatch = (): Promise<number> =>
    database.transaction(async (tx) => {
      await fence(tx)
      // first the log's row: on PostgreSQL a second sequencer waits here and then sees what the first one did
      const [head] = await tx.query<{ size: number; peaks: Uint8Array }>(
        'UPDATE audit_log SET version = version + 1 WHERE organization_id = ? RETURNING size, peaks',
        organizationId,
      )
      const tree = head && decodePeaks(head.size, head.peaks)
      if (tree === undefined) throw new TrustError('unavailable', 'auditLogDamaged')
      const taken = await tx.query<{ log_index: number; leaf_hash: Uint8Array }>(
        `UPDATE audit_entry SET log_index = ? + place.rank
          FROM (SELECT id, row_number() OVER (ORDER BY id) - 1 AS rank FROM
            (SELECT id FROM audit_entry WHERE organization_id = ? AND log_index IS NULL ORDER BY id LIMIT ?) AS waiting) AS place
          WHERE audit_entry.id = place.id AND audit_entry.log_index IS NULL
          RETURNING log_index, leaf_hash`,
        ...[tree.size, organizationId, BATCH_ENTRIES_MAX],
      )
      const ordered = taken.toSorted((a, b) => a.log_index - b.log_index)
      if (ordered.some(({ log_index }, n) => log_index !== tree.size + n)) throw new TrustError('unavailable', 'auditLogDamaged')
      const leaves = ordered.map(({ leaf_hash }) => leaf_hash)
      await keepTree(tx, organizationId, grow(tree, leaves))
      return ordered.length
    })

  const signHead = async (): Promise<number> => {
    const head = await findLog(database, organizationId)
    const tree = head && decodePeaks(head.size, head.peaks)
    if (tree === undefined) throw new TrustError('unavailable', 'auditLogDamaged')
    const { size } = tree
    const signed = 'SELECT id FROM audit_checkpoint WHERE organization_id = ? AND size = ?'
    if (size === 0 || (await database.query(signed, organizationId, size)).length > 0) return size
    const rootHash = rootOf(tree)
    // signed after the commit: a log never signs what it might not keep (tlog-checkpoint)
    const note = await signCheckpoint({ origin, size, rootHash }, signer)
    await database.transaction(async (tx) => {
      await fence(tx)
      await tx.query(
        `INSERT INTO audit_checkpoint (id, organization_id, version, size, root_hash, note, created_at)
          VALUES (?, ?, 1, ?, ?, ?, ?) ON CONFLICT (organization_id, size) DO NOTHING`,
        ...[uuidv7(world), organizationId, size, rootHash, note, world.clock.now()],
      )
    })
    return size
  }

  return {
    async runOnce() {
      let sequenced = 0
      if (await anyWaiting()) {
        for (let batch = 0; batch < BATCHES_MAX; batch++) {
          const taken = await takeBatch()
          sequenced += taken
          if (taken < BATCH_ENTRIES_MAX) break
        }
      }
      world.faults.reach('audit.sequenced')
      return { sequenced, size: await signHead() }
    },
  }
}

async function keepTree(tx: Transaction, organizationId: string, tree: Tree): Promise<void> {
  await tx.query(
    'UPDATE audit_log SET size = ?, peaks = ? WHERE organization_id = ?',
    tree.size,
    encodePeaks(tree),
    organizationId,
  )
}

export interface SequencerLoopOptions {
  readonly sequencer: Sequencer
  /** Waits; resolves early when `signal` is aborted. */
  readonly pause: (milliseconds: number, signal: AbortSignal) => Promise<void>
  readonly signal: AbortSignal
  /** What a run threw. The next run tries again. */
  readonly onError: (error: unknown) => void
}

/** An entry is in order and signed within about this time (decision 20). */
const PAUSE_MILLISECONDS = 1000

/** Runs the sequencer until `signal` is aborted, and once more then, so that a stopped server leaves no entry waiting. */
export async function runSequencer({ sequencer, pause, signal, onError }: SequencerLoopOptions): Promise<void> {
  for (let last = false; !last;) {
    last = signal.aborted
    try {
      await sequencer.runOnce()
    } catch (error) {
      onError(error)
    }
    if (!last) await pause(PAUSE_MILLISECONDS, signal)
  }
}
