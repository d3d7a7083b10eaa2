/**
 * What the platform asks of a SQL database. SQLite and PostgreSQL each have one folder.
 *
 * Rooms own their tables and their SQL; this room only runs statements. Statements are written in the SQL both
 * engines share: `?` parameters, `ON CONFLICT`, `RETURNING`. Columns are INTEGER (64 bits), TEXT or BLOB.
 *
 * @module
 */

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
  /**
   * Runs `work` and commits it. Several may share one commit (group commit), each behind a savepoint of its own, so
   * that one that throws undoes only itself. `work` must not wait for anything but its own statements, and may run
   * more than once when the engine reports a conflict.
   *
   * @returns when the result is on disk
   * @throws whatever `work` throws, after undoing it; TrustError `unavailable` when the engine cannot be reached
   */
  transaction<T>(work: (tx: Transaction) => Promise<T>): Promise<T>
  close(): Promise<void>
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
