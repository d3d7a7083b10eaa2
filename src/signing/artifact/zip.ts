/**
 * ZIP files, for formats that sign what is in them. Strict: every octet belongs to one entry or to the directory, both
 * descriptions of an entry agree, and no name could mean two things; programs that read ZIP files differ in all of these.
 *
 * ZIP64 (more than 4 GB or 65,534 entries) is read where a field of the file as it was says so by its largest value, and
 * only there; whatever is said in both ways must be the same.
 *
 * Not read: encryption, other methods than stored and deflated, comments of the file, anything before, between or behind
 * the entries.
 *
 * Source: PKWARE APPNOTE.TXT 6.3.10, 4.3 to 4.5.3.
 *
 * @module
 */
import { crc32, createInflateRaw, inflateRawSync } from 'node:zlib'
import { concat, utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import type { BlobSource, Range } from '../format.ts'
import { chunksOf } from './blob.ts'

const END_SIGNATURE = 0x06054b50
const DIRECTORY_SIGNATURE = 0x02014b50
const LOCAL_SIGNATURE = 0x04034b50
const DESCRIPTOR_SIGNATURE = 0x08074b50
const END64_SIGNATURE = 0x06064b50
const LOCATOR_SIGNATURE = 0x07064b50
const END_OCTETS = 22
const END64_OCTETS = 56
const LOCATOR_OCTETS = 20
const DIRECTORY_HEADER_OCTETS = 46
const LOCAL_HEADER_OCTETS = 30
/** What a field says whose value is in its ZIP64 counterpart. */
const IN_ZIP64 = 0xffffffff
const COUNT_IN_ZIP64 = 0xffff
const ZIP64_FIELD = 0x0001
/** It is held in memory. */
const DIRECTORY_MAX_OCTETS = 64 << 20
/** Each is held in memory, with its section of a manifest where it has one: about a kilobyte in all. */
const ENTRIES_MAX = 100_000
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
  /** Of the record, or the three records of ZIP64, that end the file. */
  readonly endOffset: number
  readonly count: number
  readonly isZip64: boolean
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
  const classic = {
    count: end.getUint16(10, true),
    countHere: end.getUint16(8, true),
    size: end.getUint32(12, true),
    offset: end.getUint32(16, true),
  }
  const isZip64 = [classic.count, classic.countHere].includes(COUNT_IN_ZIP64) || [classic.size, classic.offset].includes(IN_ZIP64)
  const endOffset = isZip64 ? endAt - LOCATOR_OCTETS - END64_OCTETS : endAt
  const { count, countHere, size, offset } = isZip64 ? await zip64End(source, endOffset, classic) : classic
  if (countHere !== count || offset + size !== endOffset) throw badZip('its directory is not where it says')
  if (size > DIRECTORY_MAX_OCTETS)
    throw new TrustError('tooLarge', 'artifactPartTooLarge', { facts: { what: 'its directory', limit: DIRECTORY_MAX_OCTETS } })
  if (count > ENTRIES_MAX)
    throw new TrustError('tooLarge', 'artifactPartTooLarge', { facts: { what: 'its number of entries', limit: ENTRIES_MAX } })
  return { directory: { offset, length: size }, endOffset, count, isZip64 }
}

interface EndFields {
  readonly count: number
  /** In this part, where there could be several. */
  readonly countHere: number
  readonly size: number
  readonly offset: number
}

/** The record of ZIP64 and what points to it, which lie right before the end and nowhere else. */
async function zip64End(source: BlobSource, at: number, classic: EndFields): Promise<EndFields> {
  if (at < 0) throw badZip('it says ZIP64 and has no record of it')
  const view = viewOf(await source.read(at, END64_OCTETS + LOCATOR_OCTETS))
  const locator = END64_OCTETS
  if (view.getUint32(locator, true) !== LOCATOR_SIGNATURE) throw badZip('it says ZIP64 and has no record of it')
  if (view.getUint32(locator + 4, true) !== 0 || view.getUint32(locator + 16, true) > 1) throw unsupported('several parts')
  if (uint64(view, locator + 8) !== at || view.getUint32(0, true) !== END64_SIGNATURE)
    throw badZip('its record of ZIP64 is not where it says, or has parts without a meaning here')
  if (uint64(view, 4) !== END64_OCTETS - 12 || view.getUint32(16, true) !== 0 || view.getUint32(20, true) !== 0)
    throw badZip('its record of ZIP64 is not one')
  const found = { countHere: uint64(view, 24), count: uint64(view, 32), size: uint64(view, 40), offset: uint64(view, 48) }
  const agrees =
    isSameOrIn64(classic.count, found.count, COUNT_IN_ZIP64) &&
    isSameOrIn64(classic.countHere, found.countHere, COUNT_IN_ZIP64) &&
    isSameOrIn64(classic.size, found.size) &&
    isSameOrIn64(classic.offset, found.offset)
  if (!agrees) throw badZip('its two ends say different things')
  return found
}

const isSameOrIn64 = (classic: number, found: number, sentinel = IN_ZIP64): boolean => classic === sentinel || classic === found

/** What is too large for a file is too large for a number that counts. */
function uint64(view: DataView, at: number): number {
  const value = view.getBigUint64(at, true)
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw badZip('a number of ZIP64 is larger than any file')
  return Number(value)
}

export interface ZipReading {
  /** Where the entries end, when something that the caller knows lies between them and the directory. */
  readonly entriesEnd?: number
  /** Whether those whom it is for refuse ZIP64. */
  readonly isClassic?: boolean
}

/** @throws TrustError `malformed`, `unsupported`, `tooLarge` */
export async function parseZip(source: BlobSource, { entriesEnd, isClassic = false }: ZipReading = {}): Promise<ZipFile> {
  const { directory, count, isZip64 } = await parseZipEnd(source)
  const directoryOffset = directory.offset
  const records = recordsIn(await source.read(directoryOffset, directory.length), count)
  if (isClassic && (isZip64 || records.some((one) => one.isZip64))) throw unsupported('ZIP64')
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
  /** Whether one of the three is in a field of ZIP64. */
  readonly isZip64: boolean
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
    const extra = directory.subarray(at + DIRECTORY_HEADER_OCTETS + nameLength, end - view.getUint16(at + 32, true))
    const classic = [view.getUint32(at + 24, true), view.getUint32(at + 20, true), view.getUint32(at + 42, true)] as const
    const [size, compressedSize, offset] = resolved(classic, zip64In(extra))
    const isZip64 = classic.includes(IN_ZIP64)
    if ((flags & FLAG_ENCRYPTED) !== 0) throw unsupported('encryption')
    if ((flags & ~FLAGS_KNOWN) !== 0) throw unsupported('a flag without a meaning here')
    if (method !== STORED && method !== DEFLATED) throw unsupported(`compression method ${method}`)
    if (view.getUint16(at + 34, true) !== 0) throw unsupported('several parts')
    if (method === STORED && compressedSize !== size) throw badZip('an entry that is not compressed has two sizes')
    const nameOctets = directory.subarray(at + DIRECTORY_HEADER_OCTETS, at + DIRECTORY_HEADER_OCTETS + nameLength)
    const crc = view.getUint32(at + 16, true)
    const record = directory.subarray(at, end)
    records.push({ name: nameIn(nameOctets), nameOctets, flags, method, crc, compressedSize, size, offset, isZip64, record })
    at = end
  }
  if (records.length !== count) throw badZip('its directory has another number of entries than it says')
  return records
}

/** What a field of ZIP64 holds, in an entry's extra fields; 4.5.3. Tools that align data fill up with zeros. */
function zip64In(extra: Uint8Array): Uint8Array | undefined {
  const view = viewOf(extra)
  let found: Uint8Array | undefined
  for (let at = 0; at < extra.length;) {
    const rest = extra.length - at
    const end = rest < 4 ? Infinity : at + 4 + view.getUint16(at + 2, true)
    if (end > extra.length) {
      if (extra.subarray(at).some((octet) => octet !== 0)) throw badZip('an extra field of an entry is cut short')
      return found
    }
    if (view.getUint16(at, true) === ZIP64_FIELD) {
      if (found !== undefined) throw badZip('an entry has a field of ZIP64 twice')
      found = extra.subarray(at + 4, end)
    }
    at = end
  }
  return found
}

type Three = readonly [number, number, number]

/** Size, compressed size and place: each as it is, or where it says so from the field, which has nothing else. */
function resolved(classic: Three, field: Uint8Array | undefined): Three {
  const wanted = classic.filter((value) => value === IN_ZIP64).length
  if (wanted === 0 && field === undefined) return classic
  if (wanted === 0 || field?.length !== 8 * wanted) throw badZip('an entry says ZIP64 and its field does not, or the reverse')
  const view = viewOf(field)
  let at = 0
  const take = (value: number): number => (value === IN_ZIP64 ? uint64(view, (at += 8) - 8) : value)
  return [take(classic[0]), take(classic[1]), take(classic[2])]
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
    // oxlint-disable-next-line no-control-regex -- that is what is looked for
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
  { nameOctets, flags, offset, name, method, crc, compressedSize, size, record }: DirectoryRecord,
  next: number,
): Promise<ZipEntry> {
  const room = next - offset
  const extraAt = LOCAL_HEADER_OCTETS + nameOctets.length
  if (room < extraAt) throw badZip('an entry overlaps the next')
  const octets = await source.read(offset, extraAt)
  const view = viewOf(octets)
  const extraLength = view.getUint16(28, true)
  const data = { offset: offset + extraAt + extraLength, length: compressedSize }
  const dataEnd = data.offset + data.length
  const behind = next - dataEnd
  if (behind < 0) throw badZip('an entry overlaps the next')
  const field = extraLength === 0 ? undefined : zip64In(await source.read(offset + extraAt, extraLength))
  const hasDescriptor = (flags & FLAG_DESCRIPTOR) !== 0
  const sums = [view.getUint32(14, true), ...localSizes(view, field)] as const
  const isSame = sums[0] === crc && sums[1] === compressedSize && sums[2] === size
  const agrees =
    view.getUint32(0, true) === LOCAL_SIGNATURE &&
    view.getUint16(6, true) === flags &&
    view.getUint16(8, true) === method &&
    view.getUint16(26, true) === nameOctets.length &&
    octets.subarray(LOCAL_HEADER_OCTETS).toHex() === nameOctets.toHex() &&
    (isSame || (hasDescriptor && sums.every((one) => one === 0)))
  if (!agrees) throw badZip('an entry and the directory say different things')
  const entry = { name, method, crc, compressedSize, size, record }
  if (!hasDescriptor) {
    if (behind !== 0) throw badZip('there is something behind the data of an entry')
  } else {
    const isWide = field !== undefined || compressedSize >= IN_ZIP64 || size >= IN_ZIP64
    await checkDescriptor(source, { offset: dataEnd, length: behind }, isWide, entry)
  }
  return { ...entry, local: { offset, length: room }, data }
}

/** @returns compressed size and size; 4.5.3: before the data a field of ZIP64 has both */
function localSizes(view: DataView, field: Uint8Array | undefined): readonly [number, number] {
  const [compressedSize, size] = [view.getUint32(18, true), view.getUint32(22, true)]
  if (field === undefined && compressedSize !== IN_ZIP64 && size !== IN_ZIP64) return [compressedSize, size]
  if (field?.length !== 16 || compressedSize !== IN_ZIP64 || size !== IN_ZIP64)
    throw badZip('an entry says ZIP64 and its field does not, or the reverse')
  return [uint64(viewOf(field), 8), uint64(viewOf(field), 0)]
}

/** 4.3.9: with or without its mark; sizes of eight octets where there is a field of ZIP64, or where they need them. */
async function checkDescriptor(
  source: BlobSource,
  { offset, length }: Range,
  isWide: boolean,
  { crc, compressedSize, size }: Pick<ZipEntry, 'crc' | 'compressedSize' | 'size'>,
): Promise<void> {
  const short = isWide ? 20 : 12
  if (length !== short && length !== short + 4) throw badZip('there is something behind the data of an entry')
  const view = viewOf(await source.read(offset, length))
  const start = length - short
  const sizeAt = (at: number): number => (isWide ? uint64(view, start + 4 + 8 * at) : view.getUint32(start + 4 + 4 * at, true))
  const isSame =
    (start === 0 || view.getUint32(0, true) === DESCRIPTOR_SIGNATURE) &&
    view.getUint32(start, true) === crc &&
    sizeAt(0) === compressedSize &&
    sizeAt(1) === size
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
const VERSION_ZIP64 = 45

/**
 * An entry that is not compressed.
 *
 * @param extra fields before its data
 * @returns its local part and its record, which says that it lies at `offset`
 */
export function newEntry(
  name: string,
  content: Uint8Array,
  offset: number,
  extra: Uint8Array = new Uint8Array(),
): { readonly local: Uint8Array; readonly record: Uint8Array } {
  const nameOctets = utf8(name)
  const local = new Uint8Array(LOCAL_HEADER_OCTETS + nameOctets.length + extra.length + content.length)
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
  localView.setUint16(28, extra.length, true)
  local.set(extra, LOCAL_HEADER_OCTETS + nameOctets.length)
  local.set(content, LOCAL_HEADER_OCTETS + nameOctets.length + extra.length)
  recordView.setUint32(0, DIRECTORY_SIGNATURE, true)
  recordView.setUint16(4, VERSION, true)
  put(recordView, 6)
  recordView.setUint32(42, offset, true)
  record.set(nameOctets, DIRECTORY_HEADER_OCTETS)
  return { local, record }
}

/** The record of an entry that lies elsewhere now. */
export function movedRecord({ record }: ZipEntry, offset: number): Uint8Array {
  const view = viewOf(record)
  const isWide = offset >= IN_ZIP64
  const moved =
    isWide || view.getUint32(42, true) === IN_ZIP64 ? withZip64Field(record, isWide ? offset : undefined) : record.slice()
  viewOf(moved).setUint32(42, isWide ? IN_ZIP64 : offset, true)
  return moved
}

/** The same record whose field of ZIP64 has the sizes that it had, and the place, or no place; no field when it is empty. */
function withZip64Field(record: Uint8Array, offset: number | undefined): Uint8Array {
  const view = viewOf(record)
  const extraAt = DIRECTORY_HEADER_OCTETS + view.getUint16(28, true)
  const extraEnd = extraAt + view.getUint16(30, true)
  const extra = record.subarray(extraAt, extraEnd)
  const field = zip64In(extra)
  const sizes = [24, 20].filter((at) => view.getUint32(at, true) === IN_ZIP64).length * 8
  const others =
    field === undefined
      ? extra
      : concat([
          extra.subarray(0, field.byteOffset - extra.byteOffset - 4),
          extra.subarray(field.byteOffset - extra.byteOffset + field.length),
        ])
  const held = concat([field?.subarray(0, sizes) ?? new Uint8Array(), ...(offset === undefined ? [] : [octets64(offset)])])
  const written = held.length === 0 ? others : concat([octets16(ZIP64_FIELD), octets16(held.length), held, others])
  if (written.length > 0xffff) throw unsupported('an entry whose extra fields have no room for one of ZIP64')
  const out = concat([record.subarray(0, extraAt), written, record.subarray(extraEnd)])
  viewOf(out).setUint16(30, written.length, true)
  if (held.length > 0) viewOf(out).setUint16(6, Math.max(VERSION_ZIP64, view.getUint16(6, true)), true)
  return out
}

/** What ends a file: one record, or three where a value needs ZIP64. */
export function endOf(count: number, directoryLength: number, directoryOffset: number): Uint8Array {
  const end = new Uint8Array(END_OCTETS)
  const view = viewOf(end)
  view.setUint32(0, END_SIGNATURE, true)
  view.setUint16(8, Math.min(count, COUNT_IN_ZIP64), true)
  view.setUint16(10, Math.min(count, COUNT_IN_ZIP64), true)
  view.setUint32(12, Math.min(directoryLength, IN_ZIP64), true)
  view.setUint32(16, Math.min(directoryOffset, IN_ZIP64), true)
  if (count < COUNT_IN_ZIP64 && directoryLength < IN_ZIP64 && directoryOffset < IN_ZIP64) return end
  const wide = new Uint8Array(END64_OCTETS + LOCATOR_OCTETS)
  const wideView = viewOf(wide)
  wideView.setUint32(0, END64_SIGNATURE, true)
  wideView.setBigUint64(4, BigInt(END64_OCTETS - 12), true)
  wideView.setUint16(12, VERSION_ZIP64, true)
  wideView.setUint16(14, VERSION_ZIP64, true)
  wide.set(concat([count, count, directoryLength, directoryOffset].map(octets64)), 24)
  wideView.setUint32(END64_OCTETS, LOCATOR_SIGNATURE, true)
  wide.set(octets64(directoryOffset + directoryLength), END64_OCTETS + 8)
  wideView.setUint32(END64_OCTETS + 16, 1, true)
  return concat([wide, end])
}

function octets64(value: number): Uint8Array {
  const octets = new Uint8Array(8)
  viewOf(octets).setBigUint64(0, BigInt(value), true)
  return octets
}
const octets16 = (value: number): Uint8Array => Uint8Array.of(value & 0xff, value >> 8)

const viewOf = ({ buffer, byteOffset, length }: Uint8Array): DataView => new DataView(buffer, byteOffset, length)

const badZip = (detail: string): TrustError => new TrustError('malformed', 'badArtifact', { facts: { format: 'ZIP', detail } })
const unsupported = (detail: string): TrustError =>
  new TrustError('unsupported', 'artifactUnsupported', { facts: { format: 'ZIP', detail } })
