/**
 * One SQLite file for several threads: each reads by itself, and the thread that owns the file writes for all.
 *
 * Batches go over whole and are answered when they are on disk. A transaction's statements go over one after the
 * other while the owner holds the writer for it, which is slow for everyone: what runs often is a batch.
 *
 * @module
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import type { MessagePort } from 'node:worker_threads'
import type { TrustError } from '#base/errors.ts'
import { alone, receivedError, sendError, type SentError } from '#base/sent.ts'
import type { BatchOutcome, Statement } from '../batch.ts'
import type { Database, Row, SharedFile, SqlValue, Transaction } from '../database.ts'
import { databaseClosed } from '../group-commit.ts'
import { asRefusal, connect } from './connection.ts'
import { inSnapshot } from './snapshot.ts'
import { rowStreams } from './streams.ts'
import { unsyncedElsewhere } from './wal-sync.ts'

/** From the borrower. A transaction's messages all carry the number of the one that began it. */
type Ask =
  | { readonly id: number; readonly kind: 'batch'; readonly statements: readonly Statement[] }
  | { readonly id: number; readonly kind: 'begin' }
  | { readonly id: number; readonly kind: 'query'; readonly asked: number; readonly statement: Statement }
  | { readonly id: number; readonly kind: 'insert'; readonly asked: number; readonly many: Many }
  | { readonly id: number; readonly kind: 'end'; readonly keep: boolean }

type Many = readonly [table: string, columns: readonly string[], rows: readonly (readonly SqlValue[])[]]

/** To the borrower. */
type Answer =
  | { readonly id: number; readonly kind: 'outcome'; readonly outcome: Sent<BatchOutcome> }
  | { readonly id: number; readonly kind: 'begun' }
  | { readonly id: number; readonly kind: 'rows'; readonly asked: number; readonly rows: readonly Row[] }
  | { readonly id: number; readonly kind: 'failed'; readonly asked: number; readonly error: SentError }
  | { readonly id: number; readonly kind: 'ended'; readonly error: SentError | undefined }

type Sent<T> = T extends { readonly duplicate: TrustError | undefined }
  ? Omit<T, 'duplicate'> & { readonly duplicate: SentError | undefined }
  : T

export interface Lent {
  /** Answers nothing more. */
  end(): void
}

/** The owner's side: runs what comes over `port`. @param ended called when the borrower has gone */
export function lend(database: Pick<Database, 'transaction' | 'batch'>, port: MessagePort, ended: () => void): Lent {
  const post = gathering(port)
  const open = new Map<number, Held>()

  async function batch(id: number, statements: readonly Statement[]): Promise<void> {
    try {
      const outcome = await database.batch(statements)
      post({
        id,
        kind: 'outcome',
        outcome: outcome.kept ? outcome : { ...outcome, duplicate: outcome.duplicate && sendError(outcome.duplicate) },
      })
    } catch (error) {
      post({ id, kind: 'ended', error: sendError(error) })
    }
  }

  async function transaction(id: number): Promise<void> {
    try {
      await database.transaction(async (tx) => {
        const held: Held = { tx, over: Promise.withResolvers<void>() }
        open.set(id, held)
        post({ id, kind: 'begun' })
        await held.over.promise
      })
      post({ id, kind: 'ended', error: undefined })
    } catch (error) {
      post({ id, kind: 'ended', error: error === BORROWER_THREW ? undefined : sendError(error) })
    } finally {
      open.delete(id)
    }
  }

  async function statement(id: number, asked: number, run: (tx: Transaction) => Promise<readonly Row[]>): Promise<void> {
    const held = open.get(id)
    try {
      if (held === undefined) throw new TypeError('the transaction is over')
      post({ id, kind: 'rows', asked, rows: await run(held.tx) })
    } catch (error) {
      post({ id, kind: 'failed', asked, error: sendError(error) })
    }
  }

  port.on('message', (asks: readonly Ask[]) => {
    for (const ask of asks) {
      const { id } = ask
      if (ask.kind === 'batch') void batch(id, ask.statements)
      else if (ask.kind === 'begin') void transaction(id)
      else if (ask.kind === 'query')
        void statement(id, ask.asked, (tx) => tx.query(ask.statement.sql, ...ask.statement.parameters))
      else if (ask.kind === 'insert') void statement(id, ask.asked, async (tx) => (await tx.insertMany(...ask.many), []))
      else if (ask.keep) open.get(id)?.over.resolve()
      else open.get(id)?.over.reject(BORROWER_THREW)
    }
  })
  // A thread that ends in the middle of a transaction has not committed it.
  port.on('close', () => {
    for (const { over } of open.values()) over.reject(BORROWER_THREW)
    ended()
  })
  return { end: () => port.close() }
}

interface Held {
  readonly tx: Transaction
  readonly over: PromiseWithResolvers<void>
}

const BORROWER_THREW = new Error('the work threw in its own thread')

/** The borrower's side: a database like any other. */
export function borrow({ path, committed, port }: SharedFile): Database {
  const reader = connect(path, true)
  const post = gathering(port)
  const unsynced = (): Promise<void> | undefined => unsyncedElsewhere(committed)
  const streams = rowStreams(path, unsynced)
  const waiting = new Map<number, Waiting>()
  let asks = 0
  const inside = new AsyncLocalStorage<{ readonly ended: boolean }>()
  let closed = false
  let closing: Promise<void> | undefined
  let idle: (() => void) | undefined

  const begin = (ask: (id: number) => Ask, begun?: () => void): Promise<BatchOutcome | undefined> => {
    if (closed) return Promise.reject(databaseClosed())
    const id = ++asks
    return new Promise((resolve, reject) => {
      waiting.set(id, { resolve, reject, begun, statements: new Map() })
      post(ask(id))
    })
  }

  const over = (id: number): Waiting | undefined => {
    const found = waiting.get(id)
    waiting.delete(id)
    if (waiting.size === 0) idle?.()
    return found
  }

  port.on('message', (answers: readonly Answer[]) => {
    for (const answer of answers) {
      const { id } = answer
      if (answer.kind === 'outcome') {
        const { outcome } = answer
        over(id)?.resolve(
          outcome.kept
            ? outcome
            : { ...outcome, duplicate: outcome.duplicate && (receivedError(outcome.duplicate) as TrustError) },
        )
      } else if (answer.kind === 'ended') {
        const found = over(id)
        if (answer.error === undefined) found?.resolve(undefined)
        else found?.reject(receivedError(answer.error))
      } else if (answer.kind === 'begun') {
        waiting.get(id)?.begun?.()
      } else {
        const statements = waiting.get(id)?.statements
        const asked = statements?.get(answer.asked)
        statements?.delete(answer.asked)
        if (answer.kind === 'rows') asked?.resolve(answer.rows)
        else asked?.reject(receivedError(answer.error))
      }
    }
  })
  const gone = (): void => {
    closed = true
    for (const id of [...waiting.keys()]) over(id)?.reject(databaseClosed())
  }
  port.on('close', gone)

  async function transaction<T>(work: (tx: Transaction) => Promise<T>): Promise<T> {
    if (inside.getStore()?.ended === false) throw new TypeError('transactions do not nest: pass the transaction on instead')
    let result: { readonly value: T } | { readonly error: unknown } | undefined
    let id = 0
    const settled = begin(
      (number) => ({ id: (id = number), kind: 'begin' }),
      () => {
        const statements = waiting.get(id)?.statements
        if (statements !== undefined) void runWork(id, statements)
      },
    )
    async function runWork(number: number, statements: Waiting['statements']): Promise<void> {
      const state = { ended: false }
      try {
        result = { value: await inside.run(state, work, borrowedTransaction(number, statements, post, state)) }
      } catch (error) {
        result = { error }
      }
      state.ended = true
      post({ id: number, kind: 'end', keep: 'value' in result })
    }
    await settled
    if (result === undefined) throw databaseClosed()
    if ('error' in result) throw result.error
    return result.value
  }

  return {
    id: 'sqlite',

    async query<R extends Row>(sql: string, ...parameters: SqlValue[]) {
      if (closed) throw databaseClosed()
      let rows
      try {
        rows = reader.run<R>(sql, parameters)
      } catch (error) {
        throw asRefusal(error)
      }
      await unsynced()
      return rows
    },

    iterate: streams.iterate,
    async snapshot(work) {
      if (closed) throw databaseClosed()
      return inSnapshot(path, unsynced, work)
    },
    transaction,

    async batch(statements) {
      const outcome = await begin((id) => ({ id, kind: 'batch', statements: statements.map(compact) }))
      return outcome as BatchOutcome
    },

    share() {
      throw new TypeError('a thread lends nothing on')
    },

    close() {
      closed = true
      closing ??= (async () => {
        if (waiting.size > 0) await new Promise<void>((resolve) => (idle = resolve))
        port.off('close', gone)
        port.close()
        streams.close()
        reader.database.close()
      })()
      return closing
    },
  }
}

interface Waiting {
  readonly resolve: (outcome: BatchOutcome | undefined) => void
  readonly reject: (error: unknown) => void
  readonly begun: (() => void) | undefined
  readonly statements: Map<
    number,
    { readonly resolve: (rows: readonly Row[]) => void; readonly reject: (error: unknown) => void }
  >
}

function borrowedTransaction(
  id: number,
  statements: Waiting['statements'],
  post: (ask: Ask) => void,
  state: { readonly ended: boolean },
): Transaction {
  let asks = 0
  const ask = (message: (asked: number) => Ask): Promise<readonly Row[]> => {
    if (state.ended) return Promise.reject(new TypeError('the transaction is over'))
    const asked = ++asks
    return new Promise((resolve, reject) => {
      statements.set(asked, { resolve, reject })
      post(message(asked))
    })
  }
  return {
    query: <R extends Row>(sql: string, ...parameters: SqlValue[]) =>
      ask((asked) => ({ id, kind: 'query', asked, statement: compact({ sql, parameters }) })) as Promise<readonly R[]>,
    async insertMany(table, columns, rows) {
      await ask((asked) => ({ id, kind: 'insert', asked, many: [table, columns, rows.map((row) => row.map(sendValue))] }))
    },
  }
}

/** Many small messages of one turn go over as one: each costs some 10 µs, whatever its length. */
function gathering(port: MessagePort): (message: Ask | Answer) => void {
  let gathered: (Ask | Answer)[] = []
  const flush = (): void => {
    port.postMessage(gathered)
    gathered = []
  }
  return (message) => {
    if (gathered.push(message) === 1) process.nextTick(flush) // after the promises that settle now
  }
}

const sendValue = (value: SqlValue): SqlValue => (value instanceof Uint8Array ? alone(value) : value)

const compact = ({ sql, parameters, expects }: Statement): Statement => ({
  sql,
  parameters: parameters.map(sendValue),
  ...(expects && { expects }),
})
