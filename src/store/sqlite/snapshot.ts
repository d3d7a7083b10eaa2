/**
 * One state of the whole file, read while others go on writing: a read transaction on a connection of its own.
 *
 * The write-ahead log keeps all that is written meanwhile, so it grows for as long as a snapshot is held.
 *
 * @module
 */
import type { SQLInputValue } from 'node:sqlite'
import type { Row, Snapshot, SqlValue, StoredTable } from '../database.ts'
import { asRefusal, asRow, connect } from './connection.ts'

/** About 1 ms; then others have their turn. */
const ROWS_PER_TURN = 256

/** @param unsynced when what the snapshot shows is on disk; undefined when it is */
export async function inSnapshot<T>(
  path: string,
  unsynced: () => Promise<void> | undefined,
  work: (snapshot: Snapshot) => Promise<T>,
): Promise<T> {
  const { database, prepare, run } = connect(path, true)
  try {
    database.exec('BEGIN')
    // the transaction begins with its first read (sqlite.org/lang_transaction.html, 2.1); creation is the order of rowids
    const names = run<{ name: string }>("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY rowid", [])
    await unsynced()
    return await work({
      async tables(): Promise<readonly StoredTable[]> {
        return names
          .filter(({ name }) => !name.startsWith('sqlite_'))
          .map(({ name }) => ({
            name,
            columns: run<{ name: string }>('SELECT name FROM pragma_table_info(?) ORDER BY cid', [name]).map((row) => row.name),
          }))
      },
      async *iterate<R extends Row>(sql: string, ...parameters: SqlValue[]) {
        const { statement, columns } = prepare(sql)
        let rows = 0
        for (const values of statement.iterate(...(parameters as SQLInputValue[]))) {
          yield asRow(columns, values as unknown as SqlValue[]) as R
          if (++rows % ROWS_PER_TURN === 0) await new Promise(setImmediate)
        }
      },
    })
  } catch (error) {
    throw asRefusal(error)
  } finally {
    database.close()
  }
}
