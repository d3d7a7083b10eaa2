/**
 * SQLite through `node:sqlite`: one file, one process, no server to run.
 *
 * Statements run on the event loop: each costs some 8 µs, less than handing it to another thread would. The one wait
 * is the disk's after a COMMIT, which group commit shares and `wal-sync.ts` keeps off the event loop.
 *
 * @module
 */
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite'
import { TrustError } from '#base/errors.ts'
import type { Database, Row, SqlValue, Transaction } from '../database.ts'
import { batchIn } from '../batch.ts'
import { databaseClosed, groupCommit, type Lane, type Member } from '../group-commit.ts'
import { walSync, type WalSync } from './wal-sync.ts'

export interface SqliteOptions {
  /** A file. Reading and writing use a connection each, so a private `:memory:` database would be two. */
  readonly path: string
  readonly workMaxMilliseconds?: number
}

/** Prepared statements kept for each connection: above what the platform's rooms write, so only generated SQL is dropped. */
const STATEMENTS_MAX = 1000

/** About 10 ms of small transactions, during which the event loop stands still. */
const GROUP_MEMBERS_MAX = 256

/** How long to wait for another process that holds the write lock, such as a command line beside a server. */
const BUSY_MAX_MILLISECONDS = 5000

/** Between two tries for the write lock. SQLite's own wait would stop the event loop, and with it whoever holds the lock here. */
const BUSY_RETRY_MILLISECONDS = 2

/** A stream gives way to other events after so many rows (about 1 ms). */
const ROWS_PER_TURN = 256

/** Reading connections kept open after use; each holds a page cache of up to 2 MB. */
const IDLE_READERS_MAX = 4

/** One group works while the other waits for the disk. */
const LANES = 2

/** Each connection's page cache. With SQLite's 2 MB, inserting reads pages again and again; COMMIT walks all of a large one. */
const CACHE_KIBIBYTES = 16_384
/** Pages of 4 kB in the write-ahead log before they are copied into the database, which takes some 20 ms. */
const CHECKPOINT_PAGES = 4000

type Runner = <R extends Row>(sql: string, parameters: readonly SqlValue[]) => R[]

interface Prepared {
  readonly statement: StatementSync
  readonly columns: readonly string[]
  readonly isSelect: boolean
}

interface Connection {
  readonly database: DatabaseSync
  readonly prepare: (sql: string) => Prepared
  readonly run: Runner
}

export function sqlite(options: SqliteOptions): Database {
  const writer = connect(options.path, false)
  const reader = connect(options.path, true)
  const idleReaders: Connection[] = []
  const busyReaders = new Set<Connection>()
  const disk = walSync(options.path)
  let closed: Promise<void> | undefined

  const turn = takingTurns()
  const group = groupCommit({
    lanes: Array.from({ length: LANES }, () => writingLane(writer, turn, disk)),
    isConflict: () => false, // one writer
    asRefusal,
    workMaxMilliseconds: options.workMaxMilliseconds,
  })

  return {
    id: 'sqlite',

    async query<R extends Row>(sql: string, ...parameters: SqlValue[]) {
      if (closed !== undefined) throw databaseClosed()
      let rows
      try {
        // The writer still has the pages that it wrote; the reader's cache ends with every COMMIT.
        const from = writer.database.isTransaction || !writer.prepare(sql).isSelect ? reader : writer
        rows = from.run<R>(sql, parameters)
      } catch (error) {
        throw asRefusal(error)
      }
      await disk.unsynced()
      return rows
    },

    // A connection of its own: while one of its statements is unfinished, a connection goes on seeing the past.
    async *iterate<R extends Row>(sql: string, ...parameters: SqlValue[]) {
      if (closed !== undefined) throw databaseClosed()
      const connection = idleReaders.pop() ?? connect(options.path, true)
      busyReaders.add(connection)
      let rows = 0
      try {
        const { statement, columns } = connection.prepare(sql)
        for (const values of statement.iterate(...(parameters as SQLInputValue[]))) {
          if (rows === 0) await disk.unsynced()
          yield asRow(columns, values as unknown as SqlValue[]) as R
          if (++rows % ROWS_PER_TURN === 0) await new Promise(setImmediate)
          if (!busyReaders.has(connection)) throw databaseClosed()
        }
      } catch (error) {
        throw asRefusal(error)
      } finally {
        if (busyReaders.delete(connection)) {
          if (idleReaders.length < IDLE_READERS_MAX) idleReaders.push(connection)
          else connection.database.close()
        }
      }
    },

    transaction: group.transaction,
    batch: (statements) => batchIn(group.transaction, statements),

    close() {
      closed ??= group.close().then(() => {
        disk.close()
        for (const { database } of [...busyReaders, ...idleReaders, reader, writer]) database.close()
        busyReaders.clear()
      })
      return closed
    },
  }
}

function connect(path: string, readOnly: boolean): Connection {
  let database: DatabaseSync
  try {
    database = new DatabaseSync(path, { readOnly, timeout: BUSY_MAX_MILLISECONDS })
    // NORMAL: a COMMIT does not wait for the disk, since `wal-sync.ts` does. Savepoints keep their pages in memory.
    database.exec(
      `PRAGMA ${readOnly ? 'query_only = ON' : 'journal_mode = WAL'}; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;
        PRAGMA temp_store = MEMORY; PRAGMA cache_size = -${CACHE_KIBIBYTES}; PRAGMA wal_autocheckpoint = ${CHECKPOINT_PAGES}`,
    )
  } catch (error) {
    throw asRefusal(error)
  }
  const kept = new Map<string, Prepared>()
  const prepare = (sql: string): Prepared => {
    const found = kept.get(sql)
    if (found !== undefined) return found
    const statement = database.prepare(translate(sql))
    statement.setReturnArrays(true)
    const columns = statement.columns().map(({ name }) => name)
    const prepared = { statement, columns, isSelect: /^\s*SELECT\b/i.test(sql) }
    if (kept.size >= STATEMENTS_MAX) kept.delete(kept.keys().next().value ?? '')
    kept.set(sql, prepared)
    return prepared
  }
  const run: Runner = <R extends Row>(sql: string, parameters: readonly SqlValue[]) => {
    const { statement, columns } = prepare(sql)
    const rows = statement.all(...(parameters as SQLInputValue[])) as unknown as SqlValue[][]
    return rows.map((values) => asRow(columns, values) as R)
  }
  return { database, prepare, run }
}

/** Plain objects, as from the other engine: node:sqlite's own have no prototype and are slower to use. */
function asRow(columns: readonly string[], values: readonly SqlValue[]): Row {
  const row: Record<string, SqlValue> = {}
  for (let i = 0; i < columns.length; i++) row[columns[i] as string] = values[i] as SqlValue
  return row
}

interface Turn {
  take(): Promise<void>
  give(): void
}

/** Lets one through after the other, in the order in which they asked. */
function takingTurns(): Turn {
  const waiting: (() => void)[] = []
  let taken = false
  return {
    take() {
      if (taken) return new Promise((resolve) => waiting.push(resolve))
      taken = true
      return Promise.resolve()
    },
    give() {
      const next = waiting.shift()
      if (next === undefined) taken = false
      else next()
    },
  }
}

/** Lanes share the one connection that writes: each has its turn from BEGIN to COMMIT, and waits for the disk after it. */
function writingLane({ database, prepare, run }: Connection, turn: Turn, disk: WalSync): Lane {
  database.exec('PRAGMA busy_timeout = 0') // begin() waits instead, without stopping the event loop
  const savepoint = prepare('SAVEPOINT member').statement
  const release = prepare('RELEASE member').statement
  let hasTurn = false
  const giveTurn = (): void => {
    hasTurn = false
    turn.give()
  }
  return {
    membersMax: GROUP_MEMBERS_MAX,
    seesOnlyBegin: false, // nobody else commits while it holds the write lock
    async begin() {
      await turn.take()
      hasTurn = true
      for (let waited = 0; ; waited += BUSY_RETRY_MILLISECONDS) {
        try {
          return database.exec('BEGIN IMMEDIATE')
        } catch (error) {
          if (!isBusy(error) || waited >= BUSY_MAX_MILLISECONDS) throw error
        }
        await new Promise((resolve) => setTimeout(resolve, BUSY_RETRY_MILLISECONDS))
      }
    },
    savepoint: () => void savepoint.run(),
    release: () => void release.run(),
    undo() {
      // A full disk or a failed write undoes the whole transaction by itself (sqlite.org/lang_transaction.html, 3).
      if (!database.isTransaction) throw unavailable(new Error('SQLite rolled the transaction back'))
      database.exec('ROLLBACK TO member; RELEASE member')
    },
    commit() {
      database.exec('COMMIT')
      const synced = disk.sync()
      giveTurn()
      return synced
    },
    rollback() {
      if (!hasTurn) return // what was committed and then lost by the disk cannot be undone
      if (database.isTransaction) database.exec('ROLLBACK')
      giveTurn()
    },

    transaction(member: Member): Transaction {
      const attempt = <T>(statements: () => T): T => {
        if (member.ended) throw new TypeError('the transaction is over')
        if (member.failed) throw member.failure
        member.sent++
        try {
          return statements()
        } catch (error) {
          member.failed = true
          member.failure = asRefusal(error)
          throw member.failure
        } finally {
          member.answered++
        }
      }
      return {
        async query<R extends Row>(sql: string, ...parameters: SqlValue[]) {
          return attempt(() => run<R>(sql, parameters))
        },
        async insertMany(table, columns, rows) {
          const sql = `INSERT INTO ${table} (${columns.join(', ')}) VALUES (${columns.map(() => '?').join(', ')})`
          attempt(() => {
            const { statement } = prepare(sql)
            for (const values of rows) statement.run(...(values as SQLInputValue[]))
          })
        },
      }
    },
  }
}

/**
 * From the shared dialect: tables check their columns' types (STRICT), and `INTEGER PRIMARY KEY` never gives a number
 * twice, even after the highest row was deleted.
 */
function translate(sql: string): string {
  if (!/^\s*CREATE\s+TABLE\b/i.test(sql)) return sql
  const numbered = sql.replace(/\bINTEGER\s+PRIMARY\s+KEY\b(?!\s+AUTOINCREMENT)/gi, 'INTEGER PRIMARY KEY AUTOINCREMENT')
  return /\bSTRICT\s*;?\s*$/i.test(numbered) ? numbered : `${numbered.replace(/;?\s*$/, '')} STRICT`
}

// Result codes (sqlite.org/rescode.html); the low octet is the primary one.
const SQLITE_BUSY = 5
const SQLITE_LOCKED = 6
const SQLITE_READONLY = 8
const UNREACHABLE = new Set([7, 10, 11, 13, 14, 26]) // NOMEM, IOERR, CORRUPT, FULL, CANTOPEN, NOTADB
const DUPLICATE = new Set([1555, 2067, 2579]) // CONSTRAINT_PRIMARYKEY, _UNIQUE, _ROWID
const SQLITE_CONSTRAINT_FOREIGNKEY = 787

const unavailable = (cause: unknown): TrustError =>
  new TrustError('unavailable', 'databaseUnavailable', { cause, retryAfterSeconds: 5 })

const isSqliteError = (error: unknown): error is Error & { readonly errcode: number } =>
  error instanceof Error && 'errcode' in error && typeof error.errcode === 'number'

const isBusy = (error: unknown): boolean =>
  isSqliteError(error) && ((error.errcode & 0xff) === SQLITE_BUSY || (error.errcode & 0xff) === SQLITE_LOCKED)

function asRefusal(error: unknown): unknown {
  if (!isSqliteError(error)) return error
  const primary = error.errcode & 0xff
  if (DUPLICATE.has(error.errcode)) {
    // "UNIQUE constraint failed: certificate.ca_id, certificate.serial_number", or "… failed: index 'name'"
    const failed = /constraint failed: (.*?)(?: constraint failed)?$/.exec(error.message)?.[1] ?? ''
    const columns = [...failed.matchAll(/(\w+)\.(\w+)/g)]
    const facts = { table: columns[0]?.[1] ?? failed, columns: columns.map((column) => column[2]).join(', ') }
    return new TrustError('conflict', 'duplicateRow', { cause: error, facts })
  }
  if (error.errcode === SQLITE_CONSTRAINT_FOREIGNKEY) return new TrustError('conflict', 'missingReference', { cause: error })
  if (isBusy(error)) {
    return new TrustError('unavailable', 'databaseBusy', { cause: error, retryAfterSeconds: 1 })
  }
  if (UNREACHABLE.has(primary)) return unavailable(error)
  if (primary === SQLITE_READONLY) return new TypeError('writing needs a transaction', { cause: error })
  return error
}
