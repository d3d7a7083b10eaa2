/**
 * CBOR, read strictly and written in its one deterministic form.
 *
 * What is signed or compared is read as `deterministic`: any other encoding of the same value is refused. Messages of other
 * programs may be `any` well-formed encoding. Never accepted: a key twice, text that is not UTF-8, octets behind the item,
 * map keys other than integers and text (RFC 9052, 1.5 knows no others).
 *
 * Source: RFC 8949, 3 and 4.2.1; 5.6 (keys twice).
 *
 * @module
 */
import { compare, concat, utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'

export type Label = number | bigint | string
/** An integer is a number where that is exact, and a bigint beyond; a floating-point number is always a {@link Float}. */
export type CBOR = Label | Uint8Array | boolean | null | undefined | Float | Simple | Tagged | readonly CBOR[] | CBORMap
export type CBORMap = ReadonlyMap<Label, CBOR>

export interface Float {
  readonly float: number
}
/** Other than false, true, null and undefined. */
export interface Simple {
  readonly simple: number
}
export interface Tagged {
  readonly tag: Exclude<Label, string>
  readonly value: CBOR
}

export interface ReadOptions {
  readonly encoding?: 'deterministic' | 'any'
  readonly maxOctets?: number
}

/** COSE with its headers is at most 8 deep; deeper nesting is for those who look for the end of the stack. */
const DEPTH_MAX = 16
/** Of one message: an item costs its sender one octet, and us some hundred. */
const ITEMS_MAX = 10_000
/** Unless the caller expects a payload. */
const MESSAGE_MAX_OCTETS = 1 << 20

/** @throws TrustError `malformed`, `tooLarge` */
export function parseCBOR(
  octets: Uint8Array,
  { encoding = 'deterministic', maxOctets = MESSAGE_MAX_OCTETS }: ReadOptions = {},
): CBOR {
  if (octets.length > maxOctets) throw new TrustError('tooLarge', 'cborTooLarge', { facts: { limit: maxOctets } })
  const from: From = { octets, at: 0, items: 0, isStrict: encoding === 'deterministic' }
  const value = readItem(from, 0)
  if (from.at !== octets.length) throw malformed('octets follow the item')
  return value
}

interface From {
  readonly octets: Uint8Array
  readonly isStrict: boolean
  at: number
  items: number
}

const malformed = (detail: string): TrustError => new TrustError('malformed', 'notCBOR', { facts: { detail } })

const BREAK = Symbol('break')
const INDEFINITE = Symbol('indefinite')

function readItem(from: From, depth: number): CBOR {
  const value = readItemOrBreak(from, depth)
  if (value === BREAK) throw malformed('a break stands where an item should')
  return value
}

function readItemOrBreak(from: From, depth: number): CBOR | typeof BREAK {
  if (depth > DEPTH_MAX) throw new TrustError('tooLarge', 'cborTooDeep', { facts: { limit: DEPTH_MAX } })
  if (++from.items > ITEMS_MAX) throw tooMany()
  const [initial] = take(from, 1) as unknown as [number]
  const major = initial >> 5
  const info = initial & 0x1f
  if (major === 7) return readSimple(from, info)
  const argument = readArgument(from, info)
  if (argument === INDEFINITE) return readIndefinite(from, major, depth)
  switch (major) {
    case 0:
      return argument
    case 1:
      return negative(argument)
    case 2:
      return take(from, lengthIn(from, argument))
    case 3:
      return textIn(take(from, lengthIn(from, argument)))
    case 4:
      return Array.from({ length: countIn(from, argument) }, () => readItem(from, depth + 1))
    case 5:
      return readMap(from, countIn(from, argument), depth)
    default:
      return { tag: argument, value: readItem(from, depth + 1) }
  }
}

function take(from: From, length: number): Uint8Array {
  const end = from.at + length
  if (end > from.octets.length) throw malformed('it ends too early')
  const taken = from.octets.subarray(from.at, end)
  from.at = end
  return taken
}

function readArgument(from: From, info: number): number | bigint | typeof INDEFINITE {
  if (info < 24) return info
  if (info === 31) return INDEFINITE
  if (info > 27) throw malformed('it uses reserved additional information')
  const octets = take(from, 1 << (info - 24))
  const value = BigInt(`0x${octets.toHex()}`)
  const least = info === 24 ? 24n : 1n << BigInt(4 * octets.length)
  if (from.isStrict && value < least) throw malformed('a number is not in its shortest form')
  return exact(value)
}

const exact = (value: bigint): number | bigint =>
  value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER ? Number(value) : value

const negative = (argument: number | bigint): number | bigint => exact(-1n - BigInt(argument))

/** No item is shorter than an octet, so a count cannot be larger than what is left. */
function lengthIn(from: From, argument: number | bigint): number {
  if (typeof argument === 'bigint' || argument > from.octets.length - from.at) throw malformed('it ends too early')
  return argument
}

/** There is room for all items of an array before the first is read, so that the bound comes before that. */
function countIn(from: From, argument: number | bigint): number {
  const count = lengthIn(from, argument)
  if (count > ITEMS_MAX - from.items) throw tooMany()
  return count
}

const tooMany = (): TrustError => new TrustError('tooLarge', 'cborTooMany', { facts: { limit: ITEMS_MAX } })

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
function textIn(octets: Uint8Array): string {
  try {
    return decoder.decode(octets)
  } catch {
    throw malformed('a text is not UTF-8')
  }
}

function readMap(from: From, size: number, depth: number): CBORMap {
  const map = new Map<Label, CBOR>()
  let previous: Uint8Array | undefined
  for (let i = 0; i < size; i++) {
    const start = from.at
    const key = readItem(from, depth + 1)
    const encoded = from.octets.subarray(start, from.at)
    if (from.isStrict && previous !== undefined && compare(previous, encoded) > 0) throw malformed('map keys are not in order')
    previous = encoded
    enter(map, key, readItem(from, depth + 1))
  }
  return map
}

function enter(map: Map<Label, CBOR>, key: CBOR, value: CBOR): void {
  if (typeof key !== 'string' && typeof key !== 'number' && typeof key !== 'bigint')
    throw malformed('a map key is neither an integer nor text')
  if (map.has(key)) throw malformed('a map has a key twice')
  map.set(key, value)
}

function readIndefinite(from: From, major: number, depth: number): CBOR | typeof BREAK {
  if (from.isStrict) throw malformed('a length is indefinite')
  switch (major) {
    case 2:
      return concat(partsOf(from, 2))
    case 3:
      return partsOf(from, 3).map(textIn).join('') // each part is UTF-8 by itself (RFC 8949, 3.2.3)
    case 4:
      return untilBreak(from, depth)
    case 5: {
      const items = untilBreak(from, depth)
      if (items.length % 2 !== 0) throw malformed('a map has a key without a value')
      const map = new Map<Label, CBOR>()
      for (let i = 0; i < items.length; i += 2) enter(map, items[i], items[i + 1])
      return map
    }
    default:
      throw malformed('it uses reserved additional information')
  }
}

function partsOf(from: From, major: number): Uint8Array[] {
  const parts: Uint8Array[] = []
  for (;;) {
    const [initial] = take(from, 1) as unknown as [number]
    if (initial === 0xff) return parts
    if (initial >> 5 !== major || (initial & 0x1f) === 31) throw malformed('a part of a string is of another type')
    if (++from.items > ITEMS_MAX) throw tooMany()
    parts.push(take(from, lengthIn(from, readArgument(from, initial & 0x1f) as number | bigint)))
  }
}

function untilBreak(from: From, depth: number): CBOR[] {
  const items: CBOR[] = []
  for (;;) {
    const item = readItemOrBreak(from, depth + 1)
    if (item === BREAK) return items
    items.push(item)
  }
}

function readSimple(from: From, info: number): CBOR | typeof BREAK {
  switch (info) {
    case 20:
      return false
    case 21:
      return true
    case 22:
      return null
    case 23:
      return undefined
    case 24: {
      const [simple] = take(from, 1) as unknown as [number]
      if (simple < 32) throw malformed('a simple value is not in its one form') // RFC 8949, 3.3
      return { simple }
    }
    case 25:
    case 26:
    case 27:
      return readFloat(from, 1 << (info - 24))
    case 31:
      if (from.isStrict) throw malformed('a length is indefinite')
      return BREAK
    default:
      if (info > 27) throw malformed('it uses reserved additional information')
      return { simple: info }
  }
}

function readFloat(from: From, length: number): Float {
  const octets = take(from, length)
  const view = new DataView(octets.buffer, octets.byteOffset, length)
  const float = length === 2 ? view.getFloat16(0) : length === 4 ? view.getFloat32(0) : view.getFloat64(0)
  if (from.isStrict && compare(encodeFloat(float).subarray(1), octets) !== 0)
    throw malformed('a floating-point number is not in its shortest form')
  return { float }
}

/** In the deterministic form. A `Uint8Array` that is a part of what was parsed may be given back as it is. */
export function encodeCBOR(value: CBOR): Uint8Array {
  const parts: Uint8Array[] = []
  write(value, parts)
  return concat(parts)
}

/** The octets before the content of a byte string: for content that is not in memory. */
export const encodeByteStringHead = (length: number): Uint8Array => head(2, length)

function write(value: CBOR, parts: Uint8Array[]): void {
  switch (typeof value) {
    case 'number':
      if (!Number.isSafeInteger(value)) throw new TypeError('a floating-point number is written as { float }')
      parts.push(value < 0 ? head(1, -1 - value) : head(0, value))
      return
    case 'bigint':
      parts.push(value < 0n ? head(1, -1n - value) : head(0, value))
      return
    case 'string': {
      const text = utf8(value)
      parts.push(head(3, text.length), text)
      return
    }
    case 'boolean':
      parts.push(Uint8Array.of(value ? 0xf5 : 0xf4))
      return
    case 'undefined':
      parts.push(Uint8Array.of(0xf7))
      return
    default:
      writeObject(value, parts)
  }
}

function writeObject(value: Exclude<CBOR, Label | boolean | undefined>, parts: Uint8Array[]): void {
  if (value === null) parts.push(Uint8Array.of(0xf6))
  else if (value instanceof Uint8Array) parts.push(head(2, value.length), value)
  else if (value instanceof Map) writeMap(value as CBORMap, parts)
  else if (Array.isArray(value)) {
    parts.push(head(4, value.length))
    for (const item of value as readonly CBOR[]) write(item, parts)
  } else if ('float' in value) parts.push(encodeFloat(value.float))
  else if ('simple' in value)
    parts.push(value.simple < 24 ? Uint8Array.of(0xe0 | value.simple) : Uint8Array.of(0xf8, value.simple))
  else if ('tag' in value) {
    parts.push(head(6, value.tag))
    write(value.value, parts)
  }
}

function writeMap(map: CBORMap, parts: Uint8Array[]): void {
  parts.push(head(5, map.size))
  for (const [key, value] of inOrder(map)) {
    write(key, parts)
    write(value, parts)
  }
}

/** By the octets of the keys, which is the order of their values where they are numbers from 0 on. */
function inOrder(map: CBORMap): Iterable<readonly [Label, CBOR]> {
  const entries = [...map]
  if (entries.every(([key]) => typeof key === 'number' && key >= 0)) return entries.toSorted(([a], [b]) => Number(a) - Number(b))
  return entries
    .map((entry) => [encodeCBOR(entry[0]), entry] as const)
    .toSorted(([a], [b]) => compare(a, b))
    .map(([, entry]) => entry)
}

function head(major: number, argument: number | bigint): Uint8Array {
  const type = major << 5
  if (argument < 24) return Uint8Array.of(type | Number(argument))
  if (argument > 0xffff_ffff) return longHead(type, BigInt(argument))
  const value = Number(argument)
  if (value <= 0xff) return Uint8Array.of(type | 24, value)
  if (value <= 0xffff) return Uint8Array.of(type | 25, value >> 8, value & 0xff)
  return Uint8Array.of(type | 26, value >>> 24, (value >>> 16) & 0xff, (value >>> 8) & 0xff, value & 0xff)
}

function longHead(type: number, argument: bigint): Uint8Array {
  if (argument >= 1n << 64n) throw new RangeError('a number has more than 64 bits')
  const octets = new Uint8Array(9)
  octets[0] = type | 27
  new DataView(octets.buffer).setBigUint64(1, argument)
  return octets
}

/** The shortest that holds the value; one form of what is not a number (RFC 8949, 4.2.2). */
function encodeFloat(float: number): Uint8Array {
  if (Number.isNaN(float)) return Uint8Array.of(0xf9, 0x7e, 0x00)
  const octets = new Uint8Array(9)
  const view = new DataView(octets.buffer)
  if (Object.is(Math.f16round(float), float)) {
    octets[0] = 0xf9
    view.setFloat16(1, float)
    return octets.subarray(0, 3)
  }
  if (Object.is(Math.fround(float), float)) {
    octets[0] = 0xfa
    view.setFloat32(1, float)
    return octets.subarray(0, 5)
  }
  octets[0] = 0xfb
  view.setFloat64(1, float)
  return octets
}
