/**
 * Unified kernel images: a kernel with its initrd and command line as sections of a small UEFI program that starts them, so
 * that one signature covers all of it. Whoever changes the command line, and with it the hash that the root file system is
 * checked against, breaks the signature.
 *
 * The same parts give the same octets: no times, no symbols, no padding that is not zero.
 *
 * Source: UAPI.5 Unified Kernel Image; Microsoft, PE Format, "Section Table (Section Headers)".
 *
 * @module
 */
import { concat, utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { bytesSource } from '#signing/artifact/blob.ts'
import { badPE, type PEImage, parsePE } from '#signing/artifact/pe.ts'
import type { BlobSource } from '#signing/format.ts'

/** A kernel with an initrd of many modules is a quarter of it; it is held in memory. */
export const UNIFIED_KERNEL_MAX_OCTETS = 256 << 20
/** What a stub takes; longer ones would be cut (Linux, COMMAND_LINE_SIZE). */
const COMMAND_LINE_MAX_OCTETS = 2047
const COFF_HEADER_OCTETS = 24
const SECTION_OCTETS = 40
const NAME_OCTETS = 8
/** Sections of ours begin at pages, which every loader can map. */
const PAGE_OCTETS = 4096
/** IMAGE_SCN_CNT_INITIALIZED_DATA, IMAGE_SCN_MEM_READ. */
const DATA_READ = 0x4000_0040

export interface KernelParts {
  /** The program that starts them, such as systemd-stub; not signed yet. */
  readonly stub: Uint8Array
  /** Lines of os-release(5): what firmware and people are shown. */
  readonly osRelease: string
  readonly commandLine: string
  /** As `uname -r` tells it. */
  readonly kernelRelease: string
  readonly initrd: Uint8Array
  readonly kernel: Uint8Array
}

export interface Section {
  readonly name: string
  /** What is there when it is loaded, without the zeros that fill the file. */
  readonly octets: Uint8Array
}

/** @throws TrustError `malformed`, `unsupported` for a stub that has no room, `tooLarge` */
export async function assembleUnifiedKernel(parts: KernelParts): Promise<Uint8Array> {
  const { stub, osRelease, commandLine, kernelRelease, initrd, kernel } = parts
  const sections: readonly Section[] = [
    { name: '.osrel', octets: utf8(osRelease) },
    { name: '.cmdline', octets: commandLineOf(commandLine) },
    { name: '.uname', octets: utf8(kernelRelease) },
    { name: '.initrd', octets: initrd },
    { name: '.linux', octets: kernel },
  ]
  const total = sections.reduce((sum, { octets }) => sum + octets.length, stub.length)
  if (total > UNIFIED_KERNEL_MAX_OCTETS)
    throw new TrustError('tooLarge', 'artifactPartTooLarge', { facts: { what: 'the image', limit: UNIFIED_KERNEL_MAX_OCTETS } })
  const empty = sections.find(({ octets }) => octets.length === 0)
  if (empty !== undefined) throw new TrustError('malformed', 'hostImagePart', { facts: { detail: `${empty.name} is empty` } })
  const image = await parsePE(bytesSource(stub))
  if (image.tableLength > 0)
    throw new TrustError('malformed', 'hostImagePart', { facts: { detail: 'the stub is signed already' } })
  const headers = headersOf(stub, image)
  if (headers.table.some(({ name }) => sections.some((section) => section.name === name)))
    throw new TrustError('malformed', 'hostImagePart', { facts: { detail: 'the stub has a kernel in it already' } })
  return withSections(stub, image, headers, sections)
}

function commandLineOf(line: string): Uint8Array {
  const octets = utf8(line)
  // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
  if (octets.length > COMMAND_LINE_MAX_OCTETS || /[\u0000-\u001f\u007f]/.test(line))
    throw new TrustError('malformed', 'hostImagePart', {
      facts: { detail: `the command line is not one line of at most ${COMMAND_LINE_MAX_OCTETS} octets` },
    })
  return octets
}

interface Header {
  readonly name: string
  readonly virtualSize: number
  readonly virtualAddress: number
  readonly rawSize: number
  readonly rawOffset: number
}

interface Headers {
  readonly table: readonly Header[]
  /** Where the table of sections begins. */
  readonly tableOffset: number
  /** Where the sections end, in the file. */
  readonly last: number
}

function headersOf(octets: Uint8Array, { sections, sizeOfHeaders }: PEImage): Headers {
  const view = viewOf(octets)
  const pe = view.getUint32(0x3c, true)
  const tableOffset = pe + COFF_HEADER_OCTETS + view.getUint16(pe + 20, true)
  const table = sections.map((range, i): Header => {
    const at = tableOffset + i * SECTION_OCTETS
    return {
      name: new TextDecoder('latin1').decode(octets.subarray(at, at + NAME_OCTETS)).replace(/\0+$/, ''),
      virtualSize: view.getUint32(at + 8, true),
      virtualAddress: view.getUint32(at + 12, true),
      rawSize: range.length,
      rawOffset: range.offset,
    }
  })
  const last = Math.max(sizeOfHeaders, ...table.map(({ rawOffset, rawSize }) => (rawSize > 0 ? rawOffset + rawSize : 0)))
  return { table, tableOffset, last }
}

function withSections(
  stub: Uint8Array,
  image: PEImage,
  { table, tableOffset, last }: Headers,
  sections: readonly Section[],
): Uint8Array {
  const head = new Uint8Array(stub.subarray(0, last)) // without what lies behind: symbols, which nothing reads here
  const view = viewOf(head)
  const pe = view.getUint32(0x3c, true)
  const optional = pe + COFF_HEADER_OCTETS
  const fileAlignment = view.getUint32(optional + 36, true)
  const isPower = (value: number): boolean => value > 0 && (value & (value - 1)) === 0
  if (!isPower(fileAlignment) || !isPower(image.sectionAlignment) || last % fileAlignment !== 0)
    throw badPE('its sections are not aligned')
  const tableEnd = tableOffset + (table.length + sections.length) * SECTION_OCTETS
  if (tableEnd > image.sizeOfHeaders)
    throw new TrustError('unsupported', 'artifactUnsupported', {
      facts: { format: 'PE', detail: 'a stub without room for as many sections' },
    })
  const aligned = (value: number, to: number): number => Math.ceil(value / to) * to
  const alignment = Math.max(image.sectionAlignment, PAGE_OCTETS)
  let address = aligned(Math.max(...table.map((one) => one.virtualAddress + Math.max(one.virtualSize, one.rawSize))), alignment)
  let offset = last
  let at = tableEnd - sections.length * SECTION_OCTETS
  const pieces: Uint8Array[] = [head]
  for (const { name, octets } of sections) {
    const rawSize = aligned(octets.length, fileAlignment)
    head.fill(0, at, at + SECTION_OCTETS)
    head.set(utf8(name), at)
    for (const [place, value] of [
      [8, octets.length],
      [12, address],
      [16, rawSize],
      [20, offset],
      [36, DATA_READ],
    ] as const)
      view.setUint32(at + place, value, true)
    pieces.push(octets, new Uint8Array(rawSize - octets.length))
    at += SECTION_OCTETS
    offset += rawSize
    address = aligned(address + octets.length, alignment)
  }
  view.setUint16(pe + 6, table.length + sections.length, true)
  view.setUint32(pe + 8, 0, true) // TimeDateStamp
  view.setUint32(pe + 12, 0, true) // PointerToSymbolTable
  view.setUint32(pe + 16, 0, true) // NumberOfSymbols
  view.setUint32(optional + 8, view.getUint32(optional + 8, true) + (offset - last), true) // SizeOfInitializedData
  view.setUint32(optional + 56, address, true) // SizeOfImage
  view.setUint32(image.checksumOffset, 0, true) // signing writes it; UEFI does not read it
  return concat(pieces)
}

/** The sections of an image, signed or not. @throws TrustError `malformed`, `unsupported`, `tooLarge` */
export async function sectionsOf(source: BlobSource): Promise<readonly Section[]> {
  if (source.size > UNIFIED_KERNEL_MAX_OCTETS)
    throw new TrustError('tooLarge', 'artifactPartTooLarge', { facts: { what: 'the image', limit: UNIFIED_KERNEL_MAX_OCTETS } })
  const image = await parsePE(source)
  const octets = await source.read(0, source.size)
  return headersOf(octets, image).table.map(({ name, virtualSize, rawSize, rawOffset }) => ({
    name,
    octets: octets.subarray(rawOffset, rawOffset + Math.min(virtualSize, rawSize)),
  }))
}

const viewOf = ({ buffer, byteOffset, length }: Uint8Array): DataView => new DataView(buffer, byteOffset, length)
