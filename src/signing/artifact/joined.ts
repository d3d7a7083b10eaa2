/**
 * What is signed and lies nowhere as such: some octets before an artifact, or an artifact as text, read as if it were there.
 *
 * @module
 */
import { concat } from '#base/bytes.ts'
import { toBase64url } from '#jose/base64url.ts'
import type { BlobSource, Piece, Range } from '../format.ts'
import { bytesSource } from './blob.ts'

/** One after the other. */
export function joined(...parts: readonly (Uint8Array | BlobSource)[]): BlobSource {
  const sources = parts.map((part) => (part instanceof Uint8Array ? bytesSource(part) : part))
  const size = sources.reduce((sum, source) => sum + source.size, 0)
  return {
    size,
    async read(offset, length) {
      if (offset < 0 || length < 0 || offset + length > size)
        throw new RangeError(`octets ${offset} to ${offset + length} of ${size}`)
      const found: Uint8Array[] = []
      let start = 0
      for (const source of sources) {
        const from = Math.max(offset - start, 0)
        const to = Math.min(offset + length - start, source.size)
        if (from < to) found.push(await source.read(from, to - from))
        start += source.size
      }
      return found.length === 1 ? (found[0] as Uint8Array) : concat(found)
    },
  }
}

/** A new artifact before it is written: pieces of it and of the old one. */
export const piecesSource = (source: BlobSource, pieces: readonly Piece[]): BlobSource =>
  joined(...pieces.map((piece) => (piece instanceof Uint8Array ? piece : partOf(source, piece))))

const partOf = (source: BlobSource, { offset, length }: Range): BlobSource => ({
  size: length,
  async read(at, count) {
    if (at < 0 || count < 0 || at + count > length) throw new RangeError(`octets ${at} to ${at + count} of ${length}`)
    return source.read(offset + at, count)
  },
})

/** The same as base64url without padding (RFC 7515, 2): three octets are four characters. */
export function base64urlOf(source: BlobSource): BlobSource {
  const size = Math.ceil((source.size * 4) / 3)
  return {
    size,
    async read(offset, length) {
      if (offset < 0 || length < 0 || offset + length > size)
        throw new RangeError(`octets ${offset} to ${offset + length} of ${size}`)
      const first = Math.floor(offset / 4)
      const last = Math.ceil((offset + length) / 4)
      const start = first * 3
      const octets = await source.read(start, Math.min(last * 3, source.size) - start)
      const text = toBase64url(octets)
      return new TextEncoder().encode(text.slice(offset - first * 4, offset - first * 4 + length))
    },
  }
}
