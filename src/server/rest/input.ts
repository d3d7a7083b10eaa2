/**
 * Checks what came in against a route's schemas, and says everything that is wrong with it at once.
 *
 * @module
 */
import type { TObject, TSchema } from 'typebox'
import { Compile } from 'typebox/compile'
import { TrustError } from '#base/errors.ts'
import type { InputProblem } from './failures.ts'
import type { Route } from './route.ts'

export interface RawInput {
  /** Still with their escapes. */
  readonly params: Readonly<Record<string, string>>
  readonly query: string
  /** Undefined where the route takes no body. */
  readonly body: Uint8Array | undefined
}

export interface CheckedInput {
  readonly params: object
  readonly query: object
  readonly body: unknown
}

export type InputReading = { readonly input: CheckedInput } | { readonly problems: readonly InputProblem[] }

/** More than this many problems are one problem: the wrong kind of request. */
const PROBLEMS_MAX = 20

interface Checker {
  Check(value: unknown): boolean
  Errors(value: unknown): readonly SchemaError[]
}

interface SchemaError {
  readonly keyword: string
  readonly instancePath: string
  readonly message: string
  readonly params: Readonly<Record<string, unknown>>
}

/** Schemas are compiled when a route is first asked for: a command that uses one route does not pay for all. */
export function inputReader({ params, query, body }: Route): (raw: RawInput) => InputReading {
  const checkers = new Map<TSchema, Checker>()
  const check = (schema: TSchema, where: string, value: unknown, problems: InputProblem[]): void => {
    let checker = checkers.get(schema)
    if (checker === undefined) checkers.set(schema, (checker = Compile(schema)))
    if (!checker.Check(value)) problems.push(...problemsOf(checker.Errors(value), where, schema))
  }

  return (raw) => {
    const problems: InputProblem[] = []
    const givenParams = decodeParams(raw.params, problems)
    const givenQuery = parseQuery(raw.query, query, problems)
    let givenBody: unknown
    if (params !== undefined) check(params, 'path', givenParams, problems)
    if (query !== undefined) check(query, 'query', givenQuery, problems)
    if (body !== undefined) {
      givenBody = parseJSON(raw.body ?? new Uint8Array(0))
      check(body, 'body', givenBody, problems)
    }
    for (const [where, value] of Object.entries({ path: givenParams, query: givenQuery, body: givenBody }))
      problems.push(...zerosIn(value, where))
    if (problems.length > 0) return { problems: problems.slice(0, PROBLEMS_MAX) }
    return { input: { params: givenParams, query: givenQuery, body: givenBody } }
  }
}

/** PostgreSQL keeps no text with U+0000 in it: here it is the asker's mistake, there it would be ours. */
function* zerosIn(value: unknown, at: string): Generator<InputProblem> {
  if (typeof value === 'string' && value.includes('\0')) yield { at, problem: 'must not hold the character U+0000' }
  if (typeof value !== 'object' || value === null) return
  for (const [name, field] of Object.entries(value)) yield* zerosIn(field, `${at}/${name}`)
}

/** @throws TrustError `malformed` */
function parseJSON(octets: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(octets)) as unknown
  } catch (cause) {
    throw new TrustError('malformed', 'notJSON', { cause })
  }
}

function decodeParams(params: RawInput['params'], problems: InputProblem[]): Record<string, string> {
  const decoded: Record<string, string> = {}
  for (const [name, value] of Object.entries(params)) {
    try {
      decoded[name] = decodeURIComponent(value)
    } catch {
      problems.push({ at: `path/${name}`, problem: 'has a damaged percent escape' })
    }
  }
  return decoded
}

/** Text from a URL becomes what its schema says it is, or stays text and fails the check. */
function parseQuery(text: string, schema: TObject | undefined, problems: InputProblem[]): Record<string, unknown> {
  const query: Record<string, unknown> = {}
  if (text === '') return query
  for (const [name, value] of new URLSearchParams(text)) {
    const property = schema !== undefined && Object.hasOwn(schema.properties, name) ? schema.properties[name] : undefined
    if (property === undefined) problems.push({ at: `query/${name.slice(0, 100)}`, problem: 'is not known here' })
    else if (Object.hasOwn(query, name)) problems.push({ at: `query/${name}`, problem: 'is given twice' })
    else query[name] = fromText(value, (property as { type?: unknown }).type)
  }
  return query
}

function fromText(text: string, type: unknown): unknown {
  if (type === 'integer' && /^-?\d{1,15}$/.test(text)) return Number(text)
  if (type === 'boolean' && (text === 'true' || text === 'false')) return text === 'true'
  return text
}

function problemsOf(errors: readonly SchemaError[], where: string, schema: TSchema): InputProblem[] {
  // A field whose alternatives all failed is told once, by the alternatives.
  const unions = new Set(errors.filter(({ keyword }) => keyword === 'anyOf').map(({ instancePath }) => instancePath))
  const found = new Map<string, InputProblem>()
  for (const error of errors) {
    if (error.keyword === 'const' && unions.has(error.instancePath)) continue
    for (const each of explain(error, where, schema)) found.set(`${each.at} ${each.problem}`, each)
  }
  return [...found.values()]
}

function explain({ keyword, instancePath, message, params }: SchemaError, where: string, schema: TSchema): InputProblem[] {
  const at = `${where}${instancePath}`
  const names = (key: string) => (params[key] as readonly (string | number)[]).map((name) => String(name).slice(0, 100))
  switch (keyword) {
    case 'required':
      return names('requiredProperties').map((name) => ({ at: `${at}/${name}`, problem: 'is missing' }))
    case 'additionalProperties':
      return names('additionalProperties').map((name) => ({ at: `${at}/${name}`, problem: 'is not known here' }))
    case 'boolean': // the schema `false` of an unknown property, told by `additionalProperties`
      return []
    case 'enum':
      return [{ at, problem: `must be one of ${names('allowedValues').join(', ')}` }]
    case 'anyOf':
      return [{ at, problem: 'is none of the values allowed here' }]
    case 'pattern':
      return [{ at, problem: `must be ${wordsOf(schema, instancePath) ?? 'written in another way'}` }]
    default:
      return [{ at, problem: message }]
  }
}

/** What a schema says of itself: a regular expression tells nobody what to write. */
function wordsOf(schema: TSchema, instancePath: string): string | undefined {
  let at: unknown = schema
  for (const segment of instancePath.split('/').slice(1)) {
    const { properties, items } = at as { readonly properties?: Record<string, unknown>; readonly items?: unknown }
    at = properties?.[segment] ?? items
    if (at === undefined) return undefined
  }
  return (at as { readonly description?: string }).description
}
