/**
 * A strict cursor over DER: definite lengths in their shortest form, nothing left over.
 *
 * One reader serves a whole object. {@link Reader.enter} narrows it to an element's content and {@link Reader.leave}
 * widens it again, so that reading allocates nothing but the values themselves.
 *
 * Source: ITU-T X.690 (02/2021), sections 8.1 and 10.1.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'

/** Nothing that a stranger sends here is larger; bulk objects (CRLs) are read by functions with a limit of their own. */
const OBJECT_MAX_OCTETS = 1 << 20

export interface ReadLimits {
  /** Refuse anything longer before looking at it. */
  readonly maxOctets?: number
}

export class Reader {
  readonly bytes: Uint8Array
  at = 0
  end: number

  /** @throws TrustError `tooLarge` */
  constructor(bytes: Uint8Array, { maxOctets = OBJECT_MAX_OCTETS }: ReadLimits = {}) {
    if (bytes.length > maxOctets) throw new TrustError('tooLarge', 'derTooLarge', { facts: { limit: maxOctets } })
    // values are views, and a view of a Buffer would be one, whose `slice` does not copy
    this.bytes = bytes instanceof Buffer ? new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length) : bytes
    this.end = bytes.length
  }

  get more(): boolean {
    return this.at < this.end
  }

  /**
   * The next element's tag without moving, or -1 at the end. Tag numbers to 30 give the identifier octet; larger
   * ones give `octet * 2^21 + number`, so that no two tags share a value.
   */
  peekTag(): number {
    if (this.at >= this.end) return -1
    const octet = this.bytes[this.at] as number
    return (octet & 0x1f) === 0x1f ? this.#readHighTag().tag : octet
  }

  /** Reads a header with this very tag. @returns where the content ends; `at` is where it begins */
  readHeader(tag: number, name: string): number {
    const found = this.peekTag()
    if (found < 0) throw malformed(`${name} is missing`)
    if (found !== tag) throw malformed(`expected ${name} (tag ${hexTag(tag)}), found tag ${hexTag(found)}`)
    return this.#readLength(tag < 0x100 ? this.at + 1 : this.#readHighTag().next)
  }

  /** Reads any header. @returns its tag and where the content ends */
  readAnyHeader(): { readonly tag: number; readonly end: number } {
    const tag = this.peekTag()
    return { tag, end: this.readHeader(tag, 'an element') }
  }

  /** Narrows the reader to an element's content. @returns what {@link leave} needs */
  enter(tag: number, name: string): number {
    const outer = this.end
    this.end = this.readHeader(tag, name)
    return outer
  }

  /** @throws TrustError `malformed` when content is left unread */
  leave(outer: number, name: string): void {
    if (this.at !== this.end) throw malformed(`${name} has unknown content`)
    this.end = outer
  }

  /** The rest of the content that was entered, as a view. */
  takeRest(): Uint8Array {
    const rest = this.bytes.subarray(this.at, this.end)
    this.at = this.end
    return rest
  }

  #readLength(from: number): number {
    const { bytes, end } = this
    let at = from
    if (at >= end) throw malformed('a length is missing')
    let length = bytes[at++] as number
    if (length >= 0x80) {
      const count = length & 0x7f
      if (count === 0) throw malformed('an indefinite length is BER') // X.690 10.1
      if (count > 4) throw malformed('a length exceeds 32 bits')
      if (at + count > end) throw malformed('a length is cut short')
      length = 0
      for (let i = 0; i < count; i++) length = length * 256 + (bytes[at++] as number)
      if (length < 0x80 || length < 2 ** (8 * (count - 1))) throw malformed('a length is not in its shortest form')
    }
    if (length > end - at) throw malformed('an element runs past its container')
    this.at = at
    return at + length
  }

  /** X.690 8.1.2.4: base 128, no leading zero group, only for numbers above 30. */
  #readHighTag(): { tag: number; next: number } {
    const { bytes, end } = this
    let at = this.at + 1
    let number = 0
    for (let group = 0; ; group++) {
      if (at >= end) throw malformed('a tag is cut short')
      if (group === 3) throw malformed('a tag number exceeds 21 bits')
      const octet = bytes[at++] as number
      if (group === 0 && octet === 0x80) throw malformed('a tag number is not in its shortest form')
      number = number * 128 + (octet & 0x7f)
      if (octet < 0x80) break
    }
    if (number < 31) throw malformed('a tag number is not in its shortest form')
    return { tag: highTag(bytes[this.at] as number, number), next: at }
  }
}

/** Whether these very octets stand from `at` to `end`; quicker than a view and a comparison. */
export function isAt(bytes: Uint8Array, at: number, end: number, expected: Uint8Array): boolean {
  if (expected.length !== end - at) return false
  for (let i = 0; i < expected.length; i++) if (expected[i] !== bytes[at + i]) return false
  return true
}

export const malformed = (detail: string): TrustError => new TrustError('malformed', 'notDER', { facts: { detail } })

const HIGH_TAG = 2 ** 21

/** A tag with a number above 30, as {@link Reader.peekTag} gives it. */
export const highTag = (octet: number, number: number): number => octet * HIGH_TAG + number
/** Class, form and, up to 30, number. */
export const firstOctet = (tag: number): number => (tag < 0x100 ? tag : Math.floor(tag / HIGH_TAG))

/** The number of a high tag. */
export const tagNumber = (tag: number): number => tag % HIGH_TAG

/** A tag as people read it in a dump; a high tag number stands beside its first octet. */
export function hexTag(tag: number): string {
  if (tag < 0) return 'nothing'
  const octet = `0x${firstOctet(tag).toString(16).padStart(2, '0')}`
  return tag < 0x100 ? octet : `${octet} ${tagNumber(tag)}`
}
