/**
 * Puts entries in order and signs how far the log has come. One process at a time does this, by lease.
 *
 * Entries get their index by the order of their ids among those committed; one that commits later, with a lower id,
 * simply comes later.
 *
 * @module
 */
import type { World } from '#base/world.ts'
import { TrustError } from '#base/errors.ts'
import type { Database, Transaction } from '#store/database.ts'
import { acquireLease, checkLease, type Lease, releaseLease, renewLease } from '#store/lease.ts'
import { findLog, type AuditLog } from './log.ts'
import { keepCheckpoint, thinCheckpoints } from './checkpoints.ts'
import { decodePeaks, encodePeaks, grow, rootOf, type Subtree, type Tree } from './merkle.ts'
import { signCheckpoint } from './note.ts'
import { isKept, keepNodes } from './tiles.ts'

export interface SequencerOptions {
  readonly database: Database
  readonly world: World
  readonly log: AuditLog
  /** This process: a fresh id at each start. */
  readonly holder: string
  /** No other process can be at work on this database, so that the lease of one that crashed need not run out. */
  readonly alone?: boolean
}

export interface Sequencer {
  /**
   * Orders all entries that wait, then signs a checkpoint if the log has grown since the last. Does nothing while
   * another process leads.
   *
   * @throws TrustError `conflict` when another has taken over meanwhile, `unavailable` when key store or database are away
   */
  runOnce(): Promise<SequencerRun>
  /** Lets another process lead at once. */
  release(): Promise<void>
}

export interface SequencerRun {
  /** Entries that got their index in this run. */
  readonly sequenced: number
  /** Whether this process holds the lease. */
  readonly leading: boolean
}

/** How long after a crash another process takes over. */
const LEASE_SECONDS = 15
/** The lease is renewed when this little of it is left: ten runs to get through. */
const RENEW_MILLISECONDS = 10_000
/** Bounds one transaction: about 10 ms of SQLite's only writer. */
const BATCH_ENTRIES_MAX = 1000
/** Bounds one run, so that a checkpoint comes even while entries arrive as fast as they are placed. */
const BATCHES_MAX = 20

export function auditSequencer({ database, world, log, holder, alone = false }: SequencerOptions): Sequencer {
  const { organizationId, origin, signer } = log
  let held: Lease | undefined
  let thinned = false

  const lead = async (): Promise<Lease | undefined> => {
    if (held !== undefined && held.expiresAt - world.clock.now() < RENEW_MILLISECONDS) {
      held = await renewLease(database, world, held, LEASE_SECONDS)
    }
    const name = `audit-sequencer:${organizationId}`
    held ??= await acquireLease(database, world, { name, holder, seconds: LEASE_SECONDS, alone })
    if (held !== undefined && !thinned) {
      await thinCheckpoints(database, organizationId)
      thinned = true
    }
    return held
  }

  const anyWaiting = async (): Promise<boolean> => {
    const sql = 'SELECT id FROM audit_entry WHERE organization_id = ? AND log_index IS NULL LIMIT 1'
    return (await database.query(sql, organizationId)).length > 0
  }

  const takeBatch = (lease: Lease): Promise<number> =>
    database.transaction(async (tx) => {
      await checkLease(tx, lease)
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
        tree.size,
        organizationId,
        BATCH_ENTRIES_MAX,
      )
      const ordered = taken.toSorted((a, b) => a.log_index - b.log_index)
      if (ordered.some(({ log_index }, n) => log_index !== tree.size + n)) throw new TrustError('unavailable', 'auditLogDamaged')
      const leaves = ordered.map(({ leaf_hash }) => leaf_hash)
      const nodes: Subtree[] = []
      const grown = grow(tree, leaves, (subtree) => isKept(subtree) && nodes.push(subtree))
      await keepTree(tx, organizationId, grown)
      await keepNodes(tx, organizationId, nodes)
      return ordered.length
    })

  const signHead = async (lease: Lease): Promise<void> => {
    const head = await findLog(database, organizationId)
    const tree = head && decodePeaks(head.size, head.peaks)
    if (tree === undefined) throw new TrustError('unavailable', 'auditLogDamaged')
    const { size } = tree
    const signed = 'SELECT id FROM audit_checkpoint WHERE organization_id = ? AND size = ?'
    if (size === 0 || (await database.query(signed, organizationId, size)).length > 0) return
    const rootHash = rootOf(tree)
    // signed after the commit: a log never signs what it might not keep (tlog-checkpoint)
    const note = await signCheckpoint({ origin, size, rootHash }, signer)
    await database.transaction(async (tx) => {
      await checkLease(tx, lease)
      await keepCheckpoint(tx, world, { organizationId, size, rootHash, note })
    })
  }

  return {
    async runOnce() {
      const lease = await lead()
      if (lease === undefined) return { sequenced: 0, leading: false }
      try {
        let sequenced = 0
        for (let batch = 0; batch < BATCHES_MAX && (await anyWaiting()); batch++) sequenced += await takeBatch(lease)
        world.faults.reach('audit.sequenced')
        await signHead(lease)
        return { sequenced, leading: true }
      } catch (error) {
        if (error instanceof TrustError && error.reason === 'leaseLost') held = undefined
        throw error
      }
    },

    async release() {
      if (held !== undefined) await releaseLease(database, held)
      held = undefined
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

/** Runs the sequencer until `signal` is aborted, and once more then, so that a stopped server leaves no entry waiting. Then lets go. */
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
  await sequencer.release().catch(onError)
}
