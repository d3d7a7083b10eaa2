/**
 * A process that issues as fast as it can until it is killed. It says which certificates it was told are kept.
 *
 * Arguments: database URL, name, concurrency, `counted` or `free` (whether an order's row counts each certificate).
 *
 * @module
 */
import { writeSync } from 'node:fs'
import { dirname } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { TrustError } from '#base/errors.ts'
import { systemWorld, uuidv7 } from '#base/world.ts'
import type { Database } from '#store/database.ts'
import { lockDirectory } from '#store/directory-lock.ts'
import { acquireLease, checkLease, type Lease, renewLease } from '#store/lease.ts'
import { publish, sequenceOutbox } from '#store/outbox.ts'
import { openDatabase } from '#store/registry.ts'
import { ORDER } from './schema.ts'

const DER_OCTETS = 700
const LEASE_SECONDS = 1
const SEQUENCE_EVERY_MILLISECONDS = 50
const SEQUENCE_BATCH = 1000

const [url = '', name = '', concurrency = '32', counting = 'free'] = process.argv.slice(2)
const world = systemWorld()
// SQLite belongs to one process. That its predecessor was killed this very moment must not keep it out.
if (url.startsWith('sqlite:')) lockDirectory(dirname(url.slice('sqlite:'.length)), name)
const db = openDatabase(url)
const stop = new AbortController()
process.once('SIGTERM', () => stop.abort())

class Refused extends Error {}

async function issue(count: number): Promise<void> {
  const serialNumber = world.random.octets(16).toHex()
  const der = world.random.octets(DER_OCTETS)
  const refused = count % 20 === 0 // after all was written: nothing of it may stay
  try {
    await db.transaction(async (tx) => {
      const id = uuidv7(world)
      if (counting === 'counted') {
        const [order] = await tx.query<{ used: number; allowed: number }>(
          'SELECT used, allowed FROM sim_order WHERE id = ?',
          ORDER,
        )
        if (order === undefined || order.used >= order.allowed) throw new Refused()
        await tx.query('UPDATE sim_order SET used = ? WHERE id = ?', order.used + 1, ORDER)
      }
      await Promise.all([
        tx.query('INSERT INTO sim_certificate (id, serial_number, der) VALUES (?, ?, ?)', id, serialNumber, der),
        tx.query('INSERT INTO sim_audit_entry (id, object) VALUES (?, ?)', uuidv7(world), id),
        publish(tx, world, { topic: 'certificate.issue', organization: 'default', payload: { id } }),
      ])
      if (refused) throw new Refused()
    })
    // At once and without a buffer: what was said before the kill counts.
    writeSync(1, `kept ${serialNumber}\n`)
  } catch (error) {
    if (error instanceof Refused) writeSync(1, `refused ${serialNumber}\n`)
    else if (error instanceof TrustError && error.code === 'unavailable') writeSync(1, `unavailable ${error.reason}\n`)
    else throw error
  }
}

/** Gives each entry its place in the log. @returns how many */
async function sequence(lease: Lease): Promise<number> {
  return db.transaction(async (tx) => {
    await checkLease(tx, lease)
    const [last] = await tx.query<{ next: number }>(
      'SELECT coalesce(max(log_index) + 1, 0) AS next FROM sim_audit_entry WHERE log_index IS NOT NULL',
    )
    const placed = await tx.query(
      `UPDATE sim_audit_entry SET log_index = CAST(? AS INTEGER) + waiting.n - 1
        FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM sim_audit_entry WHERE log_index IS NULL ORDER BY id LIMIT ?) AS waiting
        WHERE sim_audit_entry.id = waiting.id RETURNING sim_audit_entry.id`,
      ...[last?.next ?? 0, SEQUENCE_BATCH],
    )
    return placed.length
  })
}

async function background(database: Database): Promise<void> {
  const request = { name: 'sim-sequencer', holder: `${name}:${process.pid}`, seconds: LEASE_SECONDS }
  let lease: Lease | undefined
  while (!stop.signal.aborted) {
    try {
      if (lease === undefined) lease = await acquireLease(database, world, request)
      else if (lease.expiresAt - world.clock.now() < (LEASE_SECONDS * 1000) / 2) {
        lease = await renewLease(database, world, lease, LEASE_SECONDS)
      }
      if (lease !== undefined) {
        while ((await sequence(lease)) === SEQUENCE_BATCH);
        while ((await sequenceOutbox(database)) === SEQUENCE_BATCH);
      }
    } catch (error) {
      if (!(error instanceof TrustError) || error.code === 'internal') throw error
      if (error.reason === 'leaseLost') writeSync(1, `fenced ${name}\n`)
      lease = undefined
    }
    await delay(SEQUENCE_EVERY_MILLISECONDS)
  }
}

async function load(_: unknown, slot: number): Promise<void> {
  for (let count = slot; !stop.signal.aborted; count++) await issue(count)
}

writeSync(1, 'ready\n')
await Promise.all([background(db), ...Array.from({ length: Number(concurrency) }, load)])
await db.close()
process.exit(0)
