/**
 * What the platform asks of a SQL database. SQLite and PostgreSQL each have one folder.
 *
 * Rooms own their tables and their SQL; this room only runs statements. They are written in the SQL both engines share:
 *
 * - `?` parameters, `ON CONFLICT`, `RETURNING`, `UPDATE … FROM`, partial indexes.
 * - Columns are INTEGER (64 bits), TEXT (sorted by octets, no NUL) or BLOB, in capitals. The engines translate, and
 *   check types on storing.
 * - `INTEGER PRIMARY KEY` is numbered by the engine, never twice with the same number, but not in the order of commit.
 * - Constraints are checked at each statement; a deferred one would fail a commit that others share.
 * - `hex(column)` gives octets as text, in either case: of a million rows it costs half of what octets do.
 * - `… FOR SHARE` at the end of a SELECT: the row stays as it is until the end of the transaction.
 * - A parameter whose type its place does not tell is written `CAST(? AS INTEGER)`.
 *
 * @module
 */

import type { MessagePort } from 'node:worker_threads'
import type { BatchOutcome, Statement } from './batch.ts'

export type SqlValue = string | number | bigint | Uint8Array | null
export type Row = Readonly<Record<string, SqlValue>>

/** What can be read, inside and outside a transaction. */
export interface Queries {
  /** Runs one statement and returns its rows, empty for statements that yield none. INTEGER comes back as `number`. */
  query<R extends Row = Row>(sql: string, ...parameters: SqlValue[]): Promise<readonly R[]>
}

/** What a transaction's work is handed: everything done through it is kept, or none of it. */
export interface Transaction extends Queries {
  /** Inserts many rows at the cost of few. @param rows values in the order of `columns` */
  insertMany(table: string, columns: readonly string[], rows: readonly (readonly SqlValue[])[]): Promise<void>
}

export interface Database extends Queries {
  readonly id: 'sqlite' | 'postgres'
  /** Reads committed rows only; it never sees what a transaction has not yet committed, and cannot write. */
  query<R extends Row = Row>(sql: string, ...parameters: SqlValue[]): Promise<readonly R[]>
  /** Streams rows without holding them all: for CRLs, exports and verification. */
  iterate<R extends Row = Row>(sql: string, ...parameters: SqlValue[]): AsyncIterable<R>
  /** One committed state of everything, for as long as `work` takes; others go on meanwhile. For backups. */
  snapshot<T>(work: (snapshot: Snapshot) => Promise<T>): Promise<T>
  /**
   * Runs `work` and commits it. All transactions act as if one ran after the other, also those of other processes, and
   * each sees what was committed before it was handed in.
   *
   * Several may share one commit (group commit), each behind a savepoint of its own, so that one that throws undoes
   * only itself. `work` must not wait for anything but its own statements, and may run more than once when the engine
   * reports a conflict. After a statement has failed, the work is undone even if it catches the failure. Statements
   * that do not need each other's answers go out together with `Promise.all`, which saves PostgreSQL round trips.
   *
   * @returns when the result is on disk
   * @throws whatever `work` throws, after undoing it; TrustError `conflict` (`duplicateRow`, see `isDuplicate`;
   *   `missingReference`); TrustError `unavailable` when the engine cannot be reached, with the reason `commitUnknown`
   *   when it is not known whether the work was kept; TypeError for a transaction inside a transaction
   */
  transaction<T>(work: (tx: Transaction) => Promise<T>): Promise<T>
  /**
   * A transaction whose statements are known beforehand, see `batch.ts`: `keep` runs one and says its refusals.
   *
   * What it rests on must be a row that it writes, a unique key, or a row that it reads with `FOR SHARE`: any other row that
   * it reads may be changed by somebody else before the batch is kept. Batches that arrive together may be kept together, and see
   * each other's rows then.
   *
   * @throws TrustError as `transaction`, but for a unique key, which is an outcome
   */
  batch(statements: readonly Statement[]): Promise<BatchOutcome>
  /** What another thread of this process needs to use the same database, see `openShared`. Each thread needs its own. */
  share(): SharedDatabase
  close(): Promise<void>
}

/** Every read of it shows the database as it was at the same moment. */
export interface Snapshot {
  /** In the order in which they were made: what a table refers to comes before it. */
  tables(): Promise<readonly StoredTable[]>
  iterate<R extends Row = Row>(sql: string, ...parameters: SqlValue[]): AsyncIterable<R>
}

export interface StoredTable {
  readonly name: string
  /** In their order. */
  readonly columns: readonly string[]
}

/** May be sent to a thread; its `port` must be among what is transferred. */
export type SharedDatabase = SharedFile | { readonly engine: 'postgres'; readonly url: string }

/** One thread owns the file and writes for all. */
export interface SharedFile {
  readonly engine: 'sqlite'
  readonly path: string
  /** How far commits have reached the disk: counts that the engine keeps and only the engine reads. */
  readonly committed: Int32Array<SharedArrayBuffer>
  readonly port: MessagePort
}

/**
 * One step of the schema. Each room lists its own; `migrate` runs what has not run yet, in the order of the ids.
 *
 * Written in the shared dialect: the engine turns INTEGER and BLOB into its own types.
 */
export interface Migration {
  /** `NNNN-room-purpose`, sorted as text. Never edited once released. */
  readonly id: string
  readonly statements: readonly string[]
}
