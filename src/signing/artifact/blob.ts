/**
 * Artifacts read by ranges: octets in memory, open files, and new artifacts made of pieces of both.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import type { FileHandle } from 'node:fs/promises'
import { TrustError } from '#base/errors.ts'
import type { BlobSource, Piece, Range } from '../format.ts'

/** As much as is read at once: larger reads are no quicker, and a few of them in flight stay far below the memory bound. */
const CHUNK_OCTETS = 1 << 20

/** What a signature over the message itself needs whole: the algorithms cannot take it in pieces. */
export const MESSAGE_MAX_OCTETS = 16 << 20

export const bytesSource = (bytes: Uint8Array): BlobSource => ({
  size: bytes.length,
  async read(offset, length) {
    checkWithin(bytes.length, offset, length)
    return bytes.subarray(offset, offset + length)
  },
})

/**
 * @param size as the file had when it was opened
 * @throws TrustError `conflict` from a read when the file has become shorter
 */
export const fileSource = (file: FileHandle, size: number): BlobSource => ({
  size,
  async read(offset, length) {
    checkWithin(size, offset, length)
    const octets = new Uint8Array(Buffer.allocUnsafeSlow(length).buffer) // of its own, and not filled with zeros before
    for (let at = 0; at < length;) {
      const { bytesRead } = await file.read(octets, at, length - at, offset + at)
      if (bytesRead === 0) throw new TrustError('conflict', 'artifactCut')
      at += bytesRead
    }
    return octets
  },
})

function checkWithin(size: number, offset: number, length: number): void {
  const fits =
    Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0 && length <= size - offset
  if (!fits) throw new RangeError(`octets ${offset} to ${offset + length} of ${size} were read`)
}

export const whole = ({ size }: BlobSource): Range => ({ offset: 0, length: size })

/** The octets of a range in order, a chunk at a time; the next is read while this one is used. */
export async function* chunksOf(source: BlobSource, { offset, length }: Range = whole(source)): AsyncGenerator<Uint8Array> {
  const end = offset + length
  const readAt = (at: number): Promise<Uint8Array> => {
    const read = source.read(at, Math.min(CHUNK_OCTETS, end - at))
    read.catch(() => {}) // awaited below, unless whoever reads stops before
    return read
  }
  let next = offset < end ? readAt(offset) : undefined
  for (let at = offset; next !== undefined;) {
    const chunk = await next
    at += chunk.length
    next = at < end ? readAt(at) : undefined
    yield chunk
  }
}

/** A new artifact, piece by piece. */
export async function* octetsOf(source: BlobSource, pieces: readonly Piece[]): AsyncGenerator<Uint8Array> {
  for (const piece of pieces) {
    if (piece instanceof Uint8Array) yield piece
    else yield* chunksOf(source, piece)
  }
}

/** Of a file of any length. */
export async function sha256Of(source: BlobSource): Promise<Uint8Array> {
  const hash = createHash('sha256')
  for await (const chunk of chunksOf(source)) hash.update(chunk)
  return new Uint8Array(hash.digest())
}

export const sizeOf = (pieces: readonly Piece[]): number => pieces.reduce((sum, { length }) => sum + length, 0)

/** The same artifact for whoever reads many small ranges in order: they come from one larger read. */
export function windowed(source: BlobSource): BlobSource {
  let window: { readonly offset: number; readonly octets: Promise<Uint8Array> } | undefined
  return {
    size: source.size,
    async read(offset, length) {
      if (length > CHUNK_OCTETS / 2) return source.read(offset, length)
      if (window === undefined || offset < window.offset || offset + length > window.offset + CHUNK_OCTETS) {
        checkWithin(source.size, offset, length)
        window = { offset, octets: source.read(offset, Math.min(CHUNK_OCTETS, source.size - offset)) }
      }
      const { offset: start, octets } = window
      checkWithin(source.size, offset, length)
      return (await octets).subarray(offset - start, offset - start + length)
    },
  }
}

/** All of a small part. @throws TrustError `tooLarge` before anything is read */
export async function readWhole(source: BlobSource, what: string, limit: number): Promise<Uint8Array> {
  if (source.size > limit) throw new TrustError('tooLarge', 'artifactPartTooLarge', { facts: { what, limit } })
  return source.read(0, source.size)
}
