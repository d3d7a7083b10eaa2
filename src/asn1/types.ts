/**
 * The universal types of ASN.1 that X.509 and CMS use.
 *
 * Source: ITU-T X.690 (02/2021), sections 8 and 11; RFC 5280, 4.1.2.5 for times (no fractions, always Z).
 *
 * @module
 */
import { type Codec, choice, tagged, type TaggedCodec } from './codec.ts'
import { malformed, type Reader } from './reader.ts'
import type { Writer } from './writer.ts'

export const BOOLEAN: TaggedCodec<boolean> = tagged(
  'BOOLEAN',
  0x01,
  (from) => {
    const value = from.takeRest()
    const [octet] = value
    if (value.length !== 1 || (octet !== 0x00 && octet !== 0xff)) throw malformed('a BOOLEAN is neither 00 nor FF') // X.690 11.1
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
function takeInteger(from: Reader): Uint8Array {
  const value = from.takeRest()
  const [first, second = 0] = value
  if (first === undefined) throw malformed('an INTEGER has no octets')
  if (value.length > INTEGER_MAX_OCTETS) throw malformed('an INTEGER is longer than any in use')
  if (value.length > 1 && ((first === 0x00 && second < 0x80) || (first === 0xff && second >= 0x80))) {
    throw malformed('an INTEGER is not in its shortest form')
  }
  return value
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

/** INTEGER from 0 to 2^31 - 1: versions, lengths of paths, counts. */
export const SMALL_INTEGER: TaggedCodec<number> = tagged('INTEGER', 0x02, takeSmall, writeSmall)

export const ENUMERATED: TaggedCodec<number> = tagged('ENUMERATED', 0x0a, takeSmall, writeSmall)

function takeSmall(from: Reader): number {
  const value = takeInteger(from)
  if (value.length > 4 || (value[0] as number) >= 0x80) throw malformed('an INTEGER is out of its range')
  let number = 0
  for (const octet of value) number = number * 256 + octet
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
    to.octets(octets)
    to.octet(unusedBits)
  },
)

/** BIT STRING that carries whole octets: keys and signatures. */
export const BIT_STRING_OCTETS: TaggedCodec<Uint8Array> = tagged(
  'BIT STRING',
  0x03,
  (from) => {
    const content = from.takeRest()
    if (content[0] !== 0) throw malformed('a BIT STRING of octets has unused bits')
    return content.subarray(1)
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
      const bits = set.map((one) => names.indexOf(one))
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
export const OBJECT_IDENTIFIER: TaggedCodec<string> = tagged(
  'OBJECT IDENTIFIER',
  0x06,
  (from) => dottedOf(from.takeRest()),
  (to, dotted) => to.octets(oidContent(dotted)),
)

/** Content octets to dotted form. X.690 8.19. */
function dottedOf(content: Uint8Array): string {
  if (content.length === 0 || content.length > OID_MAX_OCTETS) throw malformed('an OBJECT IDENTIFIER has no usable length')
  if ((content[content.length - 1] as number) >= 0x80) throw malformed('an OBJECT IDENTIFIER is cut short')
  let dotted = ''
  let arc = 0
  let large: bigint | undefined // arcs of 2.25 are 128-bit numbers
  let first = true
  for (let i = 0; i < content.length; i++) {
    const octet = content[i] as number
    if (arc === 0 && large === undefined && octet === 0x80) throw malformed('an OBJECT IDENTIFIER is not in its shortest form')
    if (large === undefined && arc >= 2 ** 45) large = BigInt(arc)
    if (large === undefined) arc = arc * 128 + (octet & 0x7f)
    else large = (large << 7n) | BigInt(octet & 0x7f)
    if (octet >= 0x80) continue
    if (first) {
      if (large !== undefined) dotted = `2.${large - 80n}`
      else dotted = arc < 80 ? `${Math.floor(arc / 40)}.${arc % 40}` : `2.${arc - 80}`
      first = false
    } else dotted += `.${large ?? arc}`
    arc = 0
    large = undefined
  }
  return dotted
}

/** A memo of encodings, since a product writes the same few dozen identifiers for ever; bounded because a peer can name others. */
const oidContents = new Map<string, Uint8Array>()
const OID_MEMO_MAX = 1024

/** @throws TypeError when the text is not a dotted identifier: a mistake in a profile or in code */
function oidContent(dotted: string): Uint8Array {
  const known = oidContents.get(dotted)
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
  if (oidContents.size < OID_MEMO_MAX) oidContents.set(dotted, content)
  return content
}

const utf8Decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const utf8Encoder = new TextEncoder()

export const UTF8String: TaggedCodec<string> = tagged(
  'UTF8String',
  0x0c,
  (from) => {
    try {
      return utf8Decoder.decode(from.takeRest())
    } catch {
      throw malformed('a UTF8String is not UTF-8')
    }
  },
  (to, text) => to.octets(utf8Encoder.encode(text)),
)

/** A string type of one octet per character from a fixed set. */
function octetText(name: string, tag: number, allowed: RegExp): TaggedCodec<string> {
  return tagged(
    name,
    tag,
    (from) => {
      const octets = from.takeRest()
      const text = Buffer.from(octets.buffer, octets.byteOffset, octets.length).toString('latin1')
      if (!allowed.test(text)) throw malformed(`a ${name} has a character that it may not have`)
      return text
    },
    (to, text) => {
      if (!allowed.test(text)) throw new TypeError(`${JSON.stringify(text)} is not a ${name}`)
      to.ascii(text)
    },
  )
}

export const NumericString = octetText('NumericString', 0x12, /^[0-9 ]*$/)
export const PrintableString = octetText('PrintableString', 0x13, /^[A-Za-z0-9 '()+,\-./:=?]*$/)
// oxlint-disable-next-line no-control-regex -- the type's own alphabet is all of ASCII
export const IA5String = octetText('IA5String', 0x16, /^[\x00-\x7f]*$/)
export const VisibleString = octetText('VisibleString', 0x1a, /^[\x20-\x7e]*$/)

/** Read as Latin-1, as every implementation does; never written (RFC 5280, 4.1.2.4). */
export const TeletexString: TaggedCodec<string> = tagged(
  'TeletexString',
  0x14,
  (from) => {
    const octets = from.takeRest()
    return Buffer.from(octets.buffer, octets.byteOffset, octets.length).toString('latin1')
  },
  (to, text) => to.octets(Buffer.from(text, 'latin1')),
)

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
    for (const character of Array.from(text).reverse()) {
      const point = character.codePointAt(0) as number
      for (const shift of [0, 8, 16, 24]) to.octet((point >>> shift) & 0xff)
    }
  },
)

const LAST_UTC_TIME = Date.UTC(2050, 0, 1)
const FIRST_UTC_TIME = Date.UTC(1950, 0, 1)

function timeCodec(name: string, tag: number, yearDigits: 2 | 4): TaggedCodec<Date> {
  const length = yearDigits + 11
  return tagged(
    name,
    tag,
    (from) => {
      const octets = from.takeRest()
      if (octets.length !== length || octets[length - 1] !== 0x5a) throw malformed(`a ${name} is not written to the second with a Z`)
      const part = (at: number, digits: number): number => {
        let number = 0
        for (let i = at; i < at + digits; i++) {
          const digit = (octets[i] as number) - 0x30
          if (digit < 0 || digit > 9) throw malformed(`a ${name} has something else than digits`)
          number = number * 10 + digit
        }
        return number
      }
      const written = part(0, yearDigits)
      const year = yearDigits === 4 ? written : written < 50 ? 2000 + written : 1900 + written // RFC 5280, 4.1.2.5.1
      const [month, day, hour, minute, second] = [0, 2, 4, 6, 8].map((at) => part(yearDigits + at, 2)) as [number, number, number, number, number]
      const time = new Date(0)
      time.setUTCFullYear(year, month - 1, day)
      time.setUTCHours(hour, minute, second)
      const exists = time.getUTCMonth() === month - 1 && time.getUTCDate() === day && hour < 24 && minute < 60 && second < 60
      if (!exists) throw malformed(`a ${name} is no point in time`)
      return time
    },
    (to, time) => {
      const digits = time.toISOString().replace(/\.\d+Z$|[-:T]/g, '')
      if (digits.length !== 14) throw new TypeError(`${name} cannot hold the year of ${time.toISOString()}`)
      to.ascii(`${digits.slice(4 - yearDigits)}Z`)
    },
  )
}

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

const inUTCTime = (time: Date): boolean => time.getTime() >= FIRST_UTC_TIME && time.getTime() < LAST_UTC_TIME
