/**
 * JSON that has one meaning: what two parsers would read in two ways is refused.
 *
 * Stricter than `JSON.parse`: a member twice, text that is not UTF-8 or holds half a surrogate pair, a byte order mark, a
 * whole number that a double cannot hold exactly, and more depth or values than a signed message has.
 *
 * Source: RFC 8259; RFC 7493 (I-JSON), 2; RFC 7515, 4 (header members once).
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'

export type JSONValue = null | boolean | number | string | readonly JSONValue[] | JSONObject
/** Without a prototype, so that no member's name means anything. */
export interface JSONObject {
  readonly [name: string]: JSONValue
}

const DEPTH_MAX = 32
/** Of one document: what is signed here has some hundred at most, a statement about many files some thousand. */
const VALUES_MAX = 100_000
const DOCUMENT_MAX_OCTETS = 1 << 20

/** @throws TrustError `malformed`, `tooLarge` */
export function parseJSON(octets: Uint8Array, maxOctets: number = DOCUMENT_MAX_OCTETS): JSONValue {
  if (octets.length > maxOctets) throw new TrustError('tooLarge', 'jsonTooLarge', { facts: { limit: maxOctets } })
  const from: From = { text: textOf(octets), at: 0, values: 0 }
  const value = readValue(from, 0)
  skipSpace(from)
  if (from.at !== from.text.length) throw malformed('something follows the value')
  return value
}

/** @throws TrustError `malformed` also when it is something else than an object */
export function parseJSONObject(octets: Uint8Array, maxOctets?: number): JSONObject {
  const value = parseJSON(octets, maxOctets)
  if (!isJSONObject(value)) throw malformed('it is no object')
  return value
}

export const isJSONObject = (value: JSONValue | undefined): value is JSONObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

interface From {
  readonly text: string
  at: number
  values: number
}

const malformed = (detail: string): TrustError => new TrustError('malformed', 'notStrictJSON', { facts: { detail } })

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
function textOf(octets: Uint8Array): string {
  try {
    return decoder.decode(octets)
  } catch {
    throw malformed('it is not UTF-8')
  }
}

const SPACE = /[\t\n\r ]*/y
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y
const WORDS = { true: true, false: false, null: null } as const

function match(from: From, pattern: RegExp): string | undefined {
  pattern.lastIndex = from.at
  const [found] = pattern.exec(from.text) ?? []
  if (found !== undefined) from.at += found.length
  return found
}

const skipSpace = (from: From): void => void match(from, SPACE)

function isNext(from: From, character: string): boolean {
  if (from.text[from.at] !== character) return false
  from.at++
  return true
}

function readValue(from: From, depth: number): JSONValue {
  if (depth > DEPTH_MAX) throw new TrustError('tooLarge', 'jsonTooDeep', { facts: { limit: DEPTH_MAX } })
  if (++from.values > VALUES_MAX) throw new TrustError('tooLarge', 'jsonTooMany', { facts: { limit: VALUES_MAX } })
  skipSpace(from)
  if (isNext(from, '{')) return readObject(from, depth)
  if (isNext(from, '[')) return readArray(from, depth)
  if (from.text[from.at] === '"') return readString(from)
  for (const [word, value] of Object.entries(WORDS)) {
    if (!from.text.startsWith(word, from.at)) continue
    from.at += word.length
    return value
  }
  return readNumber(from)
}

/** A signed text can be millions of characters long: one search for its end, and the platform's parser for what is in it. */
function readString(from: From): string {
  if (from.text[from.at] !== '"') throw malformed('a name is no string')
  let end = from.at
  do end = from.text.indexOf('"', end + 1)
  while (end > 0 && isEscaped(from.text, end))
  if (end < 0) throw malformed('a string does not end')
  const value = stringIn(from.text.slice(from.at, end + 1))
  if (!value.isWellFormed()) throw malformed('a string holds half a surrogate pair')
  from.at = end + 1
  return value
}

function isEscaped(text: string, at: number): boolean {
  let start = at
  while (text[start - 1] === '\\') start--
  return (at - start) % 2 === 1
}

/** @param text from one quotation mark to the next: a string or an error, and nothing else */
function stringIn(text: string): string {
  try {
    return JSON.parse(text) as string
  } catch {
    throw malformed('a string is not written as it must be')
  }
}

function readNumber(from: From): number {
  const text = match(from, NUMBER)
  if (text === undefined) throw malformed('there is no value where one should be')
  const value = Number(text)
  const isExact = Number.isInteger(value) ? Number.isSafeInteger(value) : Number.isFinite(value)
  if (!isExact) throw malformed('a number is larger than can be held exactly')
  return value
}

function readArray(from: From, depth: number): readonly JSONValue[] {
  const items: JSONValue[] = []
  skipSpace(from)
  if (isNext(from, ']')) return items
  do {
    items.push(readValue(from, depth + 1))
    skipSpace(from)
  } while (isNext(from, ','))
  if (!isNext(from, ']')) throw malformed('an array does not end')
  return items
}

function readObject(from: From, depth: number): JSONObject {
  const members = Object.create(null) as Record<string, JSONValue>
  skipSpace(from)
  if (isNext(from, '}')) return members
  do {
    skipSpace(from)
    const name = readString(from)
    skipSpace(from)
    if (!isNext(from, ':')) throw malformed('a member has no value')
    if (name in members) throw malformed('an object has a member twice')
    members[name] = readValue(from, depth + 1)
    skipSpace(from)
  } while (isNext(from, ','))
  if (!isNext(from, '}')) throw malformed('an object does not end')
  return members
}
