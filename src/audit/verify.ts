/**
 * Reads the whole log again and says exactly what is wrong with it.
 *
 * What it can prove rests on the public key and, for the end of the log, on checkpoints kept elsewhere: who can write
 * the database and cuts off the newest entries together with their checkpoints leaves a shorter log that is whole.
 *
 * @module
 */
import { equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import type { Clock } from '#base/world.ts'
import type { Database } from '#store/database.ts'
import { ENTRY_COLUMNS, type EntryRow, leafHashOf } from './entry.ts'
import { findLog } from './log.ts'
import { decodePeaks, emptyTree, grow, rootOf, type Subtree, type Tree } from './merkle.ts'
import { openCheckpoint } from './note.ts'
import { isKept, levelOf } from './tiles.ts'

export interface VerifyAuditOptions {
  readonly organizationId: string
  readonly clock: Clock
  /** The log's key from outside the database, DER SubjectPublicKeyInfo. Without it, the one that the database names is believed. */
  readonly publicKey?: Uint8Array | undefined
  /** Signed checkpoints of this log that were kept elsewhere. */
  readonly witnessed?: readonly string[]
  /** Called now and then with the number of entries read. */
  readonly progress?: (entries: number) => void
}

export type AuditProblemKind =
  | 'altered' // an entry's content is not what its leaf hash was made of
  | 'missing' // an index between two that exist
  | 'cut' // entries at the end that a checkpoint covers are gone
  | 'diverged' // the entries up to a checkpoint are not those that were signed
  | 'checkpoint' // a checkpoint is damaged, or not signed by the log's key
  | 'tile' // a hash kept for tiles and proofs is not that of the entries below it
  | 'head' // the log's own count and hashes do not fit its entries
  | 'waiting' // an entry that the sequencer should long have placed

export interface AuditProblem {
  readonly kind: AuditProblemKind
  /** What is wrong, in a sentence. */
  readonly sentence: string
  /** The first entry concerned. */
  readonly logIndex?: number
}

export interface AuditVerification {
  readonly origin: string
  /** Entries in the log. */
  readonly size: number
  readonly rootHash: Uint8Array
  readonly checkpoints: number
  /** Entries up to here are covered by a checkpoint that verified. */
  readonly signedSize: number
  /** Recorded and not yet in the log. */
  readonly waiting: number
  /** Empty when all is well; no more than {@link PROBLEMS_MAX}. */
  readonly problems: readonly AuditProblem[]
}

/** A log that was torn apart is described well enough by this many. */
export const PROBLEMS_MAX = 100
/** The sequencer comes by every second; a minute allows for a change of the leading node. */
const WAITING_MAX_MILLISECONDS = 60_000
const CHECKPOINTS_PER_PAGE = 1000
const ENTRIES_PER_TURN = 1024

interface Milestone {
  readonly size: number
  readonly rootHash: Uint8Array
}

/** @throws TrustError `unavailable` when there is no log */
export async function verifyAuditLog(database: Database, options: VerifyAuditOptions): Promise<AuditVerification> {
  const { organizationId, clock, witnessed = [], progress } = options
  const log = await findLog(database, organizationId)
  if (log === undefined) throw new TrustError('unavailable', 'auditLogMissing')
  const publicKey = options.publicKey ?? log.public_key

  const problems: AuditProblem[] = []
  const report = (kind: AuditProblemKind, sentence: string, logIndex?: number): void => {
    if (problems.length < PROBLEMS_MAX) problems.push({ kind, sentence, ...(logIndex === undefined ? {} : { logIndex }) })
  }
  if (!equal(publicKey, log.public_key)) report('checkpoint', 'The database names another key for this log than the one given.')

  // Read before the entries: a sequencer at work meanwhile only adds to them.
  const milestones = new Map<number, Milestone[]>()
  let checkpoints = 0
  let furthest = 0
  const addMilestone = async (note: string, where: string, expected?: Milestone): Promise<void> => {
    try {
      const { origin, size, rootHash } = await openCheckpoint(note, publicKey)
      if (origin !== log.origin) return report('checkpoint', `${where} is of another log, ${origin}.`)
      if (expected !== undefined && (expected.size !== size || !equal(expected.rootHash, rootHash))) {
        report('checkpoint', `${where} says something else than its row.`)
      }
      milestones.set(size, [...(milestones.get(size) ?? []), { size, rootHash }])
      furthest = Math.max(furthest, size)
    } catch (error) {
      if (!(error instanceof TrustError)) throw error
      report('checkpoint', `${where} cannot be relied on: ${error.message}`)
    }
  }
  for (const note of witnessed) await addMilestone(note, 'A checkpoint kept elsewhere')
  for await (const { size, root_hash: rootHash, note } of checkpointsOf(database, organizationId)) {
    checkpoints++
    await addMilestone(note, `The checkpoint at ${size} entries`, { size, rootHash })
  }

  let tree = emptyTree
  let headRoot: Uint8Array | undefined // of our own tree, when it was as long as the head said before we began
  let sound = true // false once the tree cannot be compared any more
  let signedSize = 0
  const compare = (): void => {
    if (tree.size === log.size) headRoot = rootOf(tree)
    const here = milestones.get(tree.size)
    if (here === undefined || !sound) return
    const root = rootOf(tree)
    if (here.every(({ rootHash }) => equal(rootHash, root))) {
      signedSize = tree.size
      return
    }
    sound = false
    const first = signedSize
    report(
      'diverged',
      `Entries ${first} to ${tree.size - 1} are not those signed at ${tree.size} entries: one was altered, swapped or replaced.`,
      first,
    )
  }

  const nodes = new Map<string, Uint8Array>()
  const addNode = (subtree: Subtree): void => {
    if (isKept(subtree)) nodes.set(`${levelOf(subtree)}/${subtree.index}`, subtree.hash)
  }

  let next = 0
  let read = 0
  for await (const row of entriesOf(database, organizationId)) {
    const index = row.log_index as number
    if (index < next) {
      report('altered', `The index ${index} is used twice, by ${row.id} too.`, index)
      sound = false
      continue
    }
    if (index > next) {
      const gap = index - next === 1 ? `Entry ${next} is missing.` : `Entries ${next} to ${index - 1} are missing.`
      report('missing', gap, next)
      sound = false
    }
    if (!equal(leafHashOf(row), row.leaf_hash)) {
      report('altered', `Entry ${index} (${row.id}) was altered: its content does not give its leaf hash.`, index)
    }
    next = index + 1
    // an altered entry's kept hash still lets what follows be compared
    tree = grow(tree, [row.leaf_hash], addNode)
    if (sound) compare()
    if (++read % ENTRIES_PER_TURN === 0) progress?.(read)
  }
  progress?.(read)

  for await (const { level, node_index: index, hash } of nodesOf(database, organizationId)) {
    const ours = nodes.get(`${level}/${index}`)
    // without ours its entries are gone, or came after we had read, or are reported already
    if (sound && ours !== undefined && !equal(ours, hash)) {
      report('tile', `The hash kept for tile ${level}/${index} is not that of its entries: proofs made from it would not hold.`)
    }
  }

  const covered = Math.max(furthest, log.size)
  if (next < covered) {
    report('cut', `The log ends at ${next} entries, but there were ${covered}: entries ${next} to ${covered - 1} are gone.`, next)
  } else if (((await findLog(database, organizationId))?.size ?? 0) < next) {
    report('head', `The log holds ${next} entries and counts fewer. New entries cannot be placed.`)
  } else if (sound && !headFits(decodePeaks(log.size, log.peaks), headRoot)) {
    report('head', `The log's own count of ${log.size} entries and its hashes do not fit its entries.`)
  }

  const { waiting, oldest } = await waitingEntries(database, organizationId)
  if (oldest !== undefined && clock.now() - oldest > WAITING_MAX_MILLISECONDS) {
    report(
      'waiting',
      `${waiting} entries wait for their place, the oldest since ${new Date(oldest).toISOString()}. See that a server runs.`,
    )
  }
  return { origin: log.origin, size: next, rootHash: rootOf(tree), checkpoints, signedSize, waiting, problems }
}

function headFits(head: Tree | undefined, root: Uint8Array | undefined): boolean {
  if (head === undefined) return false
  return equal(rootOf(head), root ?? rootOf(emptyTree))
}

async function* checkpointsOf(database: Database, organizationId: string) {
  type Row = { readonly id: string; readonly size: number; readonly root_hash: Uint8Array; readonly note: string }
  for (let after = -1; ;) {
    const page: readonly Row[] = await database.query<Row>(
      'SELECT id, size, root_hash, note FROM audit_checkpoint WHERE organization_id = ? AND size > ? ORDER BY size LIMIT ?',
      organizationId,
      after,
      CHECKPOINTS_PER_PAGE,
    )
    yield* page
    const last = page.at(-1)
    if (last === undefined) return
    after = last.size
  }
}

const entriesOf = (database: Database, organizationId: string) =>
  database.iterate<EntryRow>(
    `SELECT ${ENTRY_COLUMNS} FROM audit_entry WHERE organization_id = ? AND log_index IS NOT NULL ORDER BY log_index`,
    organizationId,
  )

const nodesOf = (database: Database, organizationId: string) =>
  database.iterate<{ readonly level: number; readonly node_index: number; readonly hash: Uint8Array }>(
    'SELECT level, node_index, hash FROM audit_node WHERE organization_id = ? ORDER BY level, node_index',
    organizationId,
  )

async function waitingEntries(database: Database, organizationId: string) {
  const [row] = await database.query<{ waiting: number; oldest: number | null }>(
    'SELECT count(*) AS waiting, min(at) AS oldest FROM audit_entry WHERE organization_id = ? AND log_index IS NULL',
    organizationId,
  )
  return { waiting: row?.waiting ?? 0, oldest: row?.oldest ?? undefined }
}
