/**
 * A job: one artifact that is signed here, as its row keeps it.
 *
 * @module
 */
import { type Facts, TrustError, type TrustErrorCode } from '#base/errors.ts'
import type { Reason } from '#base/sentences.ts'
import { keep } from '#store/batch.ts'
import type { Database, Row, SqlValue } from '#store/database.ts'
import type { Written } from './messages.ts'

/**
 *     queued ──▶ done · failed · canceled
 *       ▲
 *       ▼
 *     waiting (for people to agree)
 */
export const jobStates = ['queued', 'waiting', 'done', 'failed', 'canceled'] as const
export type JobState = (typeof jobStates)[number]

export interface Job {
  readonly id: string
  readonly state: JobState
  readonly signer: string
  /** As the audit log names who asked. */
  readonly actor: string
  readonly principalId: string
  /** Whose disk has the files. */
  readonly node: string
  /** Undefined until it is known, where the artifact has to show it. */
  readonly format?: string
  readonly options: Readonly<Record<string, string>>
  readonly octets: number
  /** SHA-256 of the artifact, hexadecimal. */
  readonly digest: string
  /** Who asked does not wait for it, so that what may pass is tried again for a while. */
  readonly isPatient: boolean
  /** Times that it was begun: an artifact that ends the program does not do so for ever. */
  readonly begun: number
  readonly approval?: string
  /** What the key answered: from then on it is signed, whatever happens to this process. */
  readonly made?: JobMade
  readonly result?: Written
  readonly problem?: {
    readonly code: TrustErrorCode
    readonly reason: Reason
    readonly facts: Facts
    readonly retryAfterSeconds?: number
  }
  readonly createdAt: number
  readonly endedAt?: number
}

export interface JobMade {
  /** Base64. */
  readonly answers: readonly string[]
  readonly entry: string
  readonly signerVersion: number
  readonly signatureAlgorithm: string
  /** What the format was told, so that it puts the answers where they belong also when the signer has moved on. */
  readonly certificates: readonly string[]
  readonly others: readonly { readonly signatureAlgorithm: string; readonly certificates: readonly string[] }[]
}

export const isOpen = ({ state }: Pick<Job, 'state'>): boolean => state === 'queued' || state === 'waiting'

export interface JobStore {
  /** @returns the job that the same person sent under the same key before, or else this one, which is kept now */
  insert(job: Job, idempotencyKey: string | undefined): Promise<Job>
  /** Where it still is open. @returns whether it was */
  update(job: Job): Promise<boolean>
  find(id: string): Promise<Job | undefined>
  /** Newest first. @param actor all when undefined */
  list(page: {
    readonly actor: string | undefined
    readonly cursor: string | undefined
    readonly limit: number
  }): Promise<{ readonly jobs: readonly Job[]; readonly next: string | undefined }>
  /** Those that are not over, oldest first. */
  open(node: string): Promise<readonly Job[]>
  /** @returns those that ended before */
  ended(node: string, before: number): Promise<readonly Job[]>
  remove(id: string): Promise<void>
  findByKey(actor: string, idempotencyKey: string): Promise<Job | undefined>
}

interface JobRow extends Row {
  readonly id: string
  readonly state: JobState
  readonly actor: string
  readonly node: string
  readonly record: string
  readonly created_at: number
  readonly ended_at: number | null
}

const COLUMNS = 'id, state, actor, node, record, created_at, ended_at'

export function jobStore(db: Database, organizationId: string): JobStore {
  const select = async (condition: string, ...parameters: SqlValue[]): Promise<readonly Job[]> =>
    (
      await db.query<JobRow>(
        `SELECT ${COLUMNS} FROM signing_job WHERE organization_id = ? AND ${condition}`,
        organizationId,
        ...parameters,
      )
    ).map(toJob)
  const findByKey = async (actor: string, idempotencyKey: string): Promise<Job | undefined> =>
    (await select('actor = ? AND idempotency_key = ?', actor, idempotencyKey))[0]

  return {
    findByKey,
    async insert(job, idempotencyKey) {
      const kept = await db.transaction((tx) =>
        tx.query(
          `INSERT INTO signing_job (id, organization_id, version, actor, idempotency_key, node, state, record, created_at)
            VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?) ON CONFLICT (organization_id, actor, idempotency_key) DO NOTHING RETURNING id`,
          ...[job.id, organizationId, job.actor, idempotencyKey ?? null, job.node, job.state, recordText(job), job.createdAt],
        ),
      )
      if (kept.length > 0 || idempotencyKey === undefined) return job
      const earlier = await findByKey(job.actor, idempotencyKey)
      if (earlier === undefined) throw new TrustError('conflict', 'idempotencyRunning')
      return earlier
    },
    async update(job) {
      try {
        await keep(db, [
          {
            sql: `UPDATE signing_job SET state = ?, record = ?, ended_at = ?, version = version + 1
              WHERE id = ? AND state IN ('queued', 'waiting') RETURNING id`,
            parameters: [job.state, recordText(job), job.endedAt ?? null, job.id],
            expects: { id: job.id },
            refusal: () => new TrustError('conflict', 'jobOver'),
          },
        ])
        return true
      } catch (error) {
        if (error instanceof TrustError && error.reason === 'jobOver') return false
        throw error
      }
    },
    find: async (id) => (await select('id = ?', id))[0],
    async list({ actor, cursor, limit }) {
      const conditions = [
        ...(actor === undefined ? [] : [{ sql: 'actor = ?', value: actor }]),
        ...(cursor === undefined ? [] : [{ sql: 'id < ?', value: cursor }]),
      ]
      const where = ['1 = 1', ...conditions.map(({ sql }) => sql)].join(' AND ')
      const found = await select(`${where} ORDER BY id DESC LIMIT ?`, ...conditions.map(({ value }) => value), limit + 1)
      const jobs = found.slice(0, limit)
      return { jobs, next: found.length > limit ? jobs.at(-1)?.id : undefined }
    },
    open: (node) => select(`node = ? AND state IN ('queued', 'waiting') ORDER BY id`, node),
    ended: (node, before) => select('node = ? AND ended_at < ? ORDER BY id', node, before),
    async remove(id) {
      await db.transaction((tx) => tx.query('DELETE FROM signing_job WHERE id = ?', id))
    },
  }
}

function recordText({ id: _id, state: _state, actor: _actor, node: _node, createdAt: _at, endedAt: _end, ...kept }: Job): string {
  return JSON.stringify(kept)
}

function toJob({ id, state, actor, node, record, created_at: createdAt, ended_at: endedAt }: JobRow): Job {
  const kept = JSON.parse(record) as Omit<Job, 'id' | 'state' | 'actor' | 'node' | 'createdAt' | 'endedAt'>
  return { ...kept, id, state, actor, node, createdAt, ...(endedAt !== null && { endedAt }) }
}
