/**
 * ZIP files, for formats that sign what is in them. Strict: every octet belongs to one entry or to the directory, both
 * descriptions of an entry agree, and no name could mean two things; programs that read ZIP files differ in all of these.
 *
 * Not read: ZIP64 (more than 4 GB or 65,534 entries), encryption, other methods than stored and deflated, comments of the
 * file, anything before, between or behind the entries.
 *
 * Source: PKWARE APPNOTE.TXT 6.3.10, 4.3 and 4.4.
 *
 * @module
 */
import { crc32, createInflateRaw, inflateRawSync } from 'node:zlib'
import { utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import type { BlobSource, Range } from '../format.ts'
import { chunksOf } from './blob.ts'

const END_SIGNATURE = 0x06054b50
const DIRECTORY_SIGNATURE = 0x02014b50
const LOCAL_SIGNATURE = 0x04034b50
const DESCRIPTOR_SIGNATURE = 0x08074b50
const END_OCTETS = 22
const DIRECTORY_HEADER_OCTETS = 46
const LOCAL_HEADER_OCTETS = 30
/** 65,534 entries with names of 900 octets; it is held in memory. */
const DIRECTORY_MAX_OCTETS = 64 << 20
const NAME_MAX_OCTETS = 4096
/** What is inflated is not kept, but it takes time: above this it is a bomb or no software. */
const INFLATED_MAX_OCTETS = 64 * 2 ** 30
/** Smaller entries are inflated in one go, which is much quicker than a stream for each. */
const AT_ONCE_OCTETS = 1 << 20

const FLAG_ENCRYPTED = 0x0001
const FLAG_DESCRIPTOR = 0x0008
/** Compression level, descriptor, UTF-8. */
const FLAGS_KNOWN = 0x0002 | 0x0004 | FLAG_DESCRIPTOR | 0x0800
const STORED = 0
const DEFLATED = 8

export interface ZipEntry {
  readonly name: string
  readonly method: typeof STORED | typeof DEFLATED
  readonly crc: number
  readonly compressedSize: number
  readonly size: number
  /** From its local header to the end of its data, or of the descriptor behind it. */
  readonly local: Range
  /** Its data, as compressed. */
  readonly data: Range
  /** Its record in the directory, as it stands. */
  readonly record: Uint8Array
}

/** Where the parts of a file lie that ends with a directory. */
export interface ZipEnd {
  readonly directory: Range
  /** Of the record that ends the file. */
  readonly endOffset: number
  readonly count: number
}

export interface ZipFile {
  /** In the order of their local headers. */
  readonly entries: readonly ZipEntry[]
  readonly directoryOffset: number
}

/** Whether it begins and ends as a ZIP file that is read here does. */
export async function isZip(source: BlobSource): Promise<boolean> {
  if (source.size < END_OCTETS) return false
  const [head, end] = await Promise.all([source.read(0, 4), source.read(source.size - END_OCTETS, END_OCTETS)])
  const isBegun = viewOf(head).getUint32(0, true) === LOCAL_SIGNATURE
  return isBegun && viewOf(end).getUint32(0, true) === END_SIGNATURE
}

/** @throws TrustError `malformed`, `unsupported`, `tooLarge` */
export async function parseZipEnd(source: BlobSource): Promise<ZipEnd> {
  if (source.size < END_OCTETS) throw badZip('it is shorter than its smallest part')
  const endAt = source.size - END_OCTETS
  const end = viewOf(await source.read(endAt, END_OCTETS))
  if (end.getUint32(0, true) !== END_SIGNATURE) throw badZip('it does not end with the end of its directory')
  if (end.getUint32(4, true) !== 0 || end.getUint16(20, true) !== 0) throw unsupported('several parts, or a comment')
  const count = end.getUint16(10, true)
  const size = end.getUint32(12, true)
  const directoryOffset = end.getUint32(16, true)
  if (count === 0xffff || size === 0xffffffff || directoryOffset === 0xffffffff) throw unsupported('ZIP64')
  if (end.getUint16(8, true) !== count || directoryOffset + size !== endAt) throw badZip('its directory is not where it says')
  if (size > DIRECTORY_MAX_OCTETS)
    throw new TrustError('tooLarge', 'artifactPartTooLarge', { facts: { what: 'its directory', limit: DIRECTORY_MAX_OCTETS } })
  return { directory: { offset: directoryOffset, length: size }, endOffset: endAt, count }
}

/**
 * @param entriesEnd where the entries end, when something that the caller knows lies between them and the directory
 * @throws TrustError `malformed`, `unsupported`, `tooLarge`
 */
export async function parseZip(source: BlobSource, entriesEnd?: number): Promise<ZipFile> {
  const { directory, count } = await parseZipEnd(source)
  const directoryOffset = directory.offset
  const records = recordsIn(await source.read(directoryOffset, directory.length), count)
  checkNames(records)
  if (records.reduce((sum, one) => sum + one.size, 0) > INFLATED_MAX_OCTETS)
    throw new TrustError('tooLarge', 'artifactPartTooLarge', {
      facts: { what: 'what it unpacks to', limit: INFLATED_MAX_OCTETS },
    })
  const inOrder = records.toSorted((a, b) => a.offset - b.offset)
  const limit = entriesEnd === undefined ? directoryOffset : await withoutPadding(source, inOrder.at(-1), entriesEnd)
  const entries: ZipEntry[] = []
  let at = 0
  for (const [i, record] of inOrder.entries()) {
    if (record.offset !== at) throw badZip('there is something between its entries, or they overlap')
    const next = inOrder[i + 1]?.offset ?? limit
    entries.push(await entryAt(source, record, next))
    at = next
  }
  if (at !== limit) throw badZip('there is something before its directory')
  return { entries, directoryOffset }
}

interface DirectoryRecord {
  readonly name: string
  readonly nameOctets: Uint8Array
  readonly flags: number
  readonly method: typeof STORED | typeof DEFLATED
  readonly crc: number
  readonly compressedSize: number
  readonly size: number
  readonly offset: number
  readonly record: Uint8Array
}

function recordsIn(directory: Uint8Array, count: number): readonly DirectoryRecord[] {
  const view = viewOf(directory)
  const records: DirectoryRecord[] = []
  let at = 0
  while (at < directory.length) {
    if (directory.length - at < DIRECTORY_HEADER_OCTETS || view.getUint32(at, true) !== DIRECTORY_SIGNATURE)
      throw badZip('its directory has something else than entries')
    const nameLength = view.getUint16(at + 28, true)
    const end = at + DIRECTORY_HEADER_OCTETS + nameLength + view.getUint16(at + 30, true) + view.getUint16(at + 32, true)
    if (end > directory.length) throw badZip('its directory is cut short')
    const flags = view.getUint16(at + 8, true)
    const method = view.getUint16(at + 10, true)
    const compressedSize = view.getUint32(at + 20, true)
    const size = view.getUint32(at + 24, true)
    const offset = view.getUint32(at + 42, true)
    if ((flags & FLAG_ENCRYPTED) !== 0) throw unsupported('encryption')
    if ((flags & ~FLAGS_KNOWN) !== 0) throw unsupported('a flag without a meaning here')
    if (method !== STORED && method !== DEFLATED) throw unsupported(`compression method ${method}`)
    if ([compressedSize, size, offset].includes(0xffffffff) || view.getUint16(at + 34, true) !== 0) throw unsupported('ZIP64')
    if (method === STORED && compressedSize !== size) throw badZip('an entry that is not compressed has two sizes')
    const nameOctets = directory.subarray(at + DIRECTORY_HEADER_OCTETS, at + DIRECTORY_HEADER_OCTETS + nameLength)
    const crc = view.getUint32(at + 16, true)
    const record = directory.subarray(at, end)
    records.push({ name: nameIn(nameOctets), nameOctets, flags, method, crc, compressedSize, size, offset, record })
    at = end
  }
  if (records.length !== count) throw badZip('its directory has another number of entries than it says')
  return records
}

const utf8Decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function nameIn(octets: Uint8Array): string {
  if (octets.length === 0 || octets.length > NAME_MAX_OCTETS) throw badZip('a name has no usable length')
  try {
    return utf8Decoder.decode(octets)
  } catch {
    throw badZip('a name is not UTF-8')
  }
}

/** No name twice, and none that leads out of where it is unpacked. */
function checkNames(records: readonly DirectoryRecord[]): void {
  const seen = new Set<string>()
  for (const { name, size } of records) {
    if (seen.has(name)) throw badZip('a name is there twice')
    seen.add(name)
    const parts = (name.endsWith('/') ? name.slice(0, -1) : name).split('/')
    // eslint-disable-next-line no-control-regex -- that is what is looked for
    if (/[\u0000-\u001f\u007f\\]/.test(name) || /^[A-Za-z]:/.test(name) || parts.some((part) => ['', '.', '..'].includes(part)))
      throw badZip('a name is none for a file')
    if (name.endsWith('/') && size !== 0) throw badZip('a folder has content')
  }
}

/** Android's tools fill up to a page before what comes behind the entries. */
const PADDING_MAX_OCTETS = 4096

/** @returns where the last entry ends, when nothing but zeros follows it */
async function withoutPadding(source: BlobSource, last: DirectoryRecord | undefined, end: number): Promise<number> {
  if (last === undefined) return end
  const header = last.offset + LOCAL_HEADER_OCTETS
  if (header > end) throw badZip('an entry overlaps the next')
  const view = viewOf(await source.read(last.offset, LOCAL_HEADER_OCTETS))
  const dataEnd = header + view.getUint16(26, true) + view.getUint16(28, true) + last.compressedSize
  if (dataEnd > end || end - dataEnd > PADDING_MAX_OCTETS) throw badZip('there is something behind the data of an entry')
  const behind = await source.read(dataEnd, end - dataEnd)
  const isMarked = behind.length >= 16 && viewOf(behind).getUint32(0, true) === DESCRIPTOR_SIGNATURE
  const descriptor = (last.flags & FLAG_DESCRIPTOR) === 0 ? 0 : isMarked ? 16 : 12
  if (behind.length < descriptor || behind.subarray(descriptor).some((octet) => octet !== 0))
    throw badZip('there is something behind the data of an entry')
  return dataEnd + descriptor
}

/** What stands before the data must say the same as the directory, and the data must end where the next entry begins. */
async function entryAt(
  source: BlobSource,
  { nameOctets, flags, offset, ...entry }: DirectoryRecord,
  next: number,
): Promise<ZipEntry> {
  const { method, crc, compressedSize, size } = entry
  const room = next - offset
  if (room < LOCAL_HEADER_OCTETS + nameOctets.length) throw badZip('an entry overlaps the next')
  const octets = await source.read(offset, LOCAL_HEADER_OCTETS + nameOctets.length)
  const view = viewOf(octets)
  const hasDescriptor = (flags & FLAG_DESCRIPTOR) !== 0
  const sums = [view.getUint32(14, true), view.getUint32(18, true), view.getUint32(22, true)] as const
  const isSame = sums[0] === crc && sums[1] === compressedSize && sums[2] === size
  const agrees =
    view.getUint32(0, true) === LOCAL_SIGNATURE &&
    view.getUint16(6, true) === flags &&
    view.getUint16(8, true) === method &&
    view.getUint16(26, true) === nameOctets.length &&
    octets.subarray(LOCAL_HEADER_OCTETS).toHex() === nameOctets.toHex() &&
    (isSame || (hasDescriptor && sums.every((one) => one === 0)))
  if (!agrees) throw badZip('an entry and the directory say different things')
  const data = { offset: offset + octets.length + view.getUint16(28, true), length: compressedSize }
  const dataEnd = data.offset + data.length
  const behind = next - dataEnd
  if (behind < 0) throw badZip('an entry overlaps the next')
  if (!hasDescriptor) {
    if (behind !== 0) throw badZip('there is something behind the data of an entry')
  } else {
    if (behind !== 12 && behind !== 16) throw badZip('there is something behind the data of an entry')
    await checkDescriptor(source, dataEnd, behind, entry)
  }
  return { ...entry, local: { offset, length: room }, data }
}

async function checkDescriptor(
  source: BlobSource,
  at: number,
  length: number,
  { crc, compressedSize, size }: Pick<ZipEntry, 'crc' | 'compressedSize' | 'size'>,
): Promise<void> {
  const view = viewOf(await source.read(at, length))
  const start = length - 12
  const isSame =
    (start === 0 || view.getUint32(0, true) === DESCRIPTOR_SIGNATURE) &&
    view.getUint32(start, true) === crc &&
    view.getUint32(start + 4, true) === compressedSize &&
    view.getUint32(start + 8, true) === size
  if (!isSame) throw badZip('an entry and the directory say different things')
}

/**
 * The content of an entry, in pieces.
 *
 * @throws TrustError `malformed` when it is not as long as it says, has another checksum, or does not unpack
 */
export async function* contentOf(source: BlobSource, entry: ZipEntry): AsyncGenerator<Uint8Array> {
  let crc = 0
  let size = 0
  for await (const piece of entry.method === STORED ? chunksOf(source, entry.data) : inflated(source, entry)) {
    size += piece.length
    if (size > entry.size) break
    crc = crc32(piece, crc)
    yield piece
  }
  if (size !== entry.size || crc !== entry.crc) throw badZip('the content of an entry is not what the directory says')
}

async function* inflated(source: BlobSource, { data, size }: ZipEntry): AsyncGenerator<Uint8Array> {
  try {
    if (data.length <= AT_ONCE_OCTETS && size <= AT_ONCE_OCTETS) {
      const octets = await source.read(data.offset, data.length)
      const { buffer, engine } = inflateRawSync(octets, { maxOutputLength: size + 1, info: true }) as unknown as Inflated
      if (engine.bytesWritten !== data.length) throw badZip('there is something behind the data of an entry')
      yield buffer
      return
    }
    const inflate = createInflateRaw()
    const feeding = feed(source, data, inflate)
    for await (const piece of inflate) yield piece as Uint8Array
    await feeding
    if (inflate.bytesWritten !== data.length) throw badZip('there is something behind the data of an entry')
  } catch (cause) {
    if (cause instanceof TrustError || !isOfZlib(cause)) throw cause
    throw new TrustError('malformed', 'badArtifact', { facts: { format: 'ZIP', detail: 'an entry does not unpack' }, cause })
  }
}

interface Inflated {
  readonly buffer: Uint8Array
  readonly engine: { readonly bytesWritten: number }
}

async function feed(source: BlobSource, data: Range, inflate: ReturnType<typeof createInflateRaw>): Promise<void> {
  try {
    for await (const chunk of chunksOf(source, data)) {
      if (inflate.destroyed || inflate.writableEnded) return
      if (!inflate.write(chunk)) await new Promise<void>((resolve) => inflate.once('drain', resolve).once('close', resolve))
    }
    inflate.end()
  } catch (error) {
    inflate.destroy(error as Error)
  }
}

const isOfZlib = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && /^(Z_|ERR_BUFFER_TOO_LARGE|ERR_STREAM_PREMATURE_CLOSE)/.test(String(error.code))

/** A part that must fit in memory. @throws TrustError `tooLarge` before it is unpacked */
export async function readEntry(source: BlobSource, entry: ZipEntry, limit: number): Promise<Uint8Array> {
  if (entry.size > limit) throw new TrustError('tooLarge', 'artifactPartTooLarge', { facts: { what: entry.name, limit } })
  const out = new Uint8Array(entry.size)
  let at = 0
  for await (const piece of contentOf(source, entry)) {
    out.set(piece, at)
    at += piece.length
  }
  return out
}

/** Midnight of the first day that ZIP knows: what is written here has no time of its own. */
const DOS_DATE = 0x0021
const VERSION = 20

/** An entry that is not compressed. @returns its local part and its record, which says that it lies at `offset` */
export function newEntry(
  name: string,
  content: Uint8Array,
  offset: number,
): { readonly local: Uint8Array; readonly record: Uint8Array } {
  const nameOctets = utf8(name)
  const local = new Uint8Array(LOCAL_HEADER_OCTETS + nameOctets.length + content.length)
  const record = new Uint8Array(DIRECTORY_HEADER_OCTETS + nameOctets.length)
  const put = (view: DataView, at: number): void => {
    view.setUint16(at, VERSION, true)
    view.setUint16(at + 2, 0x0800, true)
    view.setUint16(at + 8, DOS_DATE, true)
    view.setUint32(at + 10, crc32(content), true)
    view.setUint32(at + 14, content.length, true)
    view.setUint32(at + 18, content.length, true)
    view.setUint16(at + 22, nameOctets.length, true)
  }
  const [localView, recordView] = [viewOf(local), viewOf(record)]
  localView.setUint32(0, LOCAL_SIGNATURE, true)
  put(localView, 4)
  local.set(nameOctets, LOCAL_HEADER_OCTETS)
  local.set(content, LOCAL_HEADER_OCTETS + nameOctets.length)
  recordView.setUint32(0, DIRECTORY_SIGNATURE, true)
  recordView.setUint16(4, VERSION, true)
  put(recordView, 6)
  recordView.setUint32(42, offset, true)
  record.set(nameOctets, DIRECTORY_HEADER_OCTETS)
  return { local, record }
}

/** The record of an entry that lies elsewhere now. */
export function movedRecord({ record }: ZipEntry, offset: number): Uint8Array {
  const moved = new Uint8Array(record)
  viewOf(moved).setUint32(42, offset, true)
  return moved
}

/** @throws TrustError `tooLarge` for what would need ZIP64 */
export function endOf(count: number, directoryLength: number, directoryOffset: number): Uint8Array {
  if (count >= 0xffff || directoryOffset + directoryLength >= 0xffffffff)
    throw new TrustError('tooLarge', 'artifactPartTooLarge', { facts: { what: 'it with its signature', limit: 0xffffffff } })
  const end = new Uint8Array(END_OCTETS)
  const view = viewOf(end)
  view.setUint32(0, END_SIGNATURE, true)
  view.setUint16(8, count, true)
  view.setUint16(10, count, true)
  view.setUint32(12, directoryLength, true)
  view.setUint32(16, directoryOffset, true)
  return end
}

const viewOf = ({ buffer, byteOffset, length }: Uint8Array): DataView => new DataView(buffer, byteOffset, length)

const badZip = (detail: string): TrustError => new TrustError('malformed', 'badArtifact', { facts: { format: 'ZIP', detail } })
const unsupported = (detail: string): TrustError =>
  new TrustError('unsupported', 'artifactUnsupported', { facts: { format: 'ZIP', detail } })
