/**
 * Portable executables: where everything lies that a signature depends on. Strict where the programs that check
 * signatures disagree: what they would hash in different ways is not taken.
 *
 * Source: Microsoft, PE Format, "Optional Header", "Section Table", "The Attribute Certificate Table".
 *
 * @module
 */
import { createHash, type Hash } from 'node:crypto'
import { TrustError } from '#base/errors.ts'
import type { BlobSource, Range } from '../format.ts'
import { chunksOf } from './blob.ts'

/** Linkers put it at 0x80 or a little further; the headers are read at once. */
const HEADER_OFFSET_MAX = 4096
/** More than the loader of Windows takes. */
const SECTIONS_MAX = 96
/** All headers with as many sections. */
const HEADERS_READ_OCTETS = HEADER_OFFSET_MAX + 24 + 1024 + SECTIONS_MAX * 40
const DOS_HEADER_OCTETS = 0x40
const COFF_HEADER_OCTETS = 24
const SECTION_OCTETS = 40
const CERTIFICATE_TABLE = 4
const PE32 = 0x10b
const PE32_PLUS = 0x20b
/** The checksum and the entry that says where the certificate table lies: not hashed, since signing writes them. */
const CHECKSUM_OCTETS = 4
const DIRECTORY_OCTETS = 8
export const CERTIFICATE_ALIGNMENT = 8

export interface PEImage {
  readonly checksumOffset: number
  readonly directoryOffset: number
  readonly sizeOfHeaders: number
  readonly sectionAlignment: number
  /** In the order of the section table. */
  readonly sections: readonly Range[]
  /** Where the certificate table begins, or the file ends. */
  readonly end: number
  /** Length of the certificate table, which ends the file; 0 when it has none. */
  readonly tableLength: number
}

export const isPE = async (source: BlobSource): Promise<boolean> => {
  if (source.size < DOS_HEADER_OCTETS) return false
  const dos = viewOf(await source.read(0, DOS_HEADER_OCTETS))
  const at = dos.getUint32(0x3c, true)
  if (dos.getUint16(0) !== 0x4d5a || at < DOS_HEADER_OCTETS || at > HEADER_OFFSET_MAX || at + 4 > source.size) return false
  return viewOf(await source.read(at, 4)).getUint32(0) === 0x50450000
}

/** @throws TrustError `malformed` for headers that lie, `unsupported` for what is hashed in more than one way */
export async function parsePE(source: BlobSource): Promise<PEImage> {
  if (!(await isPE(source))) throw badPE('it does not begin as one')
  const head = viewOf(await source.read(0, Math.min(source.size, HEADERS_READ_OCTETS)))
  const pe = head.getUint32(0x3c, true)
  const optional = pe + COFF_HEADER_OCTETS
  if (optional + 2 > head.byteLength) throw badPE('it ends within its headers')
  const sectionCount = head.getUint16(pe + 6, true)
  const optionalSize = head.getUint16(pe + 20, true)
  const magic = head.getUint16(optional, true)
  if (magic !== PE32 && magic !== PE32_PLUS) throw badPE('its optional header is of no known kind')
  const directories = magic === PE32 ? 96 : 112
  const directoryAt = directories + CERTIFICATE_TABLE * DIRECTORY_OCTETS
  const sectionTable = optional + optionalSize
  if (pe % 2 !== 0) throw unsupported('its header lies at an odd offset')
  if (sectionCount === 0 || sectionCount > SECTIONS_MAX) throw badPE('it has no usable number of sections')
  if (sectionTable + sectionCount * SECTION_OCTETS > head.byteLength) throw badPE('it ends within its headers')
  const directoryCount = optionalSize < directoryAt ? 0 : head.getUint32(optional + directories - 4, true)
  if (optionalSize < directoryAt + DIRECTORY_OCTETS || directoryCount <= CERTIFICATE_TABLE)
    throw unsupported('its header has no place for signatures')
  const sizeOfHeaders = head.getUint32(optional + 60, true)
  if (sizeOfHeaders < sectionTable + sectionCount * SECTION_OCTETS || sizeOfHeaders > source.size)
    throw badPE('its headers have no usable size')
  const directoryOffset = optional + directoryAt
  const table = tableIn(source, head.getUint32(directoryOffset, true), head.getUint32(directoryOffset + 4, true))
  const sections = [...Array(sectionCount).keys()].map((i) => ({
    offset: head.getUint32(sectionTable + i * SECTION_OCTETS + 20, true),
    length: head.getUint32(sectionTable + i * SECTION_OCTETS + 16, true),
  }))
  checkSections(sections, sizeOfHeaders, table.offset)
  return {
    checksumOffset: optional + 64,
    directoryOffset,
    sizeOfHeaders,
    sectionAlignment: head.getUint32(optional + 32, true),
    sections,
    end: table.offset,
    tableLength: table.length,
  }
}

/** It ends the file: what came behind it would be signed by nobody. */
function tableIn({ size }: BlobSource, offset: number, length: number): Range {
  if (offset === 0 && length === 0) return { offset: size, length: 0 }
  if (offset % CERTIFICATE_ALIGNMENT !== 0 || length < CERTIFICATE_ALIGNMENT || offset + length !== size)
    throw badPE('its certificate table is not what ends the file')
  return { offset, length }
}

/** Headers and sections follow each other without gap or overlap; what lies between would be hashed by some and not by others. */
function checkSections(sections: readonly Range[], sizeOfHeaders: number, end: number): void {
  let at = sizeOfHeaders
  for (const { offset, length } of sections.filter((one) => one.length > 0).toSorted((a, b) => a.offset - b.offset)) {
    if (offset < at) throw badPE('its sections overlap')
    if (offset > at) throw unsupported('there are gaps between its sections, which verifiers hash in different ways')
    at += length
  }
  if (at > end) throw badPE('its sections run past its end')
}

/** What is hashed: all but the checksum, the entry of the certificate table, and that table. */
export const hashedRanges = ({ checksumOffset, directoryOffset, end }: PEImage): readonly Range[] => {
  const afterChecksum = checksumOffset + CHECKSUM_OCTETS
  const afterDirectory = directoryOffset + DIRECTORY_OCTETS
  return [
    { offset: 0, length: checksumOffset },
    { offset: afterChecksum, length: directoryOffset - afterChecksum },
    { offset: afterDirectory, length: end - afterDirectory },
  ]
}

/** Zeros that make the image end where a certificate table may begin; they are hashed with it. */
export const paddingOf = ({ end }: PEImage): Uint8Array => new Uint8Array(-end & (CERTIFICATE_ALIGNMENT - 1))

export interface ImageSums {
  readonly digest: Uint8Array
  /** Of the image as hashed, in 16-bit words, to which the rest of a signed file can be added. */
  readonly wordSum: number
}

/** One pass over the image. @param algorithm as Node.js names it */
export async function sumsOf(source: BlobSource, image: PEImage, algorithm: string): Promise<ImageSums> {
  const hash = createHash(algorithm)
  let wordSum = 0
  let at = 0
  for await (const chunk of chunksOf(source, { offset: 0, length: image.end })) {
    const octets = at === 0 ? headed(chunk, image, hash) : chunk
    if (octets === chunk) hash.update(chunk)
    wordSum += wordSumOf(octets)
    at += chunk.length
  }
  hash.update(paddingOf(image))
  return { digest: new Uint8Array(hash.digest()), wordSum }
}

/** The first chunk, which has all headers in it, without what is not hashed. */
function headed(chunk: Uint8Array, image: PEImage, hash: Hash): Uint8Array {
  const octets = new Uint8Array(chunk)
  for (const { offset, length } of hashedRanges(image)) hash.update(octets.subarray(offset, offset + length))
  octets.fill(0, image.checksumOffset, image.checksumOffset + CHECKSUM_OCTETS)
  octets.fill(0, image.directoryOffset, image.directoryOffset + DIRECTORY_OCTETS)
  return octets
}

/** Modulo 65,535 a word of 32 bits is the sum of its two halves, so these can be added at once: a double holds a gigabyte of them. */
export function wordSumOf(octets: Uint8Array): number {
  const aligned = octets.byteOffset % 4 === 0 ? octets : new Uint8Array(octets)
  const words = new Uint32Array(aligned.buffer, aligned.byteOffset, aligned.length >>> 2) // little-endian, as are all platforms of ours
  // four sums, since each addition waits for the one before it in the same sum
  let [sum, second, third, fourth] = [0, 0, 0, 0]
  const unrolled = words.length - (words.length % 4)
  for (let i = 0; i < unrolled; i += 4) {
    sum += words[i] as number
    second += words[i + 1] as number
    third += words[i + 2] as number
    fourth += words[i + 3] as number
  }
  sum += second + third + fourth
  for (let i = unrolled; i < words.length; i++) sum += words[i] as number
  for (let i = words.length * 4; i < aligned.length; i++) sum += (aligned[i] as number) * (i % 2 === 0 ? 1 : 256)
  return foldOf(sum)
}

function foldOf(sum: number): number {
  let rest = sum
  while (rest > 0xffff) rest = (rest % 0x10000) + Math.floor(rest / 0x10000)
  return rest
}

/** The checksum of the optional header: the words of the whole file, and its size. */
export const checksumOf = (wordSums: readonly number[], size: number): number =>
  foldOf(wordSums.reduce((a, b) => a + b, 0)) + size

const PAGE_ENTRY_OFFSET_OCTETS = 4

/** Hashes of each page as it is loaded, with its offset before each, and one entry of zeros that ends them. */
export async function pageHashesOf(source: BlobSource, image: PEImage, algorithm: string): Promise<Uint8Array> {
  const { sectionAlignment: pageSize, sizeOfHeaders, sections } = image
  if (pageSize < 512 || pageSize > 1 << 20 || sizeOfHeaders > pageSize) throw unsupported('its pages have no usable size')
  const digestLength = createHash(algorithm).digest().length
  const loaded = sections.filter(({ length }) => length > 0)
  const pages = loaded.reduce((sum, { length }) => sum + Math.ceil(length / pageSize), 2)
  const entry = PAGE_ENTRY_OFFSET_OCTETS + digestLength
  const table = new Uint8Array(pages * entry)
  const view = viewOf(table)
  let at = 0
  const put = (offset: number, digest: Uint8Array): void => {
    view.setUint32(at, offset, true)
    table.set(digest, at + PAGE_ENTRY_OFFSET_OCTETS)
    at += entry
  }
  const header = createHash(algorithm)
  const [first, second] = hashedRanges(image) as [Range, Range, Range]
  for (const { offset, length } of [first, second]) header.update(await source.read(offset, length))
  const rest = image.directoryOffset + DIRECTORY_OCTETS
  header.update(await source.read(rest, sizeOfHeaders - rest)).update(new Uint8Array(pageSize - sizeOfHeaders))
  put(0, header.digest())
  let last = sizeOfHeaders
  for (const { offset, length } of loaded) {
    for (let page = 0; page < length; page += pageSize) {
      const octets = await source.read(offset + page, Math.min(pageSize, length - page))
      put(
        offset + page,
        createHash(algorithm)
          .update(octets)
          .update(new Uint8Array(pageSize - octets.length))
          .digest(),
      )
    }
    last = offset + length
  }
  put(last, new Uint8Array(digestLength))
  return table
}

const viewOf = ({ buffer, byteOffset, length }: Uint8Array): DataView => new DataView(buffer, byteOffset, length)

export const badPE = (detail: string): TrustError =>
  new TrustError('malformed', 'badArtifact', { facts: { format: 'PE', detail } })
const unsupported = (detail: string): TrustError =>
  new TrustError('unsupported', 'artifactUnsupported', { facts: { format: 'PE', detail } })
