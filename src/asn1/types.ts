/**
 * The universal types of ASN.1 that X.509 and CMS use.
 *
 * Source: ITU-T X.690 (02/2021), sections 8 and 11; RFC 5280, 4.1.2.5 for times (no fractions, always Z).
 *
 * @module
 */
import { type Codec, choice, tagged, type TaggedCodec } from './codec.ts'
import { isAt, malformed, type Reader } from './reader.ts'
import type { Writer } from './writer.ts'

export const BOOLEAN: TaggedCodec<boolean> = tagged(
  'BOOLEAN',
  0x01,
  (from) => {
    const octet = from.bytes[from.at]
    if (from.end - from.at !== 1 || (octet !== 0x00 && octet !== 0xff)) throw malformed('a BOOLEAN is neither 00 nor FF') // X.690 11.1
    from.at++
    return octet === 0xff
  },
  (to, value) => to.octet(value ? 0xff : 0x00),
)

export const NULL: TaggedCodec<null> = tagged(
  'NULL',
  0x05,
  () => null,
  () => {},
)

/** Longer integers than any key here has (16,384 bits) are refused before they are computed with. */
const INTEGER_MAX_OCTETS = 2049

/** X.690 8.3.2: the first nine bits are not all the same. */
function checkInteger({ bytes, at, end }: Reader): void {
  if (at === end) throw malformed('an INTEGER has no octets')
  if (end - at > INTEGER_MAX_OCTETS) throw malformed('an INTEGER is longer than any in use')
  const first = bytes[at] as number
  if (end - at > 1 && (first === 0x00 || first === 0xff) && first >= 0x80 === (bytes[at + 1] as number) >= 0x80) {
    throw malformed('an INTEGER is not in its shortest form')
  }
}

function takeInteger(from: Reader): Uint8Array {
  checkInteger(from)
  return from.takeRest()
}

/** INTEGER as its content octets: two's complement, big-endian, shortest. For serial numbers, which are compared and not computed with. */
export const INTEGER_OCTETS: TaggedCodec<Uint8Array> = tagged('INTEGER', 0x02, takeInteger, (to, value) => to.octets(value))

export const INTEGER: TaggedCodec<bigint> = tagged(
  'INTEGER',
  0x02,
  (from) => {
    const value = takeInteger(from)
    return BigInt.asIntN(value.length * 8, BigInt(`0x${value.toHex()}`))
  },
  writeBigInteger,
)

function writeBigInteger(to: Writer, value: bigint): void {
  let rest = value
  let octet: number
  do {
    octet = Number(rest & 0xffn)
    to.octet(octet)
    rest >>= 8n
  } while (!((rest === 0n && octet < 0x80) || (rest === -1n && octet >= 0x80)))
}

/** INTEGER (0..MAX): numbers that count, however far. */
export const UNSIGNED_INTEGER: TaggedCodec<bigint> = tagged(
  'INTEGER',
  0x02,
  (from) => {
    const value = INTEGER.readContent(from)
    if (value < 0n) throw malformed('an INTEGER is out of its range')
    return value
  },
  (to, value) => {
    if (value < 0n) throw new TypeError(`${value} is not an unsigned INTEGER`)
    writeBigInteger(to, value)
  },
)

/** INTEGER from 0 to 2^31 - 1: versions, lengths of paths, counts. */
export const SMALL_INTEGER: TaggedCodec<number> = tagged('INTEGER', 0x02, takeSmall, writeSmall)

export const ENUMERATED: TaggedCodec<number> = tagged('ENUMERATED', 0x0a, takeSmall, writeSmall)

function takeSmall(from: Reader): number {
  checkInteger(from)
  const { bytes, end } = from
  if (end - from.at > 4 || (bytes[from.at] as number) >= 0x80) throw malformed('an INTEGER is out of its range')
  let number = 0
  while (from.at < end) number = number * 256 + (bytes[from.at++] as number)
  return number
}

function writeSmall(to: Writer, value: number): void {
  if (!Number.isInteger(value) || value < 0 || value > 0x7fff_ffff) throw new TypeError(`${value} is not a small INTEGER`)
  let rest = value
  let octet: number
  do {
    octet = rest & 0xff
    to.octet(octet)
    rest >>>= 8
  } while (rest > 0 || octet >= 0x80)
}

export const OCTET_STRING: TaggedCodec<Uint8Array> = tagged(
  'OCTET STRING',
  0x04,
  (from) => from.takeRest(),
  (to, value) => to.octets(value),
)

export interface BitString {
  readonly octets: Uint8Array
  /** How many bits at the end of the last octet do not count; they are zero (X.690 11.2.1). */
  readonly unusedBits: number
}

export const BIT_STRING: TaggedCodec<BitString> = tagged(
  'BIT STRING',
  0x03,
  (from) => {
    const content = from.takeRest()
    const [unusedBits] = content
    if (unusedBits === undefined || unusedBits > 7) throw malformed('a BIT STRING does not say how many bits are unused')
    const octets = content.subarray(1)
    if (unusedBits > 0) {
      const last = octets.at(-1)
      if (last === undefined) throw malformed('an empty BIT STRING has unused bits')
      if ((last & ((1 << unusedBits) - 1)) !== 0) throw malformed('unused bits of a BIT STRING are not zero')
    }
    return { octets, unusedBits }
  },
  (to, { octets, unusedBits }) => {
    const last = octets.at(-1) ?? 0xff
    if (!(unusedBits >= 0 && unusedBits < 8) || (last & ((1 << unusedBits) - 1)) !== 0)
      throw new TypeError('unused bits are 0 to 7 zeros')
    to.octets(octets)
    to.octet(unusedBits)
  },
)

/** BIT STRING that carries whole octets: keys and signatures. */
export const BIT_STRING_OCTETS: TaggedCodec<Uint8Array> = tagged(
  'BIT STRING',
  0x03,
  (from) => {
    if (from.at === from.end || from.bytes[from.at] !== 0) throw malformed('a BIT STRING of octets has unused bits')
    from.at++
    return from.takeRest()
  },
  (to, value) => {
    to.octets(value)
    to.octet(0)
  },
)

/**
 * BIT STRING with named bits, as the list of the names that are set.
 *
 * @param names in the order of their bit numbers
 * @throws TrustError `malformed` for trailing zero bits (X.690 11.2.2) and for a bit without a name
 */
export function namedBits<const N extends string>(name: string, names: readonly N[]): TaggedCodec<readonly N[]> {
  return tagged(
    name,
    0x03,
    (from) => {
      const { octets, unusedBits } = BIT_STRING.readContent(from)
      const count = octets.length * 8 - unusedBits
      if (count > names.length) throw malformed(`${name} sets a bit that has no name`)
      const set = names.filter((_, bit) => ((octets[bit >> 3] ?? 0) & (0x80 >> (bit & 7))) !== 0)
      if (count > 0 && set.at(-1) !== names[count - 1]) throw malformed(`${name} ends with zero bits`)
      return set
    },
    (to, set) => {
      const bits = set.map((one) => {
        const bit = names.indexOf(one)
        if (bit < 0) throw new TypeError(`${one} is no bit of ${name}`)
        return bit
      })
      const count = Math.max(-1, ...bits) + 1
      const octets = new Uint8Array(Math.ceil(count / 8))
      for (const bit of bits) octets[bit >> 3] = (octets[bit >> 3] ?? 0) | (0x80 >> (bit & 7))
      BIT_STRING.writeContent(to, { octets, unusedBits: octets.length * 8 - count })
    },
  )
}

/** Longer than any identifier in use; the limit keeps arithmetic on arcs bounded. */
const OID_MAX_OCTETS = 64

/** OBJECT IDENTIFIER in dotted form. */
export const OBJECT_IDENTIFIER: TaggedCodec<string> = tagged('OBJECT IDENTIFIER', 0x06, takeIdentifier, (to, dotted) =>
  to.octets(identifierContent(dotted)),
)

interface Identifier {
  readonly content: Uint8Array
  readonly dotted: string
}

/** Identifiers read lately, one per slot, found by a hash of their content: a plant sends the same few dozen for ever. */
const lately: (Identifier | undefined)[] = Array<undefined>(1024).fill(undefined)

function takeIdentifier(from: Reader): string {
  const { bytes, at, end } = from
  let hash = end - at
  for (let i = at; i < end; i++) hash = Math.imul(hash ^ (bytes[i] as number), 0x01000193) // FNV
  const slot = (hash ^ (hash >>> 15)) & (lately.length - 1)
  const known = lately[slot]
  if (known !== undefined && isAt(bytes, at, end, known.content)) {
    from.at = end
    return known.dotted
  }
  const content = from.takeRest()
  const dotted = dottedOf(content)
  lately[slot] = { content: new Uint8Array(content), dotted } // a copy: the view would keep the whole object alive, and follow its changes
  return dotted
}

/** Content octets to dotted form. X.690 8.19. */
function dottedOf(content: Uint8Array): string {
  if (content.length === 0 || content.length > OID_MAX_OCTETS) throw malformed('an OBJECT IDENTIFIER has no usable length')
  if ((content.at(-1) as number) >= 0x80) throw malformed('an OBJECT IDENTIFIER is cut short')
  const arcs: (number | bigint)[] = []
  let arc: number | bigint = 0
  for (const octet of content) {
    if (arc === 0 && octet === 0x80) throw malformed('an OBJECT IDENTIFIER is not in its shortest form')
    arc = shift7(arc, octet & 0x7f)
    if (octet >= 0x80) continue
    if (arcs.length > 0) arcs.push(arc)
    else if (arc < 80) arcs.push(arc < 40 ? 0 : 1, Number(arc) % 40)
    else arcs.push(2, typeof arc === 'bigint' ? arc - 80n : arc - 80)
    arc = 0
  }
  return arcs.join('.')
}

/** Arcs of 2.25 are 128-bit numbers; all others are small. */
function shift7(arc: number | bigint, group: number): number | bigint {
  if (typeof arc === 'number' && arc < 2 ** 45) return arc * 128 + group
  return (BigInt(arc) << 7n) | BigInt(group)
}

/** A memo of encodings, since a product writes the same few dozen identifiers for ever; bounded because a peer can name others. */
const contents = new Map<string, Uint8Array>()
const CONTENTS_MAX = 1024

/** @throws TypeError when the text is not a dotted identifier: a mistake in a profile or in code */
function identifierContent(dotted: string): Uint8Array {
  const known = contents.get(dotted)
  if (known !== undefined) return known
  if (!/^[0-2](\.(0|[1-9]\d*))+$/.test(dotted)) throw new TypeError(`${dotted} is not an object identifier`)
  const [top = 0n, second = 0n, ...rest] = dotted.split('.').map(BigInt)
  if (top < 2n && second > 39n) throw new TypeError(`${dotted} is not an object identifier`)
  const octets: number[] = []
  for (const arc of [top * 40n + second, ...rest]) {
    const groups = [Number(arc & 0x7fn)]
    for (let left = arc >> 7n; left > 0n; left >>= 7n) groups.unshift(Number(left & 0x7fn) | 0x80)
    octets.push(...groups)
  }
  const content = Uint8Array.from(octets)
  if (contents.size < CONTENTS_MAX) contents.set(dotted, content)
  return content
}

const utf8Decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const utf8Encoder = new TextEncoder()

export const UTF8String: TaggedCodec<string> = tagged(
  'UTF8String',
  0x0c,
  (from) => {
    if (standsIn(ASCII, from)) return takeLatin1(from)
    try {
      return utf8Decoder.decode(from.takeRest())
    } catch {
      throw malformed('a UTF8String is not UTF-8')
    }
  },
  (to, text) => {
    if (isOf(ASCII, text)) return to.latin1(text)
    if (!text.isWellFormed()) throw new TypeError(`${JSON.stringify(text)} is not a UTF8String`)
    to.octets(utf8Encoder.encode(text))
  },
)

/** One entry per octet: 1 where it is a character of the type. */
type Alphabet = Uint8Array

const alphabet = (allowed: RegExp): Alphabet =>
  Uint8Array.from({ length: 256 }, (_, octet) => (allowed.test(String.fromCharCode(octet)) ? 1 : 0))
const ASCII = alphabet(/\p{ASCII}/u)

function standsIn(allowed: Alphabet, { bytes, at, end }: Reader): boolean {
  for (let i = at; i < end; i++) if (allowed[bytes[i] as number] === 0) return false
  return true
}

function isOf(allowed: Alphabet, text: string): boolean {
  for (let i = 0; i < text.length; i++) if (allowed[text.charCodeAt(i)] !== 1) return false
  return true
}

/** A call into the runtime costs more than these few characters do. */
const SHORT_CHARACTERS = 6

function takeLatin1(from: Reader): string {
  const { bytes, at, end } = from
  from.at = end
  if (end - at > SHORT_CHARACTERS) return Buffer.prototype.latin1Slice.call(bytes, at, end)
  let text = ''
  for (let i = at; i < end; i++) text += String.fromCharCode(bytes[i] as number)
  return text
}

/** A string type of one octet per character from a fixed set. */
function octetText(name: string, tag: number, allowed: Alphabet): TaggedCodec<string> {
  return tagged(
    name,
    tag,
    (from) => {
      if (!standsIn(allowed, from)) throw malformed(`a ${name} has a character that it may not have`)
      return takeLatin1(from)
    },
    (to, text) => {
      if (!isOf(allowed, text)) throw new TypeError(`${JSON.stringify(text)} is not a ${name}`)
      to.latin1(text)
    },
  )
}

export const NumericString = octetText('NumericString', 0x12, alphabet(/[0-9 ]/))
export const PrintableString = octetText('PrintableString', 0x13, alphabet(/[A-Za-z0-9 '()+,\-./:=?]/))
export const IA5String = octetText('IA5String', 0x16, ASCII)
export const VisibleString = octetText('VisibleString', 0x1a, alphabet(/[\x20-\x7e]/))

/** Read as Latin-1, as every implementation does; a CA does not write it (RFC 5280, 4.1.2.4). */
export const TeletexString = octetText('TeletexString', 0x14, alphabet(/./s))

/** UCS-2, big-endian; surrogates are not characters of it. */
export const BMPString: TaggedCodec<string> = tagged(
  'BMPString',
  0x1e,
  (from) => {
    const octets = from.takeRest()
    if (octets.length % 2 !== 0) throw malformed('a BMPString has half a character')
    let text = ''
    for (let i = 0; i < octets.length; i += 2) {
      const unit = (octets[i] as number) * 256 + (octets[i + 1] as number)
      if (unit >= 0xd800 && unit <= 0xdfff) throw malformed('a BMPString has a surrogate')
      text += String.fromCharCode(unit)
    }
    return text
  },
  (to, text) => {
    if (/[\ud800-\udfff]/.test(text)) throw new TypeError(`${JSON.stringify(text)} is not a BMPString`)
    for (let i = text.length - 1; i >= 0; i--) {
      const unit = text.charCodeAt(i)
      to.octet(unit & 0xff)
      to.octet(unit >> 8)
    }
  },
)

/** UCS-4, big-endian. */
export const UniversalString: TaggedCodec<string> = tagged(
  'UniversalString',
  0x1c,
  (from) => {
    const octets = from.takeRest()
    if (octets.length % 4 !== 0) throw malformed('a UniversalString has part of a character')
    const view = new DataView(octets.buffer, octets.byteOffset, octets.length)
    let text = ''
    for (let i = 0; i < octets.length; i += 4) {
      const point = view.getUint32(i)
      if (point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) throw malformed('a UniversalString has no such character')
      text += String.fromCodePoint(point)
    }
    return text
  },
  (to, text) => {
    if (!text.isWellFormed()) throw new TypeError(`${JSON.stringify(text)} is not a UniversalString`)
    for (const character of Array.from(text).toReversed()) {
      const point = character.codePointAt(0) as number
      for (const shift of [0, 8, 16, 24]) to.octet((point >>> shift) & 0xff)
    }
  },
)

const FIRST_UTC_TIME = Date.UTC(1950, 0, 1)
const LAST_UTC_TIME = Date.UTC(2050, 0, 1) - 1

function timeCodec(name: string, tag: number, yearDigits: 2 | 4): TaggedCodec<Date> {
  const length = yearDigits + 11

  /** The number that two digits say; not a number for anything else. */
  function pair(bytes: Uint8Array, at: number): number {
    const tens = (bytes[at] as number) - 0x30
    const ones = (bytes[at + 1] as number) - 0x30
    if (tens < 0 || tens > 9 || ones < 0 || ones > 9) throw malformed(`a ${name} has something else than digits`)
    return tens * 10 + ones
  }

  return tagged(
    name,
    tag,
    (from) => {
      const { bytes, at, end } = from
      if (end - at !== length || bytes[end - 1] !== 0x5a) throw malformed(`a ${name} is not written to the second with a Z`)
      const first = pair(bytes, at)
      const year = yearDigits === 4 ? first * 100 + pair(bytes, at + 2) : first < 50 ? 2000 + first : 1900 + first // RFC 5280, 4.1.2.5.1
      const month = pair(bytes, end - 11)
      const day = pair(bytes, end - 9)
      const hour = pair(bytes, end - 7)
      const minute = pair(bytes, end - 5)
      const second = pair(bytes, end - 3)
      if (month < 1 || month > 12 || day < 1 || day > daysIn(year, month) || hour > 23 || minute > 59 || second > 59) {
        throw malformed(`a ${name} is no point in time`)
      }
      from.at = end
      if (year >= 100) return new Date(Date.UTC(year, month - 1, day, hour, minute, second))
      const later = new Date(Date.UTC(year + 400, month - 1, day, hour, minute, second)) // Date.UTC takes 99 for 1999
      later.setUTCFullYear(year)
      return later
    },
    (to, time) => {
      const year = time.getUTCFullYear()
      const fits = yearDigits === 4 ? year >= 0 && year <= 9999 : inUTCTime(time)
      if (!fits) throw new TypeError(`${name} cannot hold the year of ${time.toISOString()}`)
      to.octet(0x5a)
      writePair(to, time.getUTCSeconds())
      writePair(to, time.getUTCMinutes())
      writePair(to, time.getUTCHours())
      writePair(to, time.getUTCDate())
      writePair(to, time.getUTCMonth() + 1)
      writePair(to, year % 100)
      if (yearDigits === 4) writePair(to, Math.floor(year / 100))
    },
  )
}

function writePair(to: Writer, number: number): void {
  to.octet(0x30 + (number % 10))
  to.octet(0x30 + Math.floor(number / 10))
}

const isLeap = (year: number): boolean => year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0)
const daysIn = (year: number, month: number): number =>
  month === 2 ? (isLeap(year) ? 29 : 28) : month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31

/** From 1950 to 2049. */
export const UTCTime = timeCodec('UTCTime', 0x17, 2)
export const GeneralizedTime = timeCodec('GeneralizedTime', 0x18, 4)

const EitherTime = choice('Time', { utcTime: UTCTime, generalTime: GeneralizedTime })

/**
 * Time: UTCTime through 2049, GeneralizedTime from 2050 (RFC 5280, 4.1.2.5). Each second has one encoding.
 *
 * Fractions of a second are cut off when written.
 */
export const Time: Codec<Date> = {
  name: 'Time',
  accepts: EitherTime.accepts,
  read(from) {
    const { type, value } = EitherTime.read(from)
    if (type === 'generalTime' && inUTCTime(value)) throw malformed('a time before 2050 is not written as UTCTime')
    return value
  },
  write: (to, time) => (inUTCTime(time) ? UTCTime : GeneralizedTime).write(to, time),
}

const inUTCTime = (time: Date): boolean => time.getTime() >= FIRST_UTC_TIME && time.getTime() <= LAST_UTC_TIME
