/**
 * Transactions whose statements are all known beforehand: they go to the database in one piece.
 *
 * A work that asks and decides in between holds the writer for as long as each answer takes to reach it, which is
 * much where the writer is another thread or another machine. A batch says what its rows must hold instead, so that the
 * decision is made where the rows are.
 *
 * @module
 */
import type { TrustError } from '#base/errors.ts'
import type { Database, Row, SqlValue, Transaction } from './database.ts'
import { isDuplicate } from './duplicate.ts'

export interface Statement {
  readonly sql: string
  readonly parameters: readonly SqlValue[]
  /** What its first row must hold, compared with `===`; otherwise nothing of the batch is kept. */
  readonly expects?: Row
}

/** Where a batch came to its end: at the first statement whose row was not as expected or whose unique key was taken. */
export type BatchOutcome =
  | { readonly kept: true }
  | { readonly kept: false; readonly at: number; readonly row: Row | undefined; readonly duplicate: TrustError | undefined }

/** A statement, and what to say to whoever asked when it ends its batch. */
export interface Step extends Statement {
  /** @returns what to throw; undefined to throw the database's own error */
  readonly refusal?: (row: Row | undefined) => Error | undefined
}

class Unmet extends Error {
  readonly outcome: BatchOutcome & { readonly kept: false }
  constructor(outcome: BatchOutcome & { readonly kept: false }) {
    super('a row was not as expected')
    this.outcome = outcome
  }
}

/** What an engine's `batch` does where its transactions are near. */
export async function batchIn(transaction: Database['transaction'], statements: readonly Statement[]): Promise<BatchOutcome> {
  try {
    await transaction((tx) => run(tx, statements))
    return { kept: true }
  } catch (error) {
    if (error instanceof Unmet) return error.outcome
    throw error
  }
}

async function run(tx: Transaction, statements: readonly Statement[]): Promise<void> {
  // all at once: PostgreSQL answers them in one round trip, and refuses those after one that failed
  const sent = statements.map(({ sql, parameters }) => tx.query(sql, ...parameters))
  const answers = await Promise.allSettled(sent)
  for (const [at, answer] of answers.entries()) {
    if (answer.status === 'rejected') {
      const error: unknown = answer.reason
      if (isDuplicate(error)) throw new Unmet({ kept: false, at, row: undefined, duplicate: error })
      throw error
    }
    const [row] = answer.value
    if (!holds(row, statements[at]?.expects)) throw new Unmet({ kept: false, at, row, duplicate: undefined })
  }
}

/** Whether a statement's first row is as its batch expects. */
export const holds = (row: Row | undefined, expected: Row | undefined): boolean =>
  expected === undefined || Object.entries(expected).every(([column, value]) => row?.[column] === value)

/** Keeps all the steps or none. @throws what the step that ended the batch says, else the database's own refusal */
export async function keep(db: Pick<Database, 'batch'>, steps: readonly Step[]): Promise<void> {
  const outcome = await db.batch(steps.map(plain))
  if (!outcome.kept) throw refusalOf(steps, outcome)
}

/** The same within a transaction that does more. */
export async function take(tx: Transaction, steps: readonly Step[]): Promise<void> {
  try {
    await run(tx, steps)
  } catch (error) {
    throw error instanceof Unmet ? refusalOf(steps, error.outcome) : error
  }
}

/** Without what cannot be sent to another thread. */
const plain = ({ sql, parameters, expects }: Step): Statement => ({ sql, parameters, ...(expects && { expects }) })

function refusalOf(steps: readonly Step[], { at, row, duplicate }: BatchOutcome & { readonly kept: false }): Error {
  return steps[at]?.refusal?.(row) ?? duplicate ?? new TypeError(`statement ${at} expects a row and says no refusal`)
}
