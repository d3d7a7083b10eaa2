/**
 * Leases: of several processes, one does a piece of background work at a time.
 *
 * Time only decides when another may take over. That two never both write rests on the token, which grows with each
 * takeover: {@link checkLease} inside the transaction that writes makes one of them fail, whatever their clocks say.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import type { World } from '#base/world.ts'
import type { Database, Transaction } from './database.ts'

export interface Lease {
  readonly name: string
  /** Grows with each takeover; the holder's proof in {@link checkLease}. */
  readonly token: number
  readonly expiresAt: number
}

export interface LeaseRequest {
  /** Of the work, such as `audit-sequencer`. */
  readonly name: string
  /** One process: a fresh id at each start. */
  readonly holder: string
  readonly seconds: number
  /**
   * Whoever else held it is dead, as a lock that the system frees proves (`lockDirectory`), so that nothing is waited for.
   * Should that be wrong, the token still keeps two from writing.
   */
  readonly alone?: boolean
}

/** @returns the lease if it is free, expired or the holder's own; undefined while another holds it */
export async function acquireLease(
  db: Database,
  { clock }: Pick<World, 'clock'>,
  { name, holder, seconds, alone = false }: LeaseRequest,
): Promise<Lease | undefined> {
  const now = clock.now()
  const expiresAt = now + seconds * 1000
  const [row] = await db.transaction((tx) =>
    tx.query<{ token: number }>(
      `INSERT INTO lease (name, holder, expires_at, token) VALUES (?, ?, ?, 1)
        ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at, token = lease.token + 1
        WHERE lease.expires_at <= ? OR lease.holder = excluded.holder
        RETURNING token`,
      ...[name, holder, expiresAt, alone ? Number.MAX_SAFE_INTEGER : now],
    ),
  )
  return row === undefined ? undefined : { name, token: row.token, expiresAt }
}

/** @returns the lease with its new end, or undefined if another has taken it */
export async function renewLease(
  db: Database,
  { clock }: Pick<World, 'clock'>,
  lease: Lease,
  seconds: number,
): Promise<Lease | undefined> {
  const expiresAt = clock.now() + seconds * 1000
  const renewed = await db.transaction((tx) =>
    tx.query(
      'UPDATE lease SET expires_at = ? WHERE name = ? AND token = ? RETURNING token',
      ...[expiresAt, lease.name, lease.token],
    ),
  )
  return renewed.length === 0 ? undefined : { ...lease, expiresAt }
}

/** Lets the next one in at once. Does nothing if another has taken the lease already. */
export async function releaseLease(db: Database, lease: Lease): Promise<void> {
  await db.transaction((tx) => tx.query('UPDATE lease SET expires_at = 0 WHERE name = ? AND token = ?', lease.name, lease.token))
}

/**
 * Must be called in each transaction whose writes only the holder may make: it is what keeps an earlier holder, paused
 * for longer than its lease, from writing beside its successor.
 *
 * @throws TrustError `conflict` if another has taken the lease
 */
export async function checkLease(tx: Transaction, lease: Lease): Promise<void> {
  const [row] = await tx.query<{ token: number }>('SELECT token FROM lease WHERE name = ?', lease.name)
  if (row?.token !== lease.token) throw new TrustError('conflict', 'leaseLost', { facts: { name: lease.name } })
}
