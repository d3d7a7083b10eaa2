/**
 * `Idempotency-Key`: a request repeated because its answer was lost is not done twice.
 *
 * An answer that carries a key or a credential is never kept: repeating such a request gets `conflict`, and the caller
 * makes a new one (decision 17). A request whose outcome is unknown, because the server stopped in between, also gets
 * `conflict`: only a person can tell whether it was done.
 *
 * @module
 */
import { hash } from 'node:crypto'
import { TrustError } from '#base/errors.ts'
import { uuidv7, type World } from '#base/world.ts'
import type { Database, Migration } from '#store/database.ts'

export const idempotencyMigration: Migration = {
  id: '0800-rest-idempotency',
  statements: [
    `CREATE TABLE idempotency_key (
      id TEXT PRIMARY KEY,
      organization_id TEXT NOT NULL,
      version INTEGER NOT NULL,
      actor TEXT NOT NULL,
      idempotency_key TEXT NOT NULL,
      request_hash BLOB NOT NULL,
      state TEXT NOT NULL,
      status INTEGER,
      answer TEXT,
      expires_at INTEGER NOT NULL,
      UNIQUE (organization_id, actor, idempotency_key)
    )`,
    'CREATE INDEX idempotency_key_expires ON idempotency_key (expires_at)',
  ],
}

/** Longer than any client goes on repeating, and short enough that the table stays small. */
const KEPT_MILLISECONDS = 24 * 3_600_000

const KEY_MAX_LENGTH = 255

export interface Answer {
  readonly status: number
  /** JSON, or empty for none. */
  readonly body: string
}

export interface IdempotencyOptions {
  readonly db: Database
  readonly world: World
  readonly organizationId: string
}

export interface IdempotentRequest {
  /** The header's value; undefined runs the work without more. */
  readonly key: string | undefined
  readonly actor: string
  readonly method: string
  readonly path: string
  readonly query: string
  readonly body: Uint8Array
  readonly answersSecret: boolean
}

type KeyRow = {
  readonly request_hash: Uint8Array
  readonly state: string
  readonly status: number | null
  readonly answer: string | null
}

/**
 * Runs `work` once per key and actor; a repeat within a day gets the first answer. A refusal is not kept: what was
 * refused was not done, and may be asked again.
 *
 * @throws TrustError `conflict` for a repeat that cannot be answered, `malformed` for a key of the wrong form; whatever `work` throws
 */
export async function once(
  { db, world, organizationId }: IdempotencyOptions,
  request: IdempotentRequest,
  work: () => Promise<Answer>,
): Promise<Answer & { readonly replayed: boolean }> {
  const { key, actor } = request
  if (key === undefined) return { ...(await work()), replayed: false }
  if (!/^[\x21-\x7e]+$/.test(key) || key.length > KEY_MAX_LENGTH) {
    throw new TrustError('malformed', 'idempotencyKeyForm', { facts: { limit: KEY_MAX_LENGTH } })
  }
  const requestHash = hashOf(request)
  const now = world.clock.now()
  const id = uuidv7(world)
  const earlier = await db.transaction(async (tx) => {
    const where = 'organization_id = ? AND actor = ? AND idempotency_key = ?'
    await tx.query(`DELETE FROM idempotency_key WHERE ${where} AND expires_at <= ?`, organizationId, actor, key, now)
    const claimed = await tx.query(
      `INSERT INTO idempotency_key (id, organization_id, version, actor, idempotency_key, request_hash, state, expires_at)
        VALUES (?, ?, 1, ?, ?, ?, 'running', ?) ON CONFLICT (organization_id, actor, idempotency_key) DO NOTHING RETURNING id`,
      id,
      organizationId,
      actor,
      key,
      requestHash,
      now + KEPT_MILLISECONDS,
    )
    if (claimed.length > 0) return undefined
    const sql = `SELECT request_hash, state, status, answer FROM idempotency_key WHERE ${where}`
    return (await tx.query<KeyRow>(sql, organizationId, actor, key))[0]
  })
  if (earlier !== undefined) return repeat(earlier, requestHash)

  let answer: Answer
  try {
    answer = await work()
  } catch (error) {
    await db.transaction((tx) => tx.query('DELETE FROM idempotency_key WHERE id = ?', id))
    throw error
  }
  await db.transaction((tx) =>
    tx.query(
      `UPDATE idempotency_key SET state = 'done', status = ?, answer = ?, version = 2 WHERE id = ?`,
      answer.status,
      request.answersSecret ? null : answer.body,
      id,
    ),
  )
  return { ...answer, replayed: false }
}

function repeat({ request_hash, state, status, answer }: KeyRow, requestHash: Uint8Array): Answer & { readonly replayed: true } {
  if (!Buffer.from(request_hash).equals(requestHash)) throw new TrustError('conflict', 'idempotencyKeyReused')
  if (state === 'running' || status === null) throw new TrustError('conflict', 'idempotencyRunning')
  if (answer === null) throw new TrustError('conflict', 'idempotencySecret')
  return { status, body: answer, replayed: true }
}

/** Lengths stand before the parts, so that no two requests have one hash. The body may hold a secret: only its hash is kept. */
/** Who asks for a secret may send a password with it, which a plain hash would let one guess; its repeat is refused anyway. */
function hashOf({ method, path, query, body, answersSecret }: IdempotentRequest): Uint8Array {
  const bodyHash = answersSecret ? '' : hash('sha256', body, 'hex')
  return new Uint8Array(hash('sha256', JSON.stringify([method, path, query, bodyHash]), 'buffer'))
}

/** For the background: rows that answer no repeat any more. @returns how many went */
export async function forgetIdempotencyKeys({ db, world }: IdempotencyOptions): Promise<number> {
  const gone = await db.transaction((tx) =>
    tx.query('DELETE FROM idempotency_key WHERE expires_at <= ? RETURNING id', world.clock.now()),
  )
  return gone.length
}
