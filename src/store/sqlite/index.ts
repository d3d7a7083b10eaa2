/**
 * SQLite through `node:sqlite`: one file, one process, no server to run.
 *
 * Statements run on the event loop: each costs some 8 µs, less than handing it to another thread would. The one wait
 * is the disk's after a COMMIT, which group commit shares and `wal-sync.ts` keeps off the event loop.
 *
 * @module
 */
import type { SQLInputValue } from 'node:sqlite'
import { MessageChannel } from 'node:worker_threads'
import type { Database, Row, SqlValue, Transaction } from '../database.ts'
import { batchIn } from '../batch.ts'
import { databaseClosed, groupCommit, type Lane, type Member } from '../group-commit.ts'
import { asRefusal, BUSY_MAX_MILLISECONDS, connect, type Connection, isBusy, unavailable } from './connection.ts'
import { lend, type Lent } from './lent.ts'
import { inSnapshot } from './snapshot.ts'
import { rowStreams } from './streams.ts'
import { newCommitState, walSync, type WalSync } from './wal-sync.ts'

export interface SqliteOptions {
  /** A file. Reading and writing use a connection each, so a private `:memory:` database would be two. */
  readonly path: string
  readonly workMaxMilliseconds?: number
}

/** About 10 ms of small transactions, during which the event loop stands still. */
const GROUP_MEMBERS_MAX = 256

/** Between two tries for the write lock. SQLite's own wait would stop the event loop, and with it whoever holds the lock here. */
const BUSY_RETRY_MILLISECONDS = 2

/** One group works while the other waits for the disk. */
const LANES = 2

export function sqlite(options: SqliteOptions): Database {
  const writer = connect(options.path, false)
  const reader = connect(options.path, true)
  const committed = newCommitState()
  const disk = walSync(options.path, committed)
  const streams = rowStreams(options.path, () => disk.unsynced())
  const lent = new Set<Lent>()
  let closed: Promise<void> | undefined

  const turn = takingTurns()
  const group = groupCommit({
    lanes: Array.from({ length: LANES }, () => writingLane(writer, turn, disk)),
    isConflict: () => false, // one writer
    asRefusal,
    workMaxMilliseconds: options.workMaxMilliseconds,
  })

  const engine: Database = {
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

    iterate: streams.iterate,

    async snapshot(work) {
      if (closed !== undefined) throw databaseClosed()
      return inSnapshot(options.path, () => disk.unsynced(), work)
    },

    transaction: group.transaction,
    batch: (statements) => batchIn(group.transaction, statements),

    share() {
      const { port1, port2 } = new MessageChannel()
      const loan = lend(engine, port1, () => lent.delete(loan))
      lent.add(loan)
      return { engine: 'sqlite', path: options.path, committed, port: port2 }
    },

    close() {
      closed ??= group.close().then(() => {
        for (const loan of lent) loan.end()
        disk.close()
        streams.close()
        for (const { database } of [reader, writer]) database.close()
      })
      return closed
    },
  }
  return engine
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
      disk.committing()
      try {
        database.exec('COMMIT')
      } catch (error) {
        disk.sync().catch(() => {}) // others may wait for it by now
        throw error
      }
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
