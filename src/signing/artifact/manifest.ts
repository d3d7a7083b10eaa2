/**
 * Manifests of JAR files and the signature files beside them: sections of attributes, with the octets of each.
 *
 * Source: JAR File Specification (Java SE 17), "Notes on Manifest and Signature Files".
 *
 * @module
 */
import { concat, utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import type { Range } from '../format.ts'

export interface Section {
  /** As it stands, with the empty line that ends it. */
  readonly octets: Uint8Array
  /** By name in lower case, since names do not differ by case. */
  readonly attributes: ReadonlyMap<string, Attribute>
}

export interface Attribute {
  /** As it is written. */
  readonly name: string
  readonly value: string
}

/** Sections are cut out when they are asked for: there may be one for each of a hundred thousand entries. */
export interface Manifest {
  readonly main: Section
  /** What `Name` says of each other section, in their order. */
  readonly names: ReadonlySet<string>
  section(name: string): Section | undefined
}

/** Of a line, without what ends it. */
const LINE_MAX_OCTETS = 72
/** A name may be written over many lines, but not over more than a name of a ZIP entry needs. */
const VALUE_MAX_OCTETS = 64 << 10
const CR = 0x0d
const LF = 0x0a
const SPACE = 0x20

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** @throws TrustError `malformed`, also for a section or an attribute that is there twice */
export function parseManifest(octets: Uint8Array): Manifest {
  let main: Section | undefined
  const found = new Map<string, Range>()
  for (const range of rangesIn(octets)) {
    const section = sectionAt(octets, range)
    if (main === undefined) {
      main = section
      continue
    }
    const name = section.attributes.get('name')?.value
    if (name === undefined) throw badManifest('a section has no name')
    if (found.has(name)) throw badManifest('a section is there twice')
    found.set(name, range)
  }
  if (main === undefined) throw badManifest('it is empty')
  return {
    main,
    names: new Set(found.keys()),
    section(name) {
      const range = found.get(name)
      return range && sectionAt(octets, range)
    },
  }
}

/** Where sections lie, with the empty line that ends each. The first may be nothing but that line. */
function* rangesIn(octets: Uint8Array): Generator<Range> {
  let begin: number | undefined
  for (let at = 0; at < octets.length;) {
    const end = lineEnd(octets, at)
    const next = afterLine(octets, end)
    if (end > at || at === 0) begin ??= at
    if (begin !== undefined && (end === at || next === octets.length)) {
      yield { offset: begin, length: next - begin }
      begin = undefined
    }
    at = next
  }
}

function sectionAt(octets: Uint8Array, { offset, length }: Range): Section {
  const section = octets.subarray(offset, offset + length)
  const lines: Uint8Array[] = []
  for (let at = 0; at < length;) {
    const end = lineEnd(section, at)
    if (end > at) lines.push(section.subarray(at, end))
    at = afterLine(section, end)
  }
  return { octets: section, attributes: attributesIn(lines) }
}

const afterLine = (octets: Uint8Array, end: number): number =>
  Math.min(octets.length, end + (octets[end] === CR && octets[end + 1] === LF ? 2 : 1))

function lineEnd(octets: Uint8Array, from: number): number {
  let at = from
  while (at < octets.length && octets[at] !== CR && octets[at] !== LF) at++
  return at
}

function attributesIn(lines: readonly Uint8Array[]): ReadonlyMap<string, Attribute> {
  const attributes = new Map<string, Attribute>()
  let [written, size] = [[] as Uint8Array[], 0]
  const take = (): void => {
    if (written.length === 0) return
    const [, name, value] = /^([A-Za-z0-9][A-Za-z0-9_-]*): (.*)$/s.exec(textOf(concat(written))) ?? []
    if (name === undefined || value === undefined) throw badManifest('a line is no attribute')
    if (attributes.has(name.toLowerCase())) throw badManifest('an attribute is there twice')
    attributes.set(name.toLowerCase(), { name, value })
  }
  for (const line of lines) {
    const goesOn = line[0] === SPACE
    if (goesOn && written.length === 0) throw badManifest('a section begins within an attribute')
    if (!goesOn) {
      take()
      ;[written, size] = [[], 0]
    }
    const part = goesOn ? line.subarray(1) : line
    written.push(part)
    size += part.length
    if (size > VALUE_MAX_OCTETS) throw badManifest('an attribute is longer than any in use')
  }
  take()
  return attributes
}

/** Lines end within characters, so text is looked at when its lines are joined. */
function textOf(octets: Uint8Array): string {
  try {
    const text = decoder.decode(octets)
    if (text.includes('\0')) throw badManifest('an attribute has a NUL')
    return text
  } catch (error) {
    if (error instanceof TrustError) throw error
    throw badManifest('it is not UTF-8')
  }
}

/** A section with the empty line that ends it. */
export const encodeSection = (attributes: readonly Attribute[]): Uint8Array =>
  concat([...attributes.flatMap(({ name, value }) => linesOf(`${name}: ${value}`)), CRLF])

const CRLF = utf8('\r\n')

/** In lines of 72 octets, of which the first of all but the first is a space. */
function linesOf(text: string): readonly Uint8Array[] {
  const octets = utf8(text)
  const lines = [octets.subarray(0, LINE_MAX_OCTETS - 2), CRLF]
  for (let at = LINE_MAX_OCTETS - 2; at < octets.length; at += LINE_MAX_OCTETS - 3)
    lines.push(Uint8Array.of(SPACE), octets.subarray(at, at + LINE_MAX_OCTETS - 3), CRLF)
  return lines
}

const badManifest = (detail: string): TrustError =>
  new TrustError('malformed', 'badArtifact', { facts: { format: 'JAR', detail: `its manifest or signature file: ${detail}` } })
