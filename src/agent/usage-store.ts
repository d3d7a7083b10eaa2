/**
 * What a device counted, and the records of it that the server does not have yet: on the disk before anybody is told, so that
 * nothing is counted twice or lost wherever power is cut. Programs on the device count while the agent runs.
 *
 * @module
 */
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { TrustError } from '#base/errors.ts'
import type { World } from '#base/world.ts'
import { type Counter, COUNTER_NAME, COUNTERS_MAX, encodeUsage, UNIT, usageDigest, VALUE_MAX } from '#usage/messages.ts'

/** A month of hours without a network; of older ones only the totals are left, in those that follow. */
const UNSENT_MAX = 750
/** A program that counts waits for the agent, and never for the network. */
const BUSY_MILLISECONDS = 5000
const CHAIN_OCTETS = 16

export interface UnsentRecord {
  readonly number: number
  readonly payload: Uint8Array
}

export interface UsageStore extends Disposable {
  /** @returns the new total @throws TrustError `malformed`, `conflict` for another unit, `quotaExceeded` for too many counters */
  count(name: string, amount: number, unit?: string): Counter
  counters(): readonly Counter[]
  /** Puts what was counted since the last record into one, where there is anything, and the last one is so old. */
  close(leastSeconds: number): void
  unsent(): readonly UnsentRecord[]
  sent(number: number): void
  /** After an officer allowed it: another chain, and every counter at nothing. */
  beginAnew(): void
}

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS counter (name TEXT PRIMARY KEY, unit TEXT NOT NULL, value INTEGER NOT NULL) STRICT;
  CREATE TABLE IF NOT EXISTS chain (
    one INTEGER PRIMARY KEY CHECK (one = 1), chain TEXT NOT NULL, number INTEGER NOT NULL, digest TEXT NOT NULL, ended INTEGER NOT NULL,
    is_changed INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE IF NOT EXISTS record (number INTEGER PRIMARY KEY, payload BLOB NOT NULL) STRICT;`

/** @param path the agent's directory @param unsentMax how many records wait for the server at most */
export function openUsageStore(path: string, { clock, random, faults }: World, unsentMax = UNSENT_MAX): UsageStore {
  const db = new DatabaseSync(join(path, 'usage.db'), { timeout: BUSY_MILLISECONDS })
  // EXTRA: the removal of the roll-back journal is on the disk too, which is what commits
  db.exec(`PRAGMA journal_mode = DELETE; PRAGMA synchronous = EXTRA; ${SCHEMA}`)

  function whole<T>(point: string, work: () => T): T {
    db.exec('BEGIN IMMEDIATE')
    let result: T
    try {
      result = work()
      faults.reach(`${point}: before commit`)
      db.exec('COMMIT')
    } catch (error) {
      db.exec('ROLLBACK')
      throw error
    }
    faults.reach(point)
    return result
  }
  const now = (): number => Math.floor(clock.now() / 1000) * 1000
  const begin = (): void => {
    db.prepare('INSERT INTO chain VALUES (1, ?, 0, ?, ?, 0) ON CONFLICT (one) DO NOTHING').run(
      ...[random.octets(CHAIN_OCTETS).toHex(), '', now()],
    )
  }
  whole('agent usage opened', begin)

  const counters = (): readonly Counter[] =>
    db
      .prepare('SELECT name, unit, value FROM counter ORDER BY name')
      .all()
      .map((row) => ({ name: row['name'] as string, unit: row['unit'] as string, value: row['value'] as number }))

  function count(name: string, amount: number, unit?: string): Counter {
    const isUnit = unit === undefined || UNIT.test(unit)
    if (!COUNTER_NAME.test(name) || !isUnit)
      throw new TrustError('malformed', 'notUsage', { facts: { detail: 'the counter has no name or unit' } })
    return whole('agent usage counted', () => {
      const all = counters()
      const known = all.find((one) => one.name === name)
      if (known === undefined && all.length >= COUNTERS_MAX)
        throw new TrustError('quotaExceeded', 'usageCountersMany', { facts: { limit: COUNTERS_MAX } })
      if (known !== undefined && unit !== undefined && unit !== known.unit)
        throw new TrustError('conflict', 'usageCounterUnit', { facts: { counter: name, unit: known.unit, other: unit } })
      const most = VALUE_MAX - (known?.value ?? 0)
      if (!Number.isSafeInteger(amount) || amount < 0 || amount > most)
        throw new TrustError('malformed', 'usageAmount', { facts: { limit: most } })
      const counter: Counter = { name, unit: known?.unit ?? unit ?? '1', value: (known?.value ?? 0) + amount }
      db.prepare('INSERT INTO counter VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value').run(
        ...[counter.name, counter.unit, counter.value],
      )
      db.prepare('UPDATE chain SET is_changed = 1').run()
      return counter
    })
  }

  function close(leastSeconds: number): void {
    whole('agent usage closed', () => {
      const row = db.prepare('SELECT chain, number, digest, ended, is_changed FROM chain').get() as unknown as ChainRow
      const at = Math.max(now(), row.ended) // a clock that was set back makes no period that overlaps
      if (row.is_changed === 0 || (row.number > 0 && at < row.ended + leastSeconds * 1000)) return
      const number = row.number + 1
      const payload = encodeUsage({
        ...{ chain: row.chain, number, previous: row.digest, from: row.ended, to: at, counters: counters() },
      })
      db.prepare('INSERT INTO record VALUES (?, ?)').run(number, payload)
      db.prepare('UPDATE chain SET number = ?, digest = ?, ended = ?, is_changed = 0').run(number, usageDigest(payload), at)
      db.prepare('DELETE FROM record WHERE number <= ?').run(number - unsentMax)
    })
  }

  return {
    count,
    counters,
    close,
    unsent: () =>
      db
        .prepare('SELECT number, payload FROM record ORDER BY number')
        .all()
        .map((row) => ({ number: row['number'] as number, payload: row['payload'] as Uint8Array })),
    sent: (number) => whole('agent usage sent', () => db.prepare('DELETE FROM record WHERE number = ?').run(number)),
    beginAnew: () =>
      whole('agent usage begun anew', () => {
        db.exec('DELETE FROM chain; DELETE FROM counter; DELETE FROM record')
        begin()
      }),
    [Symbol.dispose]: () => db.close(),
  }
}

interface ChainRow {
  readonly chain: string
  readonly number: number
  readonly digest: string
  /** When the last record ended, or the chain began. */
  readonly ended: number
  readonly is_changed: number
}
