/**
 * Elements whose type the schema leaves open: checked to be DER all the way down, as far as their tags tell.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import { type Codec, isDescending, tagged } from './codec.ts'
import { firstOctet, malformed, type Reader } from './reader.ts'
import {
  BIT_STRING,
  BMPString,
  BOOLEAN,
  IA5String,
  INTEGER_OCTETS,
  NULL,
  NumericString,
  OBJECT_IDENTIFIER,
  PrintableString,
  TeletexString,
  UniversalString,
  UTCTime,
  UTF8String,
  VisibleString,
} from './types.ts'

/** Deeper than any object of X.509 or CMS; shallow enough for the stack. */
const DEPTH_MAX = 32

const SEQUENCE = 0x30
const SET = 0x31
const CONSTRUCTED = 0x20
const CLASS = 0xc0
/** End of contents (BER alone has it), EXTERNAL, EMBEDDED PDV, SEQUENCE, SET, CHARACTER STRING. */
const ALWAYS_CONSTRUCTED: ReadonlySet<number> = new Set([0x00, 0x08, 0x0b, 0x10, 0x11, 0x1d])

/** X.690 11.7: fractions are allowed where no profile forbids them, but never with a trailing zero. */
const anyGeneralizedTime = tagged(
  'GeneralizedTime',
  0x18,
  (from) => {
    const text = TeletexString.readContent(from)
    if (!/^\d{14}(\.\d*[1-9])?Z$/.test(text)) throw malformed('a GeneralizedTime is not in its DER form')
  },
  () => {},
)

/** Any value, while the type of that name here ends at 2^31. */
const anyEnumerated = tagged('ENUMERATED', 0x0a, INTEGER_OCTETS.readContent, INTEGER_OCTETS.writeContent)

/** Universal types whose content has rules of its own. */
const universalTypes: ReadonlyMap<number, Codec<unknown>> = new Map(
  [
    BOOLEAN,
    INTEGER_OCTETS,
    BIT_STRING,
    NULL,
    OBJECT_IDENTIFIER,
    anyEnumerated,
    UTF8String,
    NumericString,
    PrintableString,
    IA5String,
    UTCTime,
    anyGeneralizedTime,
    VisibleString,
    UniversalString,
    BMPString,
  ].map((codec) => [codec.tag, codec as Codec<unknown>]),
)

/** Reads one element of any type. @throws TrustError `malformed`, `tooLarge` when it nests too deep */
function walk(from: Reader, depth: number): void {
  const tag = from.peekTag()
  const octet = firstOctet(tag)
  const universal = (octet & CLASS) === 0
  if ((octet & CONSTRUCTED) === 0) return walkPrimitive(from, tag, universal)
  if (universal && tag !== SEQUENCE && tag !== SET) throw malformed('a string is written in pieces') // X.690 10.2
  if (depth === DEPTH_MAX) throw new TrustError('tooLarge', 'derTooDeep', { facts: { limit: DEPTH_MAX } })
  const outer = from.enter(tag, 'an element')
  if (tag === SET) walkSet(from, depth + 1)
  else while (from.more) walk(from, depth + 1)
  from.leave(outer, 'an element')
}

function walkPrimitive(from: Reader, tag: number, universal: boolean): void {
  const type = universal ? universalTypes.get(tag) : undefined
  if (type !== undefined) {
    type.read(from)
    return
  }
  if (universal && ALWAYS_CONSTRUCTED.has(tag)) throw malformed('a primitive element has a tag that it may not have')
  from.at = from.readHeader(tag, 'an element')
}

/**
 * Two members with one tag make it a SET OF, which has an order (X.690 11.6). A SET of unlike members is ordered by tag
 * (X.690 10.3), but a CHOICE in it or a SET OF of unlike types would look the same, so it goes unchecked.
 */
function walkSet(from: Reader, depth: number): void {
  const tags = new Set<number>()
  let members = 0
  let before = -1
  let descends = false
  while (from.more) {
    const start = from.at
    tags.add(from.peekTag())
    walk(from, depth)
    members++
    if (before >= 0 && !descends) descends = isDescending(from.bytes, before, start, from.at)
    before = start
  }
  if (descends && tags.size < members) throw malformed('a SET OF is not in ascending order')
}

/** Any one element, as its bytes. Only DER gets through, so the bytes may be put into an object of ours. */
export const ANY: Codec<Uint8Array> = {
  name: 'ANY',
  accepts: (tag) => tag >= 0,
  read(from) {
    const start = from.at
    if (!from.more) throw malformed('an element is missing')
    walk(from, 0)
    return from.bytes.subarray(start, from.at)
  },
  write: (to, der) => to.octets(der),
}
