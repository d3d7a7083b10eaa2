/**
 * The signing block of an APK: what lies between its entries and its directory, and the structures in it.
 *
 * Numbers are little-endian; nearly everything has its length in four octets before it.
 *
 * Source: Android, APK Signature Scheme v2, "APK Signing Block" and "Format"; v3, "Format".
 *
 * @module
 */
import type { SignatureAlgorithmId } from '#algorithms/table.ts'
import { concat } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import type { BlobSource, Range } from '../format.ts'

const MAGIC = '41504b2053696720426c6f636b203432' // "APK Sig Block 42"
const MAGIC_OCTETS = 16
const SIZE_OCTETS = 8
/** Ten signers with long chains; it is held in memory. */
const BLOCK_MAX_OCTETS = 1 << 20
const ITEMS_MAX = 64

/** What is known of Android's algorithms here; not DSA, and not those that make a tree of digests for fs-verity. */
export const apkAlgorithms = [
  { id: 0x0101, signature: 'rsa-pss-sha256', digest: 'sha256' },
  { id: 0x0102, signature: 'rsa-pss-sha512', digest: 'sha512' },
  { id: 0x0103, signature: 'rsa-sha256', digest: 'sha256' },
  { id: 0x0104, signature: 'rsa-sha512', digest: 'sha512' },
  { id: 0x0201, signature: 'ecdsa-sha256', digest: 'sha256' },
  { id: 0x0202, signature: 'ecdsa-sha512', digest: 'sha512' },
] as const satisfies readonly { readonly id: number; readonly signature: SignatureAlgorithmId; readonly digest: string }[]
export type APKAlgorithm = (typeof apkAlgorithms)[number]

export interface SigningBlock {
  /** The whole of it in the file; of no length when there is none. */
  readonly range: Range
  /** By their identifiers. */
  readonly values: ReadonlyMap<number, Uint8Array>
}

/** @param end where the directory begins @throws TrustError `malformed`, `tooLarge` */
export async function readSigningBlock(source: BlobSource, end: number): Promise<SigningBlock> {
  const none = { range: { offset: end, length: 0 }, values: new Map<number, Uint8Array>() }
  const footer = SIZE_OCTETS + MAGIC_OCTETS
  if (end < footer + SIZE_OCTETS) return none
  const tail = await source.read(end - footer, footer)
  if (tail.subarray(SIZE_OCTETS).toHex() !== MAGIC) return none
  const size = sizeAt(tail, 0)
  if (size < footer || size + SIZE_OCTETS > end) throw badAPK('its signing block has no usable length')
  if (size > BLOCK_MAX_OCTETS)
    throw new TrustError('tooLarge', 'artifactPartTooLarge', { facts: { what: 'its signing block', limit: BLOCK_MAX_OCTETS } })
  const range = { offset: end - size - SIZE_OCTETS, length: size + SIZE_OCTETS }
  const block = await source.read(range.offset, range.length)
  if (sizeAt(block, 0) !== size) throw badAPK('its signing block has two lengths')
  const values = new Map<number, Uint8Array>()
  const pairs = block.subarray(SIZE_OCTETS, block.length - footer)
  for (let at = 0; at < pairs.length;) {
    if (values.size === ITEMS_MAX || pairs.length - at < SIZE_OCTETS + 4) throw badAPK('its signing block is cut short')
    const length = sizeAt(pairs, at)
    const next = at + SIZE_OCTETS + length
    if (length < 4 || next > pairs.length) throw badAPK('its signing block is cut short')
    const id = viewOf(pairs).getUint32(at + SIZE_OCTETS, true)
    if (values.has(id)) throw badAPK('its signing block has a part twice')
    values.set(id, pairs.subarray(at + SIZE_OCTETS + 4, next))
    at = next
  }
  return { range, values }
}

export function encodeSigningBlock(values: ReadonlyMap<number, Uint8Array>): Uint8Array {
  const pairs = [...values].flatMap(([id, value]) => [size64(value.length + 4), uint32(id), value])
  const size = size64(pairs.reduce((sum, { length }) => sum + length, SIZE_OCTETS + MAGIC_OCTETS))
  return concat([size, ...pairs, size, Uint8Array.fromHex(MAGIC)])
}

/** Reads structures one after another. */
export interface BlockReader {
  readonly more: boolean
  uint32(): number
  /** What has its length before it. */
  prefixed(): Uint8Array
  rest(): Uint8Array
}

export function blockReader(octets: Uint8Array): BlockReader {
  const view = viewOf(octets)
  let at = 0
  const take = (length: number): number => {
    if (length > octets.length - at) throw badAPK('a part of its signing block is cut short')
    at += length
    return at - length
  }
  const uint32At = (): number => view.getUint32(take(4), true)
  return {
    get more() {
      return at < octets.length
    },
    uint32: uint32At,
    prefixed() {
      const length = uint32At()
      const from = take(length)
      return octets.subarray(from, from + length)
    },
    rest: () => octets.subarray(take(octets.length - at)),
  }
}

/** A sequence of parts that each have their length before them. */
export function prefixedIn(octets: Uint8Array): readonly Uint8Array[] {
  const from = blockReader(octets)
  const parts: Uint8Array[] = []
  while (from.more) {
    if (parts.length === ITEMS_MAX) throw badAPK('its signing block has more parts than any in use')
    parts.push(from.prefixed())
  }
  return parts
}

export const uint32 = (value: number): Uint8Array => {
  const octets = new Uint8Array(4)
  viewOf(octets).setUint32(0, value, true)
  return octets
}
export const prefixed = (...parts: readonly Uint8Array[]): Uint8Array => {
  const content = concat(parts)
  return concat([uint32(content.length), content])
}

function size64(value: number): Uint8Array {
  const octets = new Uint8Array(SIZE_OCTETS)
  viewOf(octets).setBigUint64(0, BigInt(value), true)
  return octets
}
const sizeAt = (octets: Uint8Array, at: number): number => Number(viewOf(octets).getBigUint64(at, true))
const viewOf = ({ buffer, byteOffset, length }: Uint8Array): DataView => new DataView(buffer, byteOffset, length)

export const badAPK = (detail: string): TrustError =>
  new TrustError('malformed', 'badArtifact', { facts: { format: 'APK', detail } })
