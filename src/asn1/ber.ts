/**
 * BER made DER where a real producer writes no other: indefinite lengths, long lengths, octet strings in pieces.
 *
 * Programs that stream CMS write it so (`openssl cms -stream`, Java, many SCEP clients). What is signed as DER by its
 * standard (certificates, CRLs, signed attributes) is not made DER here: it stays as it was written, for a strict reader
 * to judge. Everything else that BER allows (strings of other types in pieces, TRUE as 01, written defaults, sets in any
 * order) goes through unchanged too, and the strict reader refuses it.
 *
 * Source: ITU-T X.690 (02/2021), 8.1.3, 8.7.3 and 10.
 *
 * @module
 */
import { concat } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'

/** Messages with their content; larger content is signed detached and encrypted in a stream, and neither is BER. */
const BER_MAX_OCTETS = 16 << 20
/** As deep as `ANY` goes. */
const DEPTH_MAX = 32
/** OpenSSL writes pieces of 1,000 octets or more: the largest message in its smallest pieces. */
const SEGMENTS_MAX = 1 << 15

/** Identifier octets in hex from the outside in, `30/a0/30`. */
type Path = string

export interface BERForm {
  readonly maxOctets?: number
  /** Where an octet string stands under an implicit tag: in pieces it looks like anything constructed. */
  readonly octetStrings?: ReadonlySet<Path>
  /** What is kept octet by octet. */
  readonly verbatim?: ReadonlySet<Path>
}

/** @throws TrustError `malformed`, `tooLarge` */
export function berToDER(ber: Uint8Array, { maxOctets = BER_MAX_OCTETS, ...form }: BERForm = {}): Uint8Array {
  if (ber.length > maxOctets) throw new TrustError('tooLarge', 'derTooLarge', { facts: { limit: maxOctets } })
  const run: Run = {
    bytes: ber,
    parts: [],
    segments: 0,
    octetStrings: form.octetStrings ?? NONE,
    verbatim: form.verbatim ?? NONE,
  }
  const { next } = element(run, 0, ber.length, '', 0)
  if (next !== ber.length) throw notBER('the element is followed by other bytes')
  return concat(run.parts)
}

const NONE: ReadonlySet<Path> = new Set()

interface Run {
  readonly bytes: Uint8Array
  /** What is to be written; headers are put in their place when the size of what follows is known. */
  readonly parts: Uint8Array[]
  segments: number
  readonly octetStrings: ReadonlySet<Path>
  readonly verbatim: ReadonlySet<Path>
}

interface Header {
  /** Identifier octets. */
  readonly tag: Uint8Array
  readonly contentAt: number
  /** Where the content ends; undefined when its length is indefinite. */
  readonly end: number | undefined
}

interface Written {
  /** Octets put into the parts. */
  readonly size: number
  /** Where reading goes on. */
  readonly next: number
}

const CONSTRUCTED = 0x20
const CONTEXT = 0x80
const OCTET_STRING = 0x04
const SEQUENCE = 0x30
const SET = 0x31

function element(run: Run, at: number, limit: number, above: Path, depth: number): Written {
  if (depth > DEPTH_MAX) throw new TrustError('tooLarge', 'derTooDeep', { facts: { limit: DEPTH_MAX } })
  const { tag, contentAt, end } = readHeader(run.bytes, at, limit)
  const [octet = 0] = tag
  const path = above === '' ? tag.toHex() : `${above}/${tag.toHex()}`
  if (run.verbatim.has(path)) {
    if (end === undefined) throw notBER('what must be DER has an indefinite length')
    return put(run, run.bytes.subarray(at, end), end)
  }
  const slot = run.parts.push(tag) // the header's place
  let content: Written
  let written: Uint8Array = tag
  if ((octet & CONSTRUCTED) === 0) content = put(run, run.bytes.subarray(contentAt, end), end as number)
  else if (octet === (OCTET_STRING | CONSTRUCTED) || run.octetStrings.has(path)) {
    written = Uint8Array.of(octet & ~CONSTRUCTED)
    content = pieces(run, contentAt, limit, end, depth)
  } else {
    if (octet < CONTEXT && octet !== SEQUENCE && octet !== SET) throw notBER('a string that is not of octets is in pieces')
    content = members(run, contentAt, limit, end, (child, childLimit) => element(run, child, childLimit, path, depth + 1))
  }
  const header = concat([written, lengthOctets(content.size)])
  run.parts[slot - 1] = header
  return { size: header.length + content.size, next: content.next }
}

function put(run: Run, octets: Uint8Array, next: number): Written {
  run.parts.push(octets)
  return { size: octets.length, next }
}

/** All elements up to the end of the content, or up to the end-of-contents octets. */
function members(
  { bytes }: Run,
  contentAt: number,
  limit: number,
  end: number | undefined,
  read: (at: number, limit: number) => Written,
): Written {
  let size = 0
  let at = contentAt
  for (;;) {
    if (at === end) return { size, next: at }
    if (end === undefined && bytes[at] === 0 && bytes[at + 1] === 0 && at + 1 < limit) return { size, next: at + 2 }
    const one = read(at, end ?? limit)
    size += one.size
    at = one.next
  }
}

/** X.690 8.7.3: octet strings within, which may be in pieces themselves. */
function pieces(run: Run, contentAt: number, limit: number, end: number | undefined, depth: number): Written {
  if (depth > DEPTH_MAX) throw new TrustError('tooLarge', 'derTooDeep', { facts: { limit: DEPTH_MAX } })
  return members(run, contentAt, limit, end, (at, pieceLimit) => {
    if (++run.segments > SEGMENTS_MAX) throw new TrustError('tooLarge', 'derTooLarge', { facts: { limit: SEGMENTS_MAX } })
    const piece = readHeader(run.bytes, at, pieceLimit)
    const [octet] = piece.tag
    if (octet === (OCTET_STRING | CONSTRUCTED)) return pieces(run, piece.contentAt, pieceLimit, piece.end, depth + 1)
    if (octet !== OCTET_STRING) throw notBER('an octet string has a piece of another type')
    return put(run, run.bytes.subarray(piece.contentAt, piece.end), piece.end as number)
  })
}

function readHeader(bytes: Uint8Array, start: number, limit: number): Header {
  let at = start
  const first = bytes[at++]
  if (first === undefined || start >= limit) throw notBER('an element is missing')
  if (first === 0) throw notBER('end-of-contents octets stand where nothing ends')
  if ((first & 0x1f) === 0x1f) {
    do if (at - start === 4 || at >= limit) throw notBER('a tag is cut short or too long')
    while (((bytes[at++] as number) & 0x80) !== 0)
  }
  const tag = bytes.subarray(start, at)
  if (at >= limit) throw notBER('a length is missing')
  let length = bytes[at++] as number
  if (length === 0x80) {
    if ((first & CONSTRUCTED) === 0) throw notBER('a primitive element has an indefinite length')
    return { tag, contentAt: at, end: undefined }
  }
  if (length > 0x80) {
    const count = length & 0x7f
    if (count > 8 || at + count > limit) throw notBER('a length is cut short or too long')
    length = 0
    for (let i = 0; i < count; i++) length = length * 256 + (bytes[at++] as number)
  }
  if (length > limit - at) throw notBER('an element runs past its container')
  return { tag, contentAt: at, end: at + length }
}

function lengthOctets(size: number): Uint8Array {
  if (size < 0x80) return Uint8Array.of(size)
  const octets: number[] = []
  for (let rest = size; rest > 0; rest >>>= 8) octets.unshift(rest & 0xff)
  return Uint8Array.of(0x80 | octets.length, ...octets)
}

const notBER = (detail: string): TrustError => new TrustError('malformed', 'notBER', { facts: { detail } })
