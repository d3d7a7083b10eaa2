/**
 * Writes DER from its end to its beginning: when a header is written its length is already known, so nothing is
 * sized twice and nothing is moved.
 *
 * @module
 */
import { firstOctet, isAt, tagNumber } from './reader.ts'

/** Holds a certificate with its extensions. */
const FIRST_OCTETS = 2048

/** Buffers at rest, since a new one costs more than most elements do; one per nested `encode`. */
const idleBuffers: Uint8Array[] = []
const IDLE_MAX = 8
/** A buffer that grew for a CRL is not kept. */
const KEPT_MAX_OCTETS = 1 << 16

/** Shorter octet strings are copied faster by a loop than by a call. */
const LOOP_OCTETS = 16

export class Writer {
  #buffer = idleBuffers.pop() ?? new Uint8Array(FIRST_OCTETS)
  #start = this.#buffer.length

  /** Octets written so far. Take it before some content, and pass it to {@link header} after. */
  get size(): number {
    return this.#buffer.length - this.#start
  }

  octet(value: number): void {
    if (this.#start === 0) this.#grow(1)
    this.#buffer[--this.#start] = value
  }

  octets(bytes: Uint8Array): void {
    const { length } = bytes
    if (this.#start < length) this.#grow(length)
    const start = (this.#start -= length)
    const buffer = this.#buffer
    if (length > LOOP_OCTETS) buffer.set(bytes, start)
    else for (let i = 0; i < length; i++) buffer[start + i] = bytes[i] as number
  }

  /** Text whose characters are all below 0x100, one octet each. */
  latin1(text: string): void {
    const { length } = text
    if (this.#start < length) this.#grow(length)
    const start = (this.#start -= length)
    const buffer = this.#buffer
    for (let i = 0; i < length; i++) buffer[start + i] = text.charCodeAt(i)
  }

  /**
   * Puts tag and length before what was written since `mark`.
   *
   * @param tag as {@link Reader.peekTag} gives it
   */
  header(tag: number, mark: number): void {
    this.tagAndLength(tag, this.size - mark)
  }

  /** @param length below 2^32 */
  tagAndLength(tag: number, length: number): void {
    if (this.#start < HEADER_MAX_OCTETS) this.#grow(HEADER_MAX_OCTETS)
    const buffer = this.#buffer
    let at = this.#start
    if (length < 0x80) buffer[--at] = length
    else {
      let count = 0
      for (let rest = length; rest > 0; rest >>>= 8, count++) buffer[--at] = rest
      buffer[--at] = 0x80 | count
    }
    if (tag >= 0x100) {
      for (let number = tagNumber(tag), more = 0; number > 0; number >>>= 7, more = 0x80) buffer[--at] = (number & 0x7f) | more
    }
    buffer[--at] = firstOctet(tag)
    this.#start = at
  }

  /** Whether exactly these octets were written since `mark`. */
  wrote(mark: number, expected: Uint8Array): boolean {
    return isAt(this.#buffer, this.#start, this.#buffer.length - mark, expected)
  }

  /** Takes back what was written since `mark`. */
  drop(mark: number): void {
    this.#start = this.#buffer.length - mark
  }

  /** @returns a copy of everything written; the writer is empty then */
  take(): Uint8Array {
    const taken = this.#buffer.slice(this.#start)
    if (this.#buffer.length <= KEPT_MAX_OCTETS && idleBuffers.length < IDLE_MAX) idleBuffers.push(this.#buffer)
    this.#buffer = new Uint8Array()
    this.#start = 0
    return taken
  }

  #grow(count: number): void {
    const { size } = this
    const larger = new Uint8Array(Math.max(this.#buffer.length * 2, size + count, FIRST_OCTETS))
    larger.set(this.#buffer.subarray(this.#start), larger.length - size)
    this.#start = larger.length - size
    this.#buffer = larger
  }
}

/** Four octets of tag, five of length: the most that {@link Reader} reads. */
const HEADER_MAX_OCTETS = 9

/** Tag and length alone, for content that is streamed. @param tag as {@link Reader.peekTag} gives it */
export function encodeHeader(tag: number, length: number): Uint8Array {
  const writer = new Writer()
  writer.tagAndLength(tag, length)
  return writer.take()
}
