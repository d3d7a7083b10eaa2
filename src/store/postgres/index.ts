/**
 * PostgreSQL through `pg`: several processes write at once.
 *
 * Transactions are serializable, so that a room's code means the same on both engines: what it read still holds when
 * it commits, or the work runs again. Batches decide by the rows they lock and by unique keys, so they are read committed:
 * neighbors in an index are no conflict for them, and two processes get on with their work side by side; those that come
 * together become one transaction of few statements (`merging.ts`). Statements of a member go out without waiting for the answers of the savepoints
 * around them, so a member costs one round trip for each statement it waits for.
 *
 * @module
 */
import type { Socket } from 'node:net'
import { Client, DatabaseError, types, type QueryResult } from 'pg'
import { TrustError } from '#base/errors.ts'
import type { Database, Row, Snapshot, SqlValue, Transaction } from '../database.ts'
import { batchIn } from '../batch.ts'
import { databaseClosed, groupCommit, type Lane, type Member } from '../group-commit.ts'
import { toPostgres } from './dialect.ts'
import { merging } from './merging.ts'

export interface PostgresOptions {
  /** `postgres://USER:PASSWORD@HOST:PORT/NAME?sslmode=verify-full`. A connection pooler must keep sessions whole. */
  readonly url: string
  /** Writing connections. Each commits a group at a time. */
  readonly lanes?: number
  readonly workMaxMilliseconds?: number
}

/** While one waits for the disk the other works. More lanes in one process mostly meet each other's conflicts. */
const LANES = 2

/**
 * The server remembers 64 savepoints of each transaction in shared memory; beyond that every snapshot of every
 * connection has to look on disk (PGPROC_MAX_CACHED_SUBXIDS).
 */
const GROUP_MEMBERS_MAX = 60

/** Reading connections; a slow report holds up at most the few lookups that wait behind it on the same one. */
const READERS = 4

/** Look-ups that one turn may put on one reader. */
const READER_PENDING_MAX = 16

/** Named prepared statements on each connection: above what the rooms write; SQL beyond that is parsed each time. */
const STATEMENTS_MAX = 1000

/** A server that does not answer for so long is taken for gone. Statements that define tables or indexes may take longer. */
const STATEMENT_MAX_MILLISECONDS = 60_000

const CONNECT_MAX_MILLISECONDS = 5000

/** How long to wait for a row that another process's group holds, before that counts as a conflict. */
const LOCK_MAX_MILLISECONDS = 10_000

/** A client that vanished without closing its connection loses its locks after this. */
const IDLE_IN_TRANSACTION_MAX_MILLISECONDS = 60_000

const ROWS_PER_FETCH = 1000
const INSERT_ROWS = [256, 64, 16, 4, 1] // few distinct statements, so that they stay prepared

/** Shared by every group, exclusive to a work that met too many conflicts. Any number, the same in every process. */
const WRITERS_LOCK = 0x5ea1

interface Prepared {
  readonly name?: string
  readonly text: string
  readonly query_timeout?: number
}

interface Connection {
  readonly client: Client
  readonly run: <R extends Row>(sql: string, parameters: readonly SqlValue[]) => Promise<R[]>
  /** Several statements without parameters in one message. */
  readonly exec: (sql: string) => Promise<QueryResult[]>
  /** Set when the connection broke; it never comes back. */
  broken: unknown
}

export function postgres(options: PostgresOptions): Database {
  const prepare = preparer()
  const connection = (readOnly: boolean): Promise<Connection> => connect(options.url, readOnly, prepare)
  const lanesOf = (isolation: Isolation) =>
    Array.from({ length: options.lanes ?? LANES }, () => writingLane(() => connection(false), isolation))
  const lanes = {
    serializable: lanesOf('serializable'),
    readCommitted: lanesOf('read committed'),
    merging: lanesOf('read committed'),
  }
  const { workMaxMilliseconds } = options
  const group = groupCommit({ lanes: lanes.serializable, isConflict, asRefusal, workMaxMilliseconds })
  const batches = groupCommit({ lanes: lanes.readCommitted, isConflict, asRefusal, workMaxMilliseconds })
  const together = merging({
    lanes: lanes.merging,
    alone: (statements) => batchIn(batches.transaction, statements),
    isConflict,
    asRefusal,
  })

  const readers: { connection: Promise<Connection> | undefined; pending: number }[] = Array.from({ length: READERS }, () => ({
    connection: undefined,
    pending: 0,
  }))
  const idleStreams: Connection[] = []
  const busyStreams = new Set<Connection>()
  let closed: Promise<void> | undefined

  // what one turn of the event loop asks goes to one reader, since it goes out in one write
  let turnReader: (typeof readers)[number] | undefined
  const nextReader = () => {
    if (turnReader !== undefined && turnReader.pending < READER_PENDING_MAX) return turnReader
    if (turnReader === undefined) setImmediate(() => (turnReader = undefined))
    return (turnReader = readers.reduce((least, each) => (each.pending < least.pending ? each : least)))
  }

  return {
    id: 'postgres',

    async query<R extends Row>(sql: string, ...parameters: SqlValue[]) {
      if (closed !== undefined) throw databaseClosed()
      const reader = nextReader()
      reader.pending++
      try {
        let open = reader.connection === undefined ? undefined : await reader.connection
        if (open === undefined || open.broken !== undefined) {
          reader.connection = connection(true)
          reader.connection.catch(() => (reader.connection = undefined))
          open = await reader.connection
        }
        return await open.run<R>(sql, parameters)
      } catch (error) {
        throw asRefusal(error)
      } finally {
        reader.pending--
      }
    },

    // A cursor lives in a transaction, so each stream has a connection of its own.
    async *iterate<R extends Row>(sql: string, ...parameters: SqlValue[]) {
      if (closed !== undefined) throw databaseClosed()
      let stream: Connection | undefined
      try {
        stream = idleStreams.pop() ?? (await connection(true))
        busyStreams.add(stream)
        await stream.exec('BEGIN')
        await stream.run(`DECLARE stream NO SCROLL CURSOR FOR ${sql}`, parameters)
        for (let rows: R[]; (rows = await stream.run<R>(`FETCH ${ROWS_PER_FETCH} FROM stream`, [])).length > 0;) yield* rows
      } catch (error) {
        throw closed === undefined ? asRefusal(error) : databaseClosed()
      } finally {
        if (stream !== undefined && busyStreams.delete(stream)) {
          await stream.exec('ROLLBACK').catch(() => {})
          if (stream.broken === undefined && idleStreams.length < READERS && closed === undefined) idleStreams.push(stream)
          else await end(stream)
        }
      }
    },

    async snapshot<T>(work: (snapshot: Snapshot) => Promise<T>) {
      if (closed !== undefined) throw databaseClosed()
      let held: Connection | undefined
      try {
        held = await connection(true)
        busyStreams.add(held)
        return await inSnapshot(held, work)
      } catch (error) {
        throw closed === undefined ? asRefusal(error) : databaseClosed()
      } finally {
        if (held !== undefined && busyStreams.delete(held)) await end(held)
      }
    },

    transaction: group.transaction,
    batch: (statements) => together.batch(statements),
    share: () => ({ engine: 'postgres', url: options.url }),

    close() {
      closed ??= (async () => {
        const transactions = group.close()
        await together.close() // what does not get through together goes to `batches`
        await Promise.all([transactions, batches.close()])
        const open = await Promise.allSettled(readers.map(async ({ connection: made }) => made))
        const streams = [...idleStreams, ...busyStreams]
        busyStreams.clear()
        await Promise.all([
          ...Object.values(lanes)
            .flat()
            .map((lane) => lane.end()),
          ...open.map((result) => (result.status === 'fulfilled' && result.value !== undefined ? end(result.value) : undefined)),
          ...streams.map(end),
        ])
      })()
      return closed
    },
  }
}

/** All statements of a repeatable-read transaction see the state that its first one saw. */
async function inSnapshot<T>({ exec, run }: Connection, work: (snapshot: Snapshot) => Promise<T>): Promise<T> {
  await exec('BEGIN ISOLATION LEVEL REPEATABLE READ')
  // numbers of relations grow with time, but for one wrap in four thousand million
  const found = await run<{ name: string; columns: string }>(
    `SELECT c.relname AS name, string_agg(a.attname, ',' ORDER BY a.attnum) AS columns
      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
      WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace GROUP BY c.oid, c.relname ORDER BY c.oid`,
    [],
  )
  let cursors = 0
  return work({
    tables: async () => found.map(({ name, columns }) => ({ name, columns: columns.split(',') })),
    async *iterate<R extends Row>(sql: string, ...parameters: SqlValue[]) {
      const name = `snapshot${cursors++}`
      await run(`DECLARE ${name} NO SCROLL CURSOR FOR ${sql}`, parameters)
      for (let rows: R[]; (rows = await run<R>(`FETCH ${ROWS_PER_FETCH} FROM ${name}`, [])).length > 0;) yield* rows
      await exec(`CLOSE ${name}`)
    },
  })
}

const end = ({ client }: Connection): Promise<void> => client.end().catch(() => {})

/** One text and one name for each statement, the same on every connection. */
function preparer(): (sql: string) => Prepared {
  const kept = new Map<string, Prepared>()
  return (sql) => {
    const found = kept.get(sql)
    if (found !== undefined) return found
    const text = toPostgres(sql)
    if (/^\s*(CREATE|ALTER|DROP|DECLARE)\b/i.test(sql)) return { text } // runs once
    const full = kept.size >= STATEMENTS_MAX
    const prepared = { text, query_timeout: STATEMENT_MAX_MILLISECONDS, ...(!full && { name: `s${kept.size}` }) }
    if (!full) kept.set(sql, prepared)
    return prepared
  }
}

async function connect(url: string, readOnly: boolean, prepare: (sql: string) => Prepared): Promise<Connection> {
  const settings = {
    default_transaction_read_only: readOnly ? 'on' : 'off',
    default_transaction_isolation: readOnly ? 'read\\ committed' : 'serializable',
    lock_timeout: LOCK_MAX_MILLISECONDS,
    idle_in_transaction_session_timeout: IDLE_IN_TRANSACTION_MAX_MILLISECONDS,
    client_min_messages: 'warning',
  }
  const client = new Client({
    connectionString: url,
    application_name: 'sealworks',
    pipeline: true,
    keepAlive: true,
    connectionTimeoutMillis: CONNECT_MAX_MILLISECONDS,
    options: Object.entries(settings)
      .map(([name, value]) => `-c ${name}=${value}`)
      .join(' '),
    types: { getTypeParser: (oid, format) => parsers.get(oid) ?? types.getTypeParser(oid, format) },
  })
  const gather = gatherer(client)
  const run: Connection['run'] = async <R extends Row>(sql: string, parameters: readonly SqlValue[]) => {
    gather()
    return (await client.query<R>({ ...prepare(sql), values: [...parameters] })).rows
  }
  const exec: Connection['exec'] = async (sql) => {
    gather()
    const config = { text: sql, query_timeout: STATEMENT_MAX_MILLISECONDS }
    const result: QueryResult | QueryResult[] = await client.query(config)
    return Array.isArray(result) ? result : [result]
  }
  const connection: Connection = { client, run, exec, broken: undefined }
  client.on('error', (error) => (connection.broken ??= error))
  client.on('end', () => (connection.broken ??= new Error('the connection ended')))
  try {
    await client.connect()
    // An installation may have turned this off for other uses; here what was acknowledged must stay.
    await exec("SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'")
  } catch (error) {
    connection.broken ??= error
    void end(connection)
    throw unavailable(error)
  }
  return connection
}

/**
 * What a turn of the event loop asks goes out in one write, which is a system call here and a wake-up there. `pg` writes each
 * question by itself, between a cork and an uncork of its own; they are counted, so that ours holds them all.
 *
 * @returns to be called before a question
 */
function gatherer(client: Client): () => void {
  let isGathering = false
  return () => {
    const { stream } = (client as unknown as { readonly connection: { readonly stream: Socket } }).connection
    if (isGathering || stream.connecting) return
    isGathering = true
    stream.cork()
    setImmediate(() => {
      isGathering = false
      stream.uncork()
    })
  }
}

// The values of pg_type.oid never change. Expressions yield types that no column has; they come back as on SQLite.
const parsers = new Map<number, (text: string) => SqlValue>([
  [16, (text) => (text === 't' ? 1 : 0)], // bool
  [17, (text) => Uint8Array.fromHex(text.slice(2))], // bytea, as \x…
  [20, toInteger], // int8
  [1700, toInteger], // numeric, from SUM(int8)
])

function toInteger(text: string): number {
  const value = Number(text)
  if (Number.isInteger(value) && !Number.isSafeInteger(value)) throw new RangeError(`${text} is too large for a number`)
  return value
}

/** The one statement of which a lost answer leaves open whether it was done. */
const commitUnknown = (cause: unknown): TrustError =>
  new TrustError('unavailable', 'commitUnknown', { cause, retryAfterSeconds: 5 })

type Isolation = 'serializable' | 'read committed'

function writingLane(connectAgain: () => Promise<Connection>, isolation: Isolation): Lane & { end(): Promise<void> } {
  const serializable = isolation === 'serializable'
  const unlock = serializable ? '; SELECT pg_advisory_unlock_all()' : ''
  let connection: Connection | undefined
  let released = false
  let failure: Error | undefined // of a statement that nobody waited for

  const current = (): Connection => {
    if (connection === undefined) throw unavailable(new Error('the connection was dropped'))
    return connection
  }
  const send = (sql: string): void => {
    current()
      .exec(sql)
      .catch((error: unknown) => (failure ??= error instanceof Error ? error : new Error(String(error))))
  }
  const drop = async (): Promise<void> => {
    const dropped = connection
    connection = undefined
    if (dropped !== undefined) await end(dropped)
  }

  return {
    membersMax: GROUP_MEMBERS_MAX,
    seesOnlyBegin: serializable,
    async begin(alone) {
      if (connection?.broken !== undefined) await drop()
      connection ??= await connectAgain()
      failure = undefined
      released = false
      // Before BEGIN: a serializable transaction would look at the database as it was before the wait.
      if (serializable) send(`SELECT pg_advisory_lock${alone ? '' : '_shared'}(${WRITERS_LOCK})`)
      send(`BEGIN ISOLATION LEVEL ${isolation}`)
    },
    savepoint() {
      send(released ? 'RELEASE member; SAVEPOINT member' : 'SAVEPOINT member')
      released = false
    },
    release() {
      released = true // goes out with the next savepoint; COMMIT does not need it
    },
    async undo() {
      await current().exec('ROLLBACK TO member; RELEASE member')
    },
    async commit() {
      let results: readonly QueryResult[]
      try {
        results = await current().exec(`COMMIT${unlock}`)
      } catch (error) {
        if (failure !== undefined && isConflict(failure)) throw failure
        throw error instanceof DatabaseError && isUndone(error) ? error : commitUnknown(failure ?? error)
      }
      // The COMMIT of a failed transaction is answered with the word ROLLBACK, not with an error.
      if (results[0]?.command !== 'COMMIT') throw failure ?? unavailable(new Error('the transaction had failed'))
    },
    async rollback() {
      try {
        if (connection?.broken === undefined) await connection?.exec(`ROLLBACK${unlock}`)
        else await drop()
      } catch {
        await drop()
      }
    },
    end: drop,

    transaction(member: Member): Transaction {
      const attempt = async <T>(statement: () => Promise<T>): Promise<T> => {
        if (member.ended) throw new TypeError('the transaction is over')
        if (member.failed) throw member.failure
        member.sent++
        try {
          return await statement()
        } catch (error) {
          if (!member.failed) {
            member.failed = true
            member.failure = isConflict(error) ? error : asRefusal(error)
          }
          throw member.failure
        } finally {
          member.answered++
        }
      }
      return {
        query: <R extends Row>(sql: string, ...parameters: SqlValue[]) => attempt(() => current().run<R>(sql, parameters)),
        insertMany: (table, columns, rows) =>
          attempt(async () => {
            const one = `(${columns.map(() => '?').join(', ')})`
            const sent: Promise<unknown>[] = []
            let at = 0
            for (const count of INSERT_ROWS) {
              const sql = `INSERT INTO ${table} (${columns.join(', ')}) VALUES ${Array<string>(count).fill(one).join(', ')}`
              for (; rows.length - at >= count; at += count) sent.push(current().run(sql, rows.slice(at, at + count).flat()))
            }
            const failed = (await Promise.allSettled(sent)).find((result) => result.status === 'rejected')
            if (failed !== undefined) throw failed.reason
          }),
      }
    },
  }
}

// SQLSTATE codes (PostgreSQL documentation, Appendix A)
const CONFLICTS = new Set(['40001', '40P01', '55P03']) // serialization_failure, deadlock_detected, lock_not_available
const UNIQUE_VIOLATION = '23505'
const FOREIGN_KEY_VIOLATION = '23503'
const READ_ONLY_TRANSACTION = '25006'
const UNREACHABLE = /^(08|53|57P|58|25P03)/ // connection, resources, operator, system, idle_in_transaction_session_timeout

/** Two processes that create the same table at once meet in the catalog; the second one finds it when it looks again. */
const isCatalogRace = (error: DatabaseError): boolean => error.code === UNIQUE_VIOLATION && error.schema === 'pg_catalog'

const isConflict = (error: unknown): boolean =>
  error instanceof DatabaseError && (CONFLICTS.has(error.code ?? '') || isCatalogRace(error))

/** True for answers to COMMIT that say for certain that nothing was kept. */
const isUndone = (error: DatabaseError): boolean => isConflict(error) || (error.code ?? '').startsWith('23')

const unavailable = (cause: unknown): TrustError =>
  cause instanceof TrustError ? cause : new TrustError('unavailable', 'databaseUnavailable', { cause, retryAfterSeconds: 5 })

function asRefusal(error: unknown): unknown {
  if (error instanceof DatabaseError) {
    const code = error.code ?? ''
    if (code === UNIQUE_VIOLATION) {
      // "Key (ca_id, serial_number)=(…) already exists." in the server's language
      const columns = /\(([^)]*)\)=\(/.exec(error.detail ?? '')?.[1] ?? ''
      return new TrustError('conflict', 'duplicateRow', { cause: error, facts: { table: error.table ?? '', columns } })
    }
    if (code === FOREIGN_KEY_VIOLATION) return new TrustError('conflict', 'missingReference', { cause: error })
    if (code === READ_ONLY_TRANSACTION) return new TypeError('writing needs a transaction', { cause: error })
    if (isConflict(error)) return new TrustError('unavailable', 'databaseBusy', { cause: error, retryAfterSeconds: 1 })
    return UNREACHABLE.test(code) ? unavailable(error) : error
  }
  return isConnectionLoss(error) ? unavailable(error) : error
}

/** `pg` and sockets name their errors by code or by text only. */
function isConnectionLoss(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  if ('syscall' in error) return true
  return /^(Connection terminated|Client has encountered|Client was closed|Query read timeout|timeout expired)/.test(
    error.message,
  )
}
