/**
 * Many batches as few statements.
 *
 * Batches that arrive together are mostly of one kind: the same statements with other values. Sent one by one, each statement
 * costs a message there and back, a plan's start and a wake-up on both sides, which is more than the row itself. So the
 * same statement of several batches becomes one: an INSERT with more rows, a look-up of more keys, or the very same
 * question asked once.
 *
 * This file only writes statements and reads answers; `merging.ts` sends them. Whatever is not plainly of such a kind stays a
 * statement of its own, and when anything is not as all of the batches expect, nothing of them is kept and each runs by itself.
 *
 * @module
 */
import { holds, type Statement } from '../batch.ts'
import type { Row, SqlValue } from '../database.ts'

export type Batch = readonly Statement[]

export interface Question {
  readonly sql: string
  readonly parameters: readonly SqlValue[]
  /** @returns whether the answer is what every batch behind it expects */
  isMet(rows: readonly Row[]): boolean
}

/** How many batches share a statement: few numbers, so that the statements stay prepared. */
const SHARED_BY = [64, 32, 16, 8, 4, 2, 1] as const

/**
 * @returns what names the kind of a batch, the same for batches whose statements can be sent together; undefined for one that has to
 *   run by itself
 */
export function kindOf(batch: Batch): string | undefined {
  const forms = batch.map(({ sql }) => formOf(sql))
  const key = forms.map(({ number }) => number).join(' ')
  const known = kinds.get(key)
  if (known !== undefined) return known ? key : undefined
  const canMerge = forms.every((form, at) => isSettled(form, forms.slice(at + 1)))
  if (kinds.size < FORMS_MAX) kinds.set(key, canMerge)
  return canMerge ? key : undefined
}

/** @param batches of one kind @returns what to ask, in this order */
export function merge(batches: readonly Batch[]): Question[] {
  const [first] = batches
  return first === undefined ? [] : first.flatMap((_, at) => mergeAt(batches.map((batch) => batch[at] as Statement)))
}

interface Form {
  readonly number: number
  readonly kind: 'insert' | 'lookUp' | 'change' | 'other'
  /** Tables that it reads or writes. */
  readonly tables: readonly string[]
  /** Whether a row that was there before is another afterwards. */
  readonly rewrites: boolean
  /** Of an INSERT: before its row, the row, and behind it. */
  readonly parts?: readonly [string, string, string]
}

/** Statements that rooms write are constants; SQL made for one use must not fill the memory. */
const FORMS_MAX = 1000
const forms = new Map<string, Form>()
const kinds = new Map<string, boolean>()
const OTHER: Form = { number: -1, kind: 'other', tables: [], rewrites: true }

function formOf(sql: string): Form {
  const known = forms.get(sql)
  if (known !== undefined) return known
  if (forms.size >= FORMS_MAX) return OTHER
  const form = { ...readForm(sql), number: forms.size }
  forms.set(sql, form)
  return form
}

// Quotes could hold anything and comments too: `formOf` takes statements with either for what stands by itself, unless
// the quoted is a plain word.
const PLAIN = /^(?:[^'"]|'[\w .-]*')*$/
const INSERT = /^\s*(INSERT INTO (\w+)\s*\([\w\s,]+\)\s*VALUES\s*)(\([^()]*\))(\s*(?:ON CONFLICT(?:(?!\sRETURNING\s)[\s\S])*)?)$/
const LOOK_UP = /^\s*SELECT\s[\s\S]*?\sFROM\s+(\w+)\s+WHERE\s[\s\S]*$/
const CHANGE = /^\s*UPDATE (\w+) SET\s(?:(?!\sFROM\s)[\s\S])*$/
/** More than rows of one table that are found by their keys. */
const MORE = /\b(?:JOIN|UNION|GROUP|DISTINCT|LIMIT|count|sum|min|max|exists)\b|--|\/\*|\(\s*SELECT\b/i

function readForm(sql: string): Omit<Form, 'number'> {
  if (!PLAIN.test(sql) || MORE.test(sql)) return OTHER
  const insert = INSERT.exec(sql)
  if (insert !== null) {
    const [, head, table, row, tail] = insert as unknown as [string, string, string, string, string]
    return { kind: 'insert', tables: [table], rewrites: /DO UPDATE/.test(tail), parts: [head, row, tail] }
  }
  const lookUp = LOOK_UP.exec(sql)
  if (lookUp !== null) return { kind: 'lookUp', tables: [lookUp[1] as string], rewrites: false }
  const change = CHANGE.exec(sql)
  if (change !== null) return { kind: 'change', tables: [change[1] as string], rewrites: true }
  return OTHER
}

/** What was looked at must not be made another by a neighbor that runs its later statements after it. */
const isSettled = (form: Form, later: readonly Form[]): boolean =>
  form.kind !== 'other' &&
  (form.kind !== 'lookUp' ||
    !later.some(({ rewrites, tables }) => rewrites && tables.some((table) => form.tables.includes(table))))

/** @param statements with the same SQL, of batches in their order */
function mergeAt(statements: readonly Statement[]): Question[] {
  const [{ sql, parameters }] = statements as readonly [Statement]
  const form = formOf(sql)
  if (form.kind === 'lookUp' && statements.every((other) => isSame(other.parameters, parameters)))
    return [{ sql, parameters, isMet: ([row]) => statements.every(({ expects }) => holds(row, expects)) }]
  const write =
    form.kind === 'insert' ? insertOf(form, statements) : form.kind === 'lookUp' ? lookUpOf(sql, statements) : undefined
  if (write === undefined) return statements.map(alone)
  const questions: Question[] = []
  let at = 0
  for (const count of SHARED_BY) {
    for (; statements.length - at >= count; at += count) {
      const some = statements.slice(at, at + count)
      questions.push(count === 1 ? alone(some[0] as Statement) : write(some))
    }
  }
  return questions
}

const alone = ({ sql, parameters, expects }: Statement): Question => ({ sql, parameters, isMet: ([row]) => holds(row, expects) })

type Write = (statements: readonly Statement[]) => Question

/** `VALUES (…), (…)`, where what stands behind the rows is the same for all. */
function insertOf({ parts }: Form, statements: readonly Statement[]): Write | undefined {
  const [head, row, tail] = parts as readonly [string, string, string]
  const own = row.split('?').length - 1
  const behind = (statements[0] as Statement).parameters.slice(own)
  if (!statements.every(({ parameters, expects }) => expects === undefined && isSame(parameters.slice(own), behind)))
    return undefined
  return (some) => ({
    sql: `${head}${Array<string>(some.length).fill(row).join(', ')}${tail}`,
    parameters: [...some.flatMap(({ parameters }) => parameters.slice(0, own)), ...behind],
    isMet: () => true,
  })
}

/**
 * The keys as rows of a table of their own, and for each of them the look-up as it stands. With a LIMIT it is not joined: a join that
 * was planned while the table was small would read all of it for good.
 */
function lookUpOf(sql: string, statements: readonly Statement[]): Write | undefined {
  const types = (statements[0] as Statement).parameters.map(typeOf)
  const isTyped = ({ parameters }: Statement): boolean => parameters.every((value, at) => typeOf(value) === types[at])
  if (types.length === 0 || types.includes(undefined) || !statements.every(isTyped)) return undefined
  let parameter = 0
  const inside = sql.replaceAll('?', () => `key_.p${parameter++}`)
  if (parameter !== types.length) return undefined
  const columns = types.map((_, at) => `p${at}`).join(', ')
  return (some) => {
    const rows = some.map((_, at) => `(${at}, ${types.join(', ')})`).join(', ')
    return {
      sql: `SELECT key_.n_, found_.* FROM (VALUES ${rows}) AS key_ (n_, ${columns}), LATERAL (${inside} LIMIT 1) AS found_`,
      parameters: some.flatMap(({ parameters }) => parameters),
      isMet(found) {
        const byNumber = new Map(found.map((row) => [row['n_'], row]))
        return some.every(({ expects }, at) => holds(byNumber.get(at), expects))
      },
    }
  }
}

/** A parameter in VALUES has no column that tells its type; text compares as columns do, see `dialect.ts`. */
function typeOf(value: SqlValue): string | undefined {
  if (typeof value === 'string') return '?::text COLLATE "C"'
  if (typeof value === 'bigint' || Number.isSafeInteger(value)) return '?::bigint'
  return value instanceof Uint8Array ? '?::bytea' : undefined
}

const isSame = (one: readonly SqlValue[], other: readonly SqlValue[]): boolean =>
  one.length === other.length &&
  one.every((value, at) => {
    const opposite = other[at]
    if (!(value instanceof Uint8Array)) return value === opposite
    return opposite instanceof Uint8Array && Buffer.compare(value, opposite) === 0
  })
