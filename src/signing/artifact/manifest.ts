/**
 * Manifests of JAR files and the signature files beside them: sections of attributes, with the octets of each.
 *
 * Source: JAR File Specification (Java SE 17), "Notes on Manifest and Signature Files".
 *
 * @module
 */
import { concat, utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'

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

export interface Manifest {
  readonly main: Section
  /** By what `Name` says. */
  readonly sections: ReadonlyMap<string, Section>
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
  const found = sectionsIn(octets)
  const [main, ...others] = found
  if (main === undefined) throw badManifest('it is empty')
  const sections = new Map<string, Section>()
  for (const section of others) {
    const name = section.attributes.get('name')?.value
    if (name === undefined) throw badManifest('a section has no name')
    if (sections.has(name)) throw badManifest('a section is there twice')
    sections.set(name, section)
  }
  return { main, sections }
}

function sectionsIn(octets: Uint8Array): readonly Section[] {
  const sections: Section[] = []
  let lines: Uint8Array[] = []
  let begin = 0
  for (let at = 0; at < octets.length;) {
    const end = lineEnd(octets, at)
    const next = end + (octets[end] === CR && octets[end + 1] === LF ? 2 : 1)
    const line = octets.subarray(at, end)
    const isLast = next >= octets.length
    if (line.length > 0) {
      if (lines.length === 0) begin = at
      lines.push(line)
    }
    if (lines.length > 0 && (line.length === 0 || isLast)) {
      sections.push({ octets: octets.subarray(begin, Math.min(next, octets.length)), attributes: attributesIn(lines) })
      lines = []
    }
    at = next
  }
  return sections
}

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
