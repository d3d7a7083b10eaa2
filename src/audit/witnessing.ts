/**
 * Has the log's checkpoints cosigned by witnesses elsewhere, and keeps what they answer.
 *
 * A witness that says it saw more than there is, or something else, is the alarm that all this is for: the sentence
 * stays with the witness until it cosigns again.
 *
 * Source: C2SP tlog-witness (the client's side).
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import type { World } from '#base/world.ts'
import type { Database, Queries, Transaction } from '#store/database.ts'
import { acquireLease } from '#store/lease.ts'
import { keepCosigned, type KeptCheckpoint, newestSigned } from './checkpoints.ts'
import type { AuditLog } from './log.ts'
import { parseSignatureLine, parseSignedCheckpoint, parseSize } from './note.ts'
import { cosignatureSeconds, type NoteKey } from './note-key.ts'
import { consistencyPath } from './proof.ts'
import { subtreeHashes } from './tiles.ts'
import { encodeAddCheckpoint } from './witness.ts'

export interface KnownWitness {
  readonly key: NoteKey
  /** Its submission prefix. */
  readonly url: string
}

export interface WitnessReply {
  readonly status: number
  readonly type: string
  /** At most {@link ANSWER_MAX_OCTETS} of it. */
  readonly body: string
}

/** @throws when the witness cannot be reached */
export type Post = (url: string, body: string) => Promise<WitnessReply>

export interface WitnessingOptions {
  readonly database: Database
  readonly world: World
  readonly log: Pick<AuditLog, 'organizationId'>
  readonly witnesses: readonly KnownWitness[]
  readonly post: Post
  /** This process: a fresh id at each start. */
  readonly holder: string
  /** Whoever else held it is dead: see `LeaseRequest`. */
  readonly alone?: boolean
  /** Whom the operator must hear of. */
  readonly onProblem: (witness: string, error: TrustError) => void
}

export interface Witnessing {
  /** Asks each witness that has not seen the newest checkpoint. @returns how many cosigned */
  runOnce(): Promise<number>
}

const LEASE_SECONDS = 60
const RETRY_FIRST_SECONDS = 15
const RETRY_MAX_SECONDS = 3600
/** Signature lines of a witness with several keys. */
export const ANSWER_MAX_OCTETS = 16_384

export function witnessing(options: WitnessingOptions): Witnessing {
  const { database, world, log, witnesses, holder, alone = false, onProblem } = options
  const { organizationId } = log

  async function ask(witness: KnownWitness, newest: KeptCheckpoint, known: WitnessRow | undefined): Promise<boolean> {
    const { name } = witness.key
    try {
      const line = await cosign(options, witness, newest, known?.size ?? 0)
      await database.transaction(async (tx) => {
        await keepCosigned(tx, world, newest, { witness: name, ...line })
        await keepWitness(tx, organizationId, {
          ...{ witness: name, size: newest.size, seen_at: world.clock.now(), failures: 0, problem: null, retry_at: 0 },
        })
      })
      return true
    } catch (thrown) {
      const error =
        thrown instanceof TrustError
          ? thrown
          : new TrustError('unavailable', 'witnessAnswer', { facts: { witness: name, status: 'nothing' }, cause: thrown })
      const failures = (known?.failures ?? 0) + 1
      const pause = Math.min(RETRY_MAX_SECONDS, RETRY_FIRST_SECONDS * 2 ** Math.min(failures - 1, 20))
      const row = { witness: name, size: known?.size ?? 0, seen_at: known?.seen_at ?? null, failures, problem: error.message }
      await database.transaction((tx) => keepWitness(tx, organizationId, { ...row, retry_at: world.clock.now() + pause * 1000 }))
      onProblem(name, error)
      return false
    }
  }

  return {
    async runOnce() {
      if (witnesses.length === 0) return 0
      const lease = { name: `audit-witnessing:${organizationId}`, holder, seconds: LEASE_SECONDS, alone }
      if ((await acquireLease(database, world, lease)) === undefined) return 0
      const newest = await newestSigned(database, organizationId)
      if (newest === undefined) return 0
      const rows = new Map((await listWitnesses(database, organizationId)).map((row) => [row.witness, row]))
      const due = witnesses.filter(({ key }) => {
        const row = rows.get(key.name)
        return row === undefined || (row.retry_at <= world.clock.now() && (row.size < newest.size || row.failures > 0))
      })
      const answers = await Promise.all(due.map((each) => ask(each, newest, rows.get(each.key.name))))
      return answers.filter(Boolean).length
    },
  }
}

/** @returns the line of the witness, verified @throws TrustError, or what `post` throws */
async function cosign(
  { database, log, post }: WitnessingOptions,
  { key, url }: KnownWitness,
  { size, note }: KeptCheckpoint,
  knownSize: number,
): Promise<{ readonly line: string; readonly seconds: number }> {
  const hashOf = subtreeHashes(database, log.organizationId, size)
  const facts = { witness: key.name, size }
  // what we remember of it may be old, as after a restored backup: it says so once, and is asked again
  for (let old = Math.min(knownSize, size), again = true; ; again = false) {
    const body = encodeAddCheckpoint(old, await consistencyPath(old, size, hashOf), note)
    const reply = await post(`${url}/add-checkpoint`, body)
    if (reply.status === 200) return readCosignature(reply.body, note, key)
    const seen = reply.status === 409 && isSizeType(reply.type) ? parseSize(reply.body.replace(/\n$/, '')) : undefined
    if (seen !== undefined && seen > size) throw new TrustError('conflict', 'witnessAhead', { facts: { ...facts, seen } })
    if (seen !== undefined && again) old = seen
    else if (reply.status === 422 || reply.status === 409) throw new TrustError('conflict', 'witnessFork', { facts })
    else throw new TrustError('unavailable', 'witnessAnswer', { facts: { witness: key.name, status: reply.status } })
  }
}

const isSizeType = (type: string): boolean => type.split(';', 1)[0]?.trim() === 'text/x.tlog.size'

async function readCosignature(body: string, note: string, key: NoteKey) {
  const { text } = parseSignedCheckpoint(note)
  for (const line of body.split('\n')) {
    if (!line.startsWith(`— ${key.name} `)) continue
    const signature = parseSignatureLine(line)
    const seconds = cosignatureSeconds(signature.octets)
    if (seconds !== undefined && (await key.verify(signature, text))) return { line, seconds }
  }
  throw new TrustError('badProof', 'witnessSignature', { facts: { witness: key.name } })
}

export type WitnessRow = {
  readonly witness: string
  /** Entries of the newest checkpoint that it cosigned. */
  readonly size: number
  /** When it last cosigned, milliseconds. */
  readonly seen_at: number | null
  /** In a row. */
  readonly failures: number
  /** What it last said instead of a cosignature, in a sentence. */
  readonly problem: string | null
  readonly retry_at: number
}

export const listWitnesses = (database: Queries, organizationId: string): Promise<readonly WitnessRow[]> =>
  database.query<WitnessRow>(
    'SELECT witness, size, seen_at, failures, problem, retry_at FROM audit_witness WHERE organization_id = ? ORDER BY witness',
    organizationId,
  )

async function keepWitness(tx: Transaction, organizationId: string, row: WitnessRow): Promise<void> {
  await tx.query(
    `INSERT INTO audit_witness (organization_id, witness, size, seen_at, failures, problem, retry_at) VALUES (?, ?, ?, ?, ?, ?, ?)
      ON CONFLICT (organization_id, witness) DO UPDATE SET size = excluded.size, seen_at = excluded.seen_at,
        failures = excluded.failures, problem = excluded.problem, retry_at = excluded.retry_at`,
    ...[organizationId, row.witness, row.size, row.seen_at, row.failures, row.problem, row.retry_at],
  )
}
