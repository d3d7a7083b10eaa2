/**
 * Cabinets: the header, what of it a signature leaves out, and room in it for where the signature lies.
 *
 * Source: Microsoft, [MS-CAB] Cabinet File Format, version 3.0, 2.1 to 2.3. What lies in `abReserve` of a signed cabinet
 * was learned from what programs of Microsoft and others sign.
 *
 * @module
 */
import { concat } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import type { BlobSource, Range } from '../format.ts'

const MAGIC = 0x4d534346
const HEADER_OCTETS = 36
/** `cbCFHeader`, `cbCFFolder`, `cbCFData`, and `abReserve`, where it is as signatures need it. */
const RESERVE_OCTETS = 24
const RESERVE_HEADER_OCTETS = 20
const RESERVE_MARK = 0x00100000
const FOLDER_OCTETS = 8
/** Four names with their zeros (2.1). */
const NAMES_MAX_OCTETS = 4 * 256
/** All folders that a header can count. */
const HEAD_MAX_OCTETS = HEADER_OCTETS + RESERVE_OCTETS + NAMES_MAX_OCTETS + 0xffff * FOLDER_OCTETS
const PREVIOUS_CABINET = 1
const NEXT_CABINET = 2
const RESERVE_PRESENT = 4
const SIZE_MAX_OCTETS = 0xffffffff

export interface Cabinet {
  /** Header, names and folders as they are once there is room for a signature. */
  readonly head: Uint8Array
  /** Files and data: to where the signature begins or the cabinet ends. */
  readonly rest: Range
  /** Whether the head is as it stands in the file. */
  readonly hasRoom: boolean
  /** 0 for a cabinet that nobody signed. */
  readonly signatureLength: number
}

export async function isCabinet(source: BlobSource): Promise<boolean> {
  if (source.size < HEADER_OCTETS) return false
  const view = viewOf(await source.read(0, HEADER_OCTETS))
  return view.getUint32(0) === MAGIC && view.getUint32(4) === 0 && view.getUint16(24, true) === 0x0103
}

/** @throws TrustError `malformed` for a header that lies, `unsupported` for what is signed in another way or not at all */
export async function parseCabinet(source: BlobSource): Promise<Cabinet> {
  if (!(await isCabinet(source))) throw badCabinet('it does not begin as one')
  const octets = await source.read(0, Math.min(source.size, HEAD_MAX_OCTETS))
  const view = viewOf(octets)
  const cabinetSize = view.getUint32(8, true)
  const filesOffset = view.getUint32(16, true)
  const folderCount = view.getUint16(26, true)
  const flags = view.getUint16(30, true)
  if (view.getUint32(12) !== 0 || view.getUint32(20) !== 0 || folderCount === 0 || flags > 7)
    throw badCabinet('its header has something where nothing is')
  if ((flags & PREVIOUS_CABINET) !== 0 || view.getUint16(34) !== 0) throw unsupported('it continues another cabinet')
  const hasRoom = (flags & RESERVE_PRESENT) !== 0
  const signature = hasRoom ? signatureIn(source, view) : { offset: source.size, length: 0 }
  if (cabinetSize !== signature.offset) throw badCabinet('it has not the size that its header says')
  const namesOffset = HEADER_OCTETS + (hasRoom ? RESERVE_OCTETS : 0)
  const folders = (flags & NEXT_CABINET) === 0 ? namesOffset : afterNames(octets, namesOffset)
  const end = folders + folderCount * FOLDER_OCTETS
  if (end !== filesOffset || end > signature.offset) throw badCabinet('its files do not follow its folders')
  for (let at = folders; at < end; at += FOLDER_OCTETS) {
    const data = view.getUint32(at, true)
    if (data < end || data > signature.offset) throw badCabinet('the data of a folder lies outside')
  }
  const rest = { offset: end, length: signature.offset - end }
  if (hasRoom) return { head: octets.subarray(0, end), rest, hasRoom, signatureLength: signature.length }
  return { head: withRoom(octets.subarray(0, end), folders), rest, hasRoom, signatureLength: 0 }
}

/** It ends the file, or is not there. */
function signatureIn({ size }: BlobSource, view: DataView): Range {
  if (view.byteLength < HEADER_OCTETS + RESERVE_OCTETS) throw badCabinet('it ends within its header')
  if (view.getUint16(36, true) !== RESERVE_HEADER_OCTETS || view.getUint16(38) !== 0)
    throw unsupported('its header has room for something else than a signature')
  const [offset, length] = [view.getUint32(44, true), view.getUint32(48, true)]
  if (view.getUint32(40, true) !== RESERVE_MARK || view.getUint32(52) !== 0 || view.getUint32(56) !== 0)
    throw unsupported('its header has room for something else than a signature')
  if (offset === 0 && length === 0) return { offset: size, length: 0 }
  if (length === 0 || offset + length !== size) throw badCabinet('its signature is not what ends the file')
  return { offset, length }
}

/** Behind the names of the next cabinet and its disk. */
function afterNames(octets: Uint8Array, from: number): number {
  const first = octets.indexOf(0, from)
  const second = first < 0 ? -1 : octets.indexOf(0, first + 1)
  if (second < 0 || first - from > 255 || second - first > 256) throw badCabinet('the name of the next cabinet has no end')
  return second + 1
}

/** Everything that says where something lies says it for what is further behind now. */
function withRoom(head: Uint8Array, folders: number): Uint8Array {
  const moved = concat([head.subarray(0, HEADER_OCTETS), new Uint8Array(RESERVE_OCTETS), head.subarray(HEADER_OCTETS)])
  const view = viewOf(moved)
  const cabinetSize = view.getUint32(8, true) + RESERVE_OCTETS
  if (cabinetSize > SIZE_MAX_OCTETS)
    throw new TrustError('tooLarge', 'artifactPartTooLarge', { facts: { what: 'it', limit: SIZE_MAX_OCTETS } })
  view.setUint32(8, cabinetSize, true)
  view.setUint32(16, view.getUint32(16, true) + RESERVE_OCTETS, true)
  view.setUint16(30, view.getUint16(30, true) | RESERVE_PRESENT, true)
  view.setUint16(36, RESERVE_HEADER_OCTETS, true)
  view.setUint32(40, RESERVE_MARK, true)
  for (let at = folders + RESERVE_OCTETS; at < moved.length; at += FOLDER_OCTETS)
    view.setUint32(at, view.getUint32(at, true) + RESERVE_OCTETS, true)
  return moved
}

/** What a signature covers of the head: all but what must be as it is, and where the signature lies. */
export const hashedOfHead = ({ head }: Cabinet): readonly Range[] => [
  { offset: 0, length: 4 },
  { offset: 8, length: 26 },
  { offset: 56, length: head.length - 56 },
]

/** @returns the head that says where the signature lies @throws TrustError `tooLarge` */
export function headFor({ head, rest }: Cabinet, signatureLength: number): Uint8Array {
  const signed = new Uint8Array(head)
  const offset = head.length + rest.length
  if (offset + signatureLength > SIZE_MAX_OCTETS)
    throw new TrustError('tooLarge', 'artifactPartTooLarge', { facts: { what: 'it', limit: SIZE_MAX_OCTETS } })
  viewOf(signed).setUint32(44, offset, true)
  viewOf(signed).setUint32(48, signatureLength, true)
  return signed
}

const viewOf = ({ buffer, byteOffset, length }: Uint8Array): DataView => new DataView(buffer, byteOffset, length)

const badCabinet = (detail: string): TrustError =>
  new TrustError('malformed', 'badArtifact', { facts: { format: 'cabinet', detail } })
const unsupported = (detail: string): TrustError =>
  new TrustError('unsupported', 'artifactUnsupported', { facts: { format: 'cabinet', detail } })
