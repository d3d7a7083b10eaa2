/**
 * Archives of cpio in its ASCII forms with and without sums, as update archives and initial file systems are. Strict: what
 * two readers could see differently is refused.
 *
 * Source: cpio(5) "New ASCII Format" and "New CRC Format"; Linux, Documentation/driver-api/early-userspace/buffer-format.rst.
 *
 * @module
 */
import { concat, utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import type { BlobSource, Range } from '../format.ts'
import { windowed } from './blob.ts'

const HEADER_OCTETS = 110
const FIELD_DIGITS = 8
const FIELDS_AT = 6
const FIELDS = 13
/** Positions of fields behind the magic. */
const fieldAt = { mode: 1, size: 6, nameOctets: 11, sum: 12 } as const
const TRAILER = 'TRAILER!!!'
const REGULAR_FILE = 0o10
const NAME_MAX_OCTETS = 256
/** An update has some tens of files. */
const ENTRIES_MAX = 4096
const ALIGNMENT = 4
/** What cpio fills the end up to. */
const BLOCK_OCTETS = 512

export interface CpioEntry {
  readonly name: string
  /** All of its header but the name. */
  readonly head: string
  readonly data: Range
  /** Where the next entry begins. */
  readonly end: number
  /** Of the octets, in the form that has sums. */
  readonly sum?: number
}

export interface CpioArchive {
  /** In the order in which they stand; the trailer is left out. */
  readonly entries: readonly CpioEntry[]
  /** Behind the trailer. */
  readonly end: number
}

/** @throws TrustError `malformed`, `unsupported`, `tooLarge` */
export async function parseCpio(artifact: BlobSource): Promise<CpioArchive> {
  const source = windowed(artifact)
  const entries: CpioEntry[] = []
  const names = new Set<string>()
  let magic: string | undefined
  for (let at = 0; ;) {
    const entry = await entryAt(source, at)
    magic ??= entry.magic
    if (magic !== entry.magic) throw badCpio('entries are of two forms')
    at = entry.end
    if (entry.name === TRAILER) {
      if (entry.data.length > 0) throw badCpio('its trailer holds something')
      await checkZeros(source, { offset: at, length: source.size - at })
      // nothing but what fills a block
      if (source.size !== at && source.size !== Math.ceil(at / BLOCK_OCTETS) * BLOCK_OCTETS)
        throw badCpio('something stands behind it')
      return { entries, end: at }
    }
    if (entries.length === ENTRIES_MAX)
      throw new TrustError('tooLarge', 'artifactTooMany', { facts: { what: 'entries', limit: ENTRIES_MAX } })
    if (names.has(entry.name)) throw badCpio('a name is there twice')
    if (entry.mode >>> 12 !== REGULAR_FILE) {
      const facts = { format: 'cpio', detail: 'an entry that is no regular file' }
      throw new TrustError('unsupported', 'artifactUnsupported', { facts })
    }
    names.add(entry.name)
    entries.push(entry)
  }
}

async function entryAt(source: BlobSource, at: number): Promise<CpioEntry & { readonly magic: string; readonly mode: number }> {
  const header = await textAt(source, at, HEADER_OCTETS)
  const magic = header.slice(0, FIELDS_AT)
  if ((magic !== '070701' && magic !== '070702') || !/^[0-9a-fA-F]+$/.test(header)) throw badCpio('an entry has no header')
  const field = (name: keyof typeof fieldAt): number => {
    const start = FIELDS_AT + FIELD_DIGITS * fieldAt[name]
    return Number.parseInt(header.slice(start, start + FIELD_DIGITS), 16)
  }
  const nameOctets = field('nameOctets')
  if (nameOctets < 2 || nameOctets > NAME_MAX_OCTETS) throw badCpio('an entry has no usable name')
  const name = await textAt(source, at + HEADER_OCTETS, nameOctets)
  if (!/^[\u0020-\u007e]+\0$/.test(name)) throw badCpio('a name is not of printable ASCII characters')
  const start = aligned(at + HEADER_OCTETS + nameOctets)
  const data = { offset: start, length: field('size') }
  const end = aligned(start + data.length)
  if (end > source.size) throw badCpio('it is cut off')
  await checkZeros(source, { offset: at + HEADER_OCTETS + nameOctets, length: start - at - HEADER_OCTETS - nameOctets })
  await checkZeros(source, { offset: start + data.length, length: end - start - data.length })
  return {
    magic,
    mode: field('mode'),
    name: name.slice(0, -1),
    head: header,
    data,
    end,
    ...(magic === '070702' && { sum: field('sum') }),
  }
}

/** A small entry like another one: what it says beside name, length and sum is the same. */
export function cpioEntryLike(like: Pick<CpioEntry, 'head' | 'sum'>, name: string, content: Uint8Array): Uint8Array {
  const head = cpioEntryHead(like, name, { octets: content.length, sum: cpioSum(content) })
  return concat([head, content, cpioFill(content.length)])
}

/** What stands before the octets of an entry like another one; behind them {@link cpioFill} has to. @param sum of the octets */
export function cpioEntryHead(
  { head, sum: wanted }: Pick<CpioEntry, 'head' | 'sum'>,
  name: string,
  { octets, sum }: { readonly octets: number; readonly sum: number },
): Uint8Array {
  const fields = Array.from({ length: FIELDS }, (_, i) =>
    head.slice(FIELDS_AT + FIELD_DIGITS * i, FIELDS_AT + FIELD_DIGITS * (i + 1)),
  )
  const hex = (value: number): string => value.toString(16).padStart(FIELD_DIGITS, '0')
  fields[fieldAt.size] = hex(octets)
  fields[fieldAt.nameOctets] = hex(name.length + 1)
  fields[fieldAt.sum] = hex(wanted === undefined ? 0 : sum)
  return padded(utf8(`${head.slice(0, FIELDS_AT)}${fields.join('')}${name}\0`))
}

/** Behind so many octets of an entry. */
export const cpioFill = (octets: number): Uint8Array => new Uint8Array(-octets & (ALIGNMENT - 1))

/** @param before of the octets that stand before */
export function cpioSum(octets: Uint8Array, before = 0): number {
  let sum = before
  for (const octet of octets) sum = (sum + octet) | 0
  return sum >>> 0
}

/** What fills the last block of an archive. */
export const cpioPadding = (octets: number): Uint8Array => new Uint8Array((BLOCK_OCTETS - (octets % BLOCK_OCTETS)) % BLOCK_OCTETS)

const aligned = (at: number): number => Math.ceil(at / ALIGNMENT) * ALIGNMENT
const padded = (octets: Uint8Array): Uint8Array => concat([octets, cpioFill(octets.length)])

async function textAt(source: BlobSource, offset: number, length: number): Promise<string> {
  if (offset + length > source.size) throw badCpio('it is cut off')
  return Buffer.from(await source.read(offset, length)).toString('latin1')
}

async function checkZeros(source: BlobSource, { offset, length }: Range): Promise<void> {
  if (length >= BLOCK_OCTETS) throw badCpio('something stands behind it')
  if ((await source.read(offset, length)).some((octet) => octet !== 0)) throw badCpio('what fills it up is not zero')
}

const badCpio = (detail: string): TrustError => new TrustError('malformed', 'badArtifact', { facts: { format: 'cpio', detail } })
