/**
 * DER as a tree that can be broken and written again: the opposite of `src/asn1`, it writes whatever it is told.
 *
 * Octet and bit strings that hold DER are opened too, so that extension values and keys can be reached.
 *
 * @module
 */
import { concat } from '#base/bytes.ts'

export interface Element {
  /** Identifier octets. */
  tag: Uint8Array
  /** Length octets to write instead of the right ones. */
  length?: Uint8Array
  /** Octets before the members: the count of unused bits in a BIT STRING that holds DER. */
  before: Uint8Array
  /** What it holds, where that is DER. */
  members?: Element[]
  /** What it holds, where it is not. */
  content: Uint8Array
  /** Octets after the members: end of contents. */
  after: Uint8Array
}

const EMPTY = new Uint8Array()
const BIT_STRING = 0x03
const OCTET_STRING = 0x04
const CONSTRUCTED = 0x20

export const primitive = (tag: number, content: Uint8Array = EMPTY): Element => ({
  tag: Uint8Array.of(tag),
  before: EMPTY,
  content,
  after: EMPTY,
})

export const constructed = (tag: number, members: Element[]): Element => ({ ...primitive(tag), members })

/** @returns the elements that fill `bytes` exactly, or undefined */
export function readElements(bytes: Uint8Array): Element[] | undefined {
  const found: Element[] = []
  for (let at = 0; at < bytes.length;) {
    const start = at
    const first = bytes[at++] as number
    if ((first & 0x1f) === 0x1f) while (((bytes[at++] ?? 0) & 0x80) !== 0);
    const tag = bytes.subarray(start, at)
    let length = bytes[at++]
    if (length === undefined || length > 0x84) return undefined
    if (length >= 0x80) {
      let rest = length & 0x7f
      for (length = 0; rest > 0; rest--) length = length * 256 + (bytes[at++] ?? 0)
    }
    if (length > bytes.length - at) return undefined
    found.push(opened(tag, bytes.subarray(at, at + length)))
    at += length
  }
  return found
}

function opened(tag: Uint8Array, content: Uint8Array): Element {
  const [first = 0] = tag
  const element: Element = { tag, before: EMPTY, content, after: EMPTY }
  const isBits = first === BIT_STRING && content[0] === 0
  if ((first & CONSTRUCTED) === 0 && first !== OCTET_STRING && !isBits) return element
  const inner = isBits ? content.subarray(1) : content
  // an octet string opens only where its content begins like something structured, for chance would have it often
  if ((first & CONSTRUCTED) === 0 && ![0x30, 0x03, 0x04].includes(inner[0] ?? 0)) return element
  const members = readElements(inner)
  if (members === undefined) return element
  return { ...element, members, before: isBits ? content.subarray(0, 1) : EMPTY }
}

export const writeElements = (elements: readonly Element[]): Uint8Array => concat(partsOf(elements, []))

export const writeElement = (element: Element): Uint8Array => writeElements([element])

/** Octets within the element's length. */
export const sizeOf = (element: Element): number => bodyOf(element, []).reduce((sum, { length }) => sum + length, 0)

function partsOf(elements: readonly Element[], parts: Uint8Array[]): Uint8Array[] {
  for (const element of elements) {
    const header = parts.length + 1
    parts.push(element.tag, EMPTY)
    bodyOf(element, parts)
    parts[header] = element.length ?? shortestLength(parts.slice(header + 1).reduce((sum, { length }) => sum + length, 0))
  }
  return parts
}

function bodyOf({ before, members, content, after }: Element, parts: Uint8Array[]): Uint8Array[] {
  parts.push(before)
  if (members === undefined) parts.push(content)
  else partsOf(members, parts)
  parts.push(after)
  return parts
}

export function shortestLength(size: number): Uint8Array {
  if (size < 0x80) return Uint8Array.of(size)
  const octets = lengthOctets(size)
  return Uint8Array.of(0x80 | octets.length, ...octets)
}

/** The same length in more octets than it needs. */
export function paddedLength(size: number, zeros: number): Uint8Array {
  const octets = [...Array<number>(zeros).fill(0), ...lengthOctets(size)]
  return Uint8Array.of(0x80 | octets.length, ...octets)
}

function lengthOctets(size: number): number[] {
  const octets: number[] = []
  for (let rest = size; rest > 0 || octets.length === 0; rest = Math.floor(rest / 256)) octets.unshift(rest & 0xff)
  return octets
}

/** Every element with the list it stands in, from the outside in. */
export interface Place {
  readonly list: Element[]
  readonly at: number
  readonly element: Element
  readonly depth: number
}

export function places(list: Element[], depth = 0, found: Place[] = []): Place[] {
  for (const [at, element] of list.entries()) {
    found.push({ list, at, element, depth })
    if (element.members !== undefined) places(element.members, depth + 1, found)
  }
  return found
}

/** Breaking the copy leaves the original as it is; octets are shared, since they are replaced and never written to. */
export const copyElement = (element: Element): Element =>
  element.members === undefined ? { ...element } : { ...element, members: element.members.map(copyElement) }
