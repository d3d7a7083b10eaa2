/**
 * What a device must not forget of its licenses, wherever power is cut: the licenses themselves, the highest sequence of each
 * that was ever here, the newest list of what was taken back, and the latest time that was seen.
 *
 * Each change is one transaction of SQLite that is on the disk before anything is said that rests on it. Programs on the device
 * may ask while the agent runs.
 *
 * @module
 */
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { Faults } from '#base/world.ts'

export interface HeldLicense {
  readonly id: string
  readonly octets: Uint8Array
}

export interface LicenseStore extends Disposable {
  /** Of the last message that was fetched. */
  readonly fetched: number
  readonly lastSeen: number
  /** The highest epoch of ownership that a license named. */
  readonly epoch: number
  readonly count: number
  has(id: string): boolean
  /** The highest that was here of this license, also of one that was dropped; 0 for none. */
  sequenceOf(id: string): number
  licenses(): readonly HeldLicense[]
  /** The newest of this issuer. */
  status(issuer: string): { readonly version: number; readonly octets: Uint8Array } | undefined
  keepLicense(license: HeldLicense & { readonly sequence: number; readonly epoch: number; readonly issuedAt: number }): void
  keepStatus(status: {
    readonly issuer: string
    readonly version: number
    readonly octets: Uint8Array
    readonly issuedAt: number
  }): void
  /** Its sequence stays, so that no older one comes back. */
  drop(id: string): void
  see(time: number): void
  keepFetched(number: number): void
}

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS value (name TEXT PRIMARY KEY, number INTEGER NOT NULL) STRICT;
  CREATE TABLE IF NOT EXISTS license (id TEXT PRIMARY KEY, sequence INTEGER NOT NULL, octets BLOB NOT NULL) STRICT;
  CREATE TABLE IF NOT EXISTS status (issuer TEXT PRIMARY KEY, version INTEGER NOT NULL, octets BLOB NOT NULL) STRICT;`
/** A program that asks waits for the agent, and never for the network. */
const BUSY_MILLISECONDS = 5000

/** @param path the agent's directory */
export function openLicenseStore(path: string, faults: Faults): LicenseStore {
  const db = new DatabaseSync(join(path, 'licenses.db'), { timeout: BUSY_MILLISECONDS })
  // EXTRA: the removal of the roll-back journal is on the disk too, which is what commits
  db.exec(`PRAGMA journal_mode = DELETE; PRAGMA synchronous = EXTRA; ${SCHEMA}`)

  const value = (name: string): number =>
    (db.prepare('SELECT number FROM value WHERE name = ?').get(name)?.['number'] as number | undefined) ?? 0
  const raise = (name: string, number: number): void => {
    db.prepare(
      'INSERT INTO value VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET number = excluded.number WHERE value.number < excluded.number',
    ).run(name, number)
  }
  function whole(point: string, work: () => void): void {
    db.exec('BEGIN IMMEDIATE')
    try {
      work()
      faults.reach(`${point}: before commit`)
      db.exec('COMMIT')
    } catch (error) {
      db.exec('ROLLBACK')
      throw error
    }
    faults.reach(point)
  }

  return {
    get fetched() {
      return value('fetched')
    },
    get lastSeen() {
      return value('last seen')
    },
    get epoch() {
      return value('epoch')
    },
    get count() {
      return db.prepare('SELECT COUNT(*) AS count FROM license WHERE length(octets) > 0').get()?.['count'] as number
    },
    has: (id) => db.prepare('SELECT 1 FROM license WHERE id = ? AND length(octets) > 0').get(id) !== undefined,
    sequenceOf: (id) =>
      (db.prepare('SELECT sequence FROM license WHERE id = ?').get(id)?.['sequence'] as number | undefined) ?? 0,
    licenses: () =>
      db
        .prepare('SELECT id, octets FROM license WHERE length(octets) > 0 ORDER BY id')
        .all()
        .map((row) => ({ id: row['id'] as string, octets: row['octets'] as Uint8Array })),
    status(issuer) {
      const row = db.prepare('SELECT version, octets FROM status WHERE issuer = ?').get(issuer)
      return row && { version: row['version'] as number, octets: row['octets'] as Uint8Array }
    },
    keepLicense: ({ id, octets, sequence, epoch, issuedAt }) =>
      whole('agent license kept', () => {
        db.prepare(
          `INSERT INTO license VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET sequence = excluded.sequence, octets = excluded.octets
            WHERE license.sequence <= excluded.sequence`,
        ).run(id, sequence, octets)
        raise('epoch', epoch)
        raise('last seen', issuedAt)
      }),
    keepStatus: ({ issuer, version, octets, issuedAt }) =>
      whole('agent license status kept', () => {
        db.prepare(
          `INSERT INTO status VALUES (?, ?, ?) ON CONFLICT (issuer) DO UPDATE SET version = excluded.version, octets = excluded.octets
            WHERE status.version < excluded.version`,
        ).run(issuer, version, octets)
        raise('last seen', issuedAt)
      }),
    drop: (id) => whole('agent license dropped', () => void db.prepare("UPDATE license SET octets = x'' WHERE id = ?").run(id)),
    see: (time) => whole('agent license time seen', () => raise('last seen', time)),
    keepFetched: (number) => whole('agent license fetched', () => raise('fetched', number)),
    [Symbol.dispose]: () => db.close(),
  }
}
