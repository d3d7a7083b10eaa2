/**
 * What changed, for those who follow: OCSP caches, live pages, webhooks. Written in the change's own transaction.
 *
 * A follower remembers one number, the last sequence it has read, so numbers must become visible in their order.
 * Numbers taken at insertion do not: of two transactions the one with the higher number may commit first, and a
 * follower that has read it never sees the other. So rows are numbered after their commit, by {@link sequenceOutbox}.
 *
 * @module
 */
import { uuidv7, type World } from '#base/world.ts'
import type { Statement } from './batch.ts'
import type { Database, Queries, Row, Transaction } from './database.ts'

export interface OutboxMessage {
  /** `room.event`, such as `certificate.revoke`. */
  readonly topic: string
  /** The organization's id. */
  readonly organization: string
  /** Kept as JSON. References rather than copies: a follower may read it much later. */
  readonly payload: unknown
}

export interface OutboxRow extends OutboxMessage {
  /** Grows by one from row to row, without a gap. */
  readonly sequence: number
  readonly id: string
  readonly createdAt: number
}

/** Adds a message to what `tx` changes. */
export async function publish(tx: Transaction, world: Pick<World, 'clock' | 'random'>, message: OutboxMessage): Promise<void> {
  const { sql, parameters } = messageStatement(world, message)
  await tx.query(sql, ...parameters)
}

/** Adds a message to what a batch changes. */
export const messageStatement = (
  world: Pick<World, 'clock' | 'random'>,
  { topic, organization, payload }: OutboxMessage,
): Statement => ({
  sql: 'INSERT INTO outbox (id, organization_id, topic, payload, created_at) VALUES (?, ?, ?, ?, ?)',
  parameters: [uuidv7(world), organization, topic, JSON.stringify(payload), world.clock.now()],
})

/**
 * Numbers committed messages that have no sequence yet. Any process may call it, at any time and at once with others:
 * the head row lets one through after the other.
 *
 * @returns how many it numbered; call again while it is `limit`
 */
export async function sequenceOutbox(db: Database, limit = 1000): Promise<number> {
  const [waiting] = await db.query('SELECT id FROM outbox WHERE sequence IS NULL LIMIT 1')
  if (waiting === undefined) return 0
  return db.transaction(async (tx) => {
    const [head] = await tx.query<{ sequence: number }>("SELECT sequence FROM outbox_head WHERE id = 'outbox'")
    const numbered = await tx.query(
      `UPDATE outbox SET sequence = waiting.n + CAST(? AS INTEGER)
        FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM outbox WHERE sequence IS NULL ORDER BY id LIMIT ?) AS waiting
        WHERE outbox.id = waiting.id
        RETURNING outbox.id`,
      ...[head?.sequence ?? 0, limit],
    )
    await tx.query("UPDATE outbox_head SET sequence = sequence + ? WHERE id = 'outbox'", numbered.length)
    return numbered.length
  })
}

/** @returns the messages after `sequence`, in order; a follower passes the last one's sequence next time */
export async function readAfter(db: Queries, sequence: number, limit = 1000): Promise<readonly OutboxRow[]> {
  const rows = await db.query<StoredMessage>(
    `SELECT id, organization_id, sequence, topic, payload, created_at FROM outbox
      WHERE sequence > ? ORDER BY sequence LIMIT ?`,
    ...[sequence, limit],
  )
  return rows.map((row) => ({
    sequence: row.sequence,
    id: row.id,
    topic: row.topic,
    organization: row.organization_id,
    payload: JSON.parse(row.payload) as unknown,
    createdAt: row.created_at,
  }))
}

/** A follower that did not read for so long asks for the state of things instead of for its changes. */
const KEPT_MILLISECONDS = 7 * 86_400_000

/** Drops messages that every follower has had a week to read. Numbers go on where they were. */
export async function pruneOutbox(db: Database, { clock }: Pick<World, 'clock'>): Promise<void> {
  await db.transaction((tx) =>
    tx.query('DELETE FROM outbox WHERE sequence IS NOT NULL AND created_at < ?', clock.now() - KEPT_MILLISECONDS),
  )
}

interface StoredMessage extends Row {
  readonly id: string
  readonly organization_id: string
  readonly sequence: number
  readonly topic: string
  readonly payload: string
  readonly created_at: number
}
