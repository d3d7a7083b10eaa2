/**
 * Streams of rows, each on a reading connection of its own.
 *
 * @module
 */
import type { SQLInputValue } from 'node:sqlite'
import type { Row, SqlValue } from '../database.ts'
import { databaseClosed } from '../group-commit.ts'
import { asRefusal, asRow, connect, type Connection } from './connection.ts'

/** A stream gives way to other events after so many rows (about 1 ms). */
const ROWS_PER_TURN = 256

/** Reading connections kept open after use; each holds a page cache of up to 2 MB. */
const IDLE_READERS_MAX = 4

export interface Streams {
  iterate<R extends Row>(sql: string, ...parameters: SqlValue[]): AsyncIterable<R>
  close(): void
}

/** @param unsynced when what a first row shows is on disk; undefined when it is */
export function rowStreams(path: string, unsynced: () => Promise<void> | undefined): Streams {
  const idle: Connection[] = []
  const busy = new Set<Connection>()
  let closed = false

  return {
    // A connection of its own: while one of its statements is unfinished, a connection goes on seeing the past.
    async *iterate<R extends Row>(sql: string, ...parameters: SqlValue[]) {
      if (closed) throw databaseClosed()
      const connection = idle.pop() ?? connect(path, true)
      busy.add(connection)
      let rows = 0
      try {
        const { statement, columns } = connection.prepare(sql)
        for (const values of statement.iterate(...(parameters as SQLInputValue[]))) {
          if (rows === 0) await unsynced()
          yield asRow(columns, values as unknown as SqlValue[]) as R
          if (++rows % ROWS_PER_TURN === 0) await new Promise(setImmediate)
          if (!busy.has(connection)) throw databaseClosed()
        }
      } catch (error) {
        throw asRefusal(error)
      } finally {
        if (busy.delete(connection)) {
          if (idle.length < IDLE_READERS_MAX) idle.push(connection)
          else connection.database.close()
        }
      }
    },

    close() {
      closed = true
      for (const { database } of [...busy, ...idle]) database.close()
      busy.clear()
    },
  }
}
