/**
 * What a device must not forget of its commands, wherever power is cut: the policy that it goes by, how far each issuer counted,
 * which commands it began, and the receipts that the server does not have yet.
 *
 * Each change is one transaction of SQLite that is on the disk before it is acted on.
 *
 * @module
 */
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { Faults } from '#base/world.ts'

/** Ended commands that are remembered: so that what comes again is told from what is new, and people can look. */
const KEPT = 1000

export interface Counted {
  readonly counter: number
  /** The command with it. */
  readonly last: Uint8Array | undefined
}

export interface BegunCommand {
  readonly id: Uint8Array
  /** SHA-256 of the message. */
  readonly digest: Uint8Array
}

export interface CommandJournal extends Disposable {
  /** Each area has versions of its own, and none comes back when the device does. */
  policy(area: string): { readonly version: number; readonly message: Uint8Array | undefined }
  /** @param issuedAt of it: a time that somebody signed */
  keepPolicy(policy: { readonly area: string; readonly version: number; readonly issuedAt: Date }, message: Uint8Array): void
  /** The latest time that somebody signed. */
  readonly lastSeen: Date
  counted(issuer: string): Counted
  /** Whether this very message was begun, or refused. */
  knows(digest: Uint8Array): boolean
  /** Counted, and begun: from now on it is never begun again. */
  begin(command: BegunCommand & { readonly issuer: string; readonly counter: number; readonly notBefore: Date }): void
  /** Begun, and nobody noted how it ended: power was cut. */
  cutOff(): readonly BegunCommand[]
  readonly nextReceipt: number
  /** How a command ended, or that it was refused. */
  end(command: BegunCommand, receipt: Uint8Array, number: number): void
  /** What the server does not have, oldest first. */
  untold(): readonly { readonly digest: Uint8Array; readonly receipt: Uint8Array }[]
  told(digest: Uint8Array): void
}

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS value (name TEXT PRIMARY KEY, number INTEGER NOT NULL, octets BLOB) STRICT;
  CREATE TABLE IF NOT EXISTS counter (issuer TEXT PRIMARY KEY, counter INTEGER NOT NULL, last BLOB NOT NULL) STRICT;
  CREATE TABLE IF NOT EXISTS command (
    number INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, id BLOB NOT NULL, receipt BLOB, is_told INTEGER NOT NULL
  ) STRICT;`

const policyOf = (area: string): string => `policy of ${area}`

/** @param path the agent's directory, which one process works on at a time */
export function openCommandJournal(path: string, faults: Faults): CommandJournal {
  const db = new DatabaseSync(join(path, 'commands.db'))
  // EXTRA: the removal of the roll-back journal is on the disk too, which is what commits
  db.exec(`PRAGMA journal_mode = DELETE; PRAGMA synchronous = EXTRA; ${SCHEMA}`)

  const value = (name: string): { readonly number: number; readonly octets: Uint8Array | undefined } => {
    const row = db.prepare('SELECT number, octets FROM value WHERE name = ?').get(name)
    return { number: (row?.['number'] as number | undefined) ?? 0, octets: (row?.['octets'] as Uint8Array | null) ?? undefined }
  }
  const keep = (name: string, number: number, octets: Uint8Array | null = null): void => {
    db.prepare(
      'INSERT INTO value VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET number = excluded.number, octets = excluded.octets',
    ).run(name, number, octets)
  }
  const see = (time: Date): void => {
    if (time.getTime() > value('last seen').number) keep('last seen', time.getTime())
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
  const rows = (sql: string): readonly Readonly<Record<string, unknown>>[] => db.prepare(sql).all()

  return {
    policy(area) {
      const { number, octets } = value(policyOf(area))
      return { version: number, message: octets }
    },
    keepPolicy: ({ area, version, issuedAt }, message) =>
      whole('agent command policy kept', () => {
        keep(policyOf(area), version, message)
        see(issuedAt)
      }),
    get lastSeen() {
      return new Date(value('last seen').number)
    },
    counted(issuer) {
      const row = db.prepare('SELECT counter, last FROM counter WHERE issuer = ?').get(issuer)
      return { counter: (row?.['counter'] as number | undefined) ?? 0, last: row?.['last'] as Uint8Array | undefined }
    },
    knows: (digest) => db.prepare('SELECT number FROM command WHERE digest = ?').get(digest) !== undefined,
    begin: ({ id, digest, issuer, counter, notBefore }) =>
      whole('agent command begun', () => {
        const { changes } = db
          .prepare(
            `INSERT INTO counter VALUES (?, ?, ?) ON CONFLICT (issuer) DO UPDATE SET counter = excluded.counter, last = excluded.last
              WHERE counter.counter < excluded.counter`,
          )
          .run(issuer, counter, id)
        if (changes !== 1) throw new TypeError('a counter is not above the one before') // whoever judged it did not look
        db.prepare('INSERT INTO command (digest, id, is_told) VALUES (?, ?, 0)').run(digest, id)
        see(notBefore)
      }),
    cutOff: () =>
      rows('SELECT id, digest FROM command WHERE receipt IS NULL ORDER BY number').map((row) => ({
        id: row['id'] as Uint8Array,
        digest: row['digest'] as Uint8Array,
      })),
    get nextReceipt() {
      return value('receipt').number + 1
    },
    end: ({ id, digest }, receipt, number) =>
      whole('agent command ended', () => {
        keep('receipt', number)
        db.prepare(
          'INSERT INTO command (digest, id, receipt, is_told) VALUES (?, ?, ?, 0) ON CONFLICT (digest) DO UPDATE SET receipt = excluded.receipt',
        ).run(digest, id, receipt)
      }),
    untold: () =>
      rows('SELECT digest, receipt FROM command WHERE receipt IS NOT NULL AND is_told = 0 ORDER BY number').map((row) => ({
        digest: row['digest'] as Uint8Array,
        receipt: row['receipt'] as Uint8Array,
      })),
    told: (digest) =>
      whole('agent command told', () => {
        db.prepare('UPDATE command SET is_told = 1 WHERE digest = ?').run(digest)
        db.prepare('DELETE FROM command WHERE is_told = 1 AND number <= (SELECT MAX(number) FROM command) - ?').run(KEPT)
      }),
    [Symbol.dispose]: () => db.close(),
  }
}
