/**
 * One connection to a SQLite file: prepared statements, plain rows, and the platform's refusals for SQLite's errors.
 *
 * @module
 */
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite'
import { TrustError } from '#base/errors.ts'
import type { Row, SqlValue } from '../database.ts'

/** Prepared statements kept for each connection: above what the platform's rooms write, so only generated SQL is dropped. */
const STATEMENTS_MAX = 1000

/** How long to wait for another process that holds the write lock, such as a command line beside a server. */
export const BUSY_MAX_MILLISECONDS = 5000

/** Each connection's page cache. With SQLite's 2 MB, inserting reads pages again and again; COMMIT walks all of a large one. */
const CACHE_KIBIBYTES = 16_384

/** Pages of 4 kB in the write-ahead log before they are copied into the database, which takes some 20 ms. */
const CHECKPOINT_PAGES = 4000

type Runner = <R extends Row>(sql: string, parameters: readonly SqlValue[]) => R[]

export interface Prepared {
  readonly statement: StatementSync
  readonly columns: readonly string[]
  readonly isSelect: boolean
}

export interface Connection {
  readonly database: DatabaseSync
  readonly prepare: (sql: string) => Prepared
  readonly run: Runner
}

export function connect(path: string, readOnly: boolean): Connection {
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
export function asRow(columns: readonly string[], values: readonly SqlValue[]): Row {
  const row: Record<string, SqlValue> = {}
  for (let i = 0; i < columns.length; i++) row[columns[i] as string] = values[i] as SqlValue
  return row
}

/**
 * From the shared dialect: tables check their columns' types (STRICT), and `INTEGER PRIMARY KEY` never gives a number
 * twice, even after the highest row was deleted.
 */
function translate(whole: string): string {
  const sql = whole.replace(/\s+FOR\s+SHARE\s*$/, '') // nobody else writes meanwhile
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

export const unavailable = (cause: unknown): TrustError =>
  new TrustError('unavailable', 'databaseUnavailable', { cause, retryAfterSeconds: 5 })

const isSqliteError = (error: unknown): error is Error & { readonly errcode: number } =>
  error instanceof Error && 'errcode' in error && typeof error.errcode === 'number'

export const isBusy = (error: unknown): boolean =>
  isSqliteError(error) && ((error.errcode & 0xff) === SQLITE_BUSY || (error.errcode & 0xff) === SQLITE_LOCKED)

export function asRefusal(error: unknown): unknown {
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
