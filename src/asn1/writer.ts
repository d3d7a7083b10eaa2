/**
 * Writes DER from its end to its beginning: when a header is written its length is already known, so nothing is
 * sized twice and nothing is moved.
 *
 * @module
 */

const FIRST_OCTETS = 1024

export class Writer {
  #buffer = new Uint8Array(FIRST_OCTETS)
  #start = FIRST_OCTETS

  /** Octets written so far. Take it before some content, and pass it to {@link header} after. */
  get size(): number {
    return this.#buffer.length - this.#start
  }

  octet(value: number): void {
    this.#reserve(1)
    this.#buffer[--this.#start] = value
  }

  octets(bytes: Uint8Array): void {
    this.#reserve(bytes.length)
    this.#start -= bytes.length
    this.#buffer.set(bytes, this.#start)
  }

  /** Text whose characters are all below 0x80. */
  ascii(text: string): void {
    this.#reserve(text.length)
    for (let i = text.length - 1; i >= 0; i--) this.#buffer[--this.#start] = text.charCodeAt(i)
  }

  /**
   * Puts tag and length before what was written since `mark`.
   *
   * @param tag as {@link Reader.peekTag} gives it
   */
  header(tag: number, mark: number): void {
    const length = this.size - mark
    this.#reserve(9)
    const buffer = this.#buffer
    if (length < 0x80) buffer[--this.#start] = length
    else {
      let count = 0
      for (let rest = length; rest > 0; rest = Math.floor(rest / 256), count++) buffer[--this.#start] = rest & 0xff
      buffer[--this.#start] = 0x80 | count
    }
    if (tag < 0x100) buffer[--this.#start] = tag
    else {
      let number = tag % 2 ** 21
      for (let more = 0; number > 0 || more === 0; number >>>= 7, more = 0x80) buffer[--this.#start] = (number & 0x7f) | more
      buffer[--this.#start] = Math.floor(tag / 2 ** 21)
    }
  }

  /** @returns a copy of everything written; the writer may go on */
  take(): Uint8Array {
    return this.#buffer.slice(this.#start)
  }

  #reserve(count: number): void {
    if (this.#start >= count) return
    const { size } = this
    const larger = new Uint8Array(Math.max(this.#buffer.length * 2, size + count))
    larger.set(this.#buffer.subarray(this.#start), larger.length - size)
    this.#start = larger.length - size
    this.#buffer = larger
  }
}

/** Tag and length alone, for content that is streamed. @param tag low form */
export function encodeHeader(tag: number, length: number): Uint8Array {
  if (length < 0x80) return Uint8Array.of(tag, length)
  const octets: number[] = []
  for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) octets.unshift(rest & 0xff)
  return Uint8Array.of(tag, 0x80 | octets.length, ...octets)
}
