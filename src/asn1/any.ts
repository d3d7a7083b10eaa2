/**
 * Elements whose type the schema leaves open: checked to be DER all the way down, as far as their tags tell.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import { type Codec, tagged } from './codec.ts'
import { malformed, type Reader } from './reader.ts'
import {
  BIT_STRING,
  BMPString,
  BOOLEAN,
  ENUMERATED,
  IA5String,
  INTEGER_OCTETS,
  NULL,
  NumericString,
  OBJECT_IDENTIFIER,
  PrintableString,
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

/** X.690 11.7: fractions are allowed where no profile forbids them, but never with a trailing zero. */
const anyGeneralizedTime = tagged(
  'GeneralizedTime',
  0x18,
  (from) => {
    const text = String.fromCharCode(...from.takeRest().subarray(0, 64))
    if (!/^\d{14}(\.\d*[1-9])?Z$/.test(text)) throw malformed('a GeneralizedTime is not in its DER form')
  },
  () => {},
)

/** Universal types whose content has rules of its own. */
const universalTypes: ReadonlyMap<number, Codec<unknown>> = new Map(
  [
    BOOLEAN,
    INTEGER_OCTETS,
    BIT_STRING,
    NULL,
    OBJECT_IDENTIFIER,
    ENUMERATED,
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
function walk(from: Reader, depth = 0): void {
  if (depth > DEPTH_MAX) throw new TrustError('tooLarge', 'derTooDeep', { facts: { limit: DEPTH_MAX } })
  const start = from.at
  const { tag, end } = from.readAnyHeader()
  const first = from.bytes[start] as number
  if ((first & CONSTRUCTED) !== 0) {
    if ((first & CLASS) === 0 && tag !== SEQUENCE && tag !== SET) throw malformed('a string is written in pieces') // X.690 10.2
    const outer = from.end
    from.end = end
    while (from.more) walk(from, depth + 1)
    from.end = outer
    return
  }
  if (tag === (SEQUENCE & ~CONSTRUCTED) || tag === (SET & ~CONSTRUCTED) || tag === 0) throw malformed('a primitive element has a tag that it may not have')
  const type = (first & CLASS) === 0 ? universalTypes.get(tag) : undefined
  if (type === undefined) {
    from.at = end
    return
  }
  from.at = start
  type.read(from)
}

/** Any one element, as its bytes. Only DER gets through, so the bytes may be put into an object of ours. */
export const ANY: Codec<Uint8Array> = {
  name: 'ANY',
  accepts: (tag) => tag >= 0,
  read(from) {
    const start = from.at
    walk(from)
    return from.bytes.subarray(start, from.at)
  },
  write: (to, der) => to.octets(der),
}
