/**
 * Images of MCUboot: a header, firmware, entries that are signed with it, entries that are not.
 *
 * Source: MCUboot 2.x, docs/design.md "Image format"; `boot/bootutil/include/bootutil/image.h` for the numbers.
 *
 * @module
 */
import { concat } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import type { BlobSource, Range } from '../format.ts'

const IMAGE_MAGIC = 0x96f3b83d
export const HEADER_OCTETS = 32
const ENTRIES_MAGIC = 0x6907
const PROTECTED_MAGIC = 0x6908
const ENTRY_HEADER_OCTETS = 4
/** Lengths are of 16 bits. */
const AREA_MAX_OCTETS = 0xffff
/** It comes to devices encrypted, and they undo that before they check it: the signature is over the plain firmware. */
const ENCRYPTED_AES128 = 0x4
/** Whether it is encrypted otherwise, or compressed: what a device checks then is another image than this. */
const OTHER_IMAGE_FLAGS = 0x8 | 0x200 | 0x400 | 0x800
const RAM_LOAD = 0x20
const ROM_FIXED = 0x100

/** A type, a length and a value. */
export interface ImageEntry {
  readonly type: number
  readonly value: Uint8Array
}

export interface MCUbootImage {
  /** Header, firmware and protected entries: what hash and signature are over. */
  readonly signed: Range
  /** The firmware: what is encrypted of it. */
  readonly body: Range
  /** Whether its header says that it comes to devices encrypted; it may still be plain. */
  readonly isForEncryption: boolean
  /** Of the part that is not signed; undefined when there is none. */
  readonly entries: readonly ImageEntry[] | undefined
  /** Behind all of these. */
  readonly end: number
}

export interface Version {
  readonly major: number
  readonly minor: number
  readonly revision: number
  readonly build: number
}

export async function isMCUboot(source: BlobSource): Promise<boolean> {
  if (source.size < HEADER_OCTETS) return false
  return viewOf(await source.read(0, 4)).getUint32(0, true) === IMAGE_MAGIC
}

/** @throws TrustError `malformed`, `unsupported` */
export async function parseMCUboot(source: BlobSource): Promise<MCUbootImage> {
  if (!(await isMCUboot(source))) throw badImage('it has no header, or one for a processor that has the other octet first')
  const header = viewOf(await source.read(0, HEADER_OCTETS))
  const headerOctets = header.getUint16(8, true)
  const protectedOctets = header.getUint16(10, true)
  const bodyEnd = headerOctets + header.getUint32(12, true)
  if (headerOctets < HEADER_OCTETS) throw badImage('its header is shorter than a header')
  if (bodyEnd + protectedOctets > source.size) throw badImage('it is cut off')
  const flags = header.getUint32(16, true)
  if ((flags & OTHER_IMAGE_FLAGS) !== 0)
    throw new TrustError('unsupported', 'artifactUnsupported', {
      facts: { format: 'MCUboot', detail: 'firmware that is compressed, or encrypted with AES-256' },
    })
  const signed = { offset: 0, length: bodyEnd + protectedOctets }
  const parts = {
    signed,
    body: { offset: headerOctets, length: bodyEnd - headerOctets },
    isForEncryption: (flags & ENCRYPTED_AES128) !== 0,
  }
  if (protectedOctets > 0) {
    const { length } = await areaAt(source, bodyEnd, PROTECTED_MAGIC)
    if (length !== protectedOctets) throw badImage('header and entries state two lengths of what is protected')
  }
  if (source.size === signed.length) return { ...parts, entries: undefined, end: source.size }
  const { length, entries } = await areaAt(source, signed.length, ENTRIES_MAGIC)
  return { ...parts, entries, end: signed.length + length }
}

async function areaAt(
  source: BlobSource,
  offset: number,
  magic: number,
): Promise<{ readonly length: number; readonly entries: readonly ImageEntry[] }> {
  if (offset + ENTRY_HEADER_OCTETS > source.size) throw badImage('it is cut off')
  const info = viewOf(await source.read(offset, ENTRY_HEADER_OCTETS))
  const length = info.getUint16(2, true)
  if (info.getUint16(0, true) !== magic) throw badImage('no entries follow what is signed')
  if (length < ENTRY_HEADER_OCTETS || offset + length > source.size) throw badImage('its entries are cut off')
  const area = await source.read(offset, length)
  const view = viewOf(area)
  const entries: ImageEntry[] = []
  for (let at = ENTRY_HEADER_OCTETS; at < length;) {
    if (at + ENTRY_HEADER_OCTETS > length) throw badImage('an entry is cut off')
    const start = at + ENTRY_HEADER_OCTETS
    const end = start + view.getUint16(at + 2, true)
    if (end > length) throw badImage('an entry is cut off')
    entries.push({ type: view.getUint16(at, true), value: area.subarray(start, end) })
    at = end
  }
  return { length, entries }
}

/** Whether an entry carries the key that the firmware is encrypted with; AES-KW and RSA are among them. */
export const isKeyEntry = ({ type }: ImageEntry): boolean => type >= 0x30 && type <= 0x34

/** Entries that are not signed. */
export const encodeEntries = (entries: readonly ImageEntry[]): Uint8Array => areaOf(ENTRIES_MAGIC, entries)
/** Entries that are; nothing where there are none. */
export const encodeProtected = (entries: readonly ImageEntry[]): Uint8Array =>
  entries.length === 0 ? new Uint8Array() : areaOf(PROTECTED_MAGIC, entries)

function areaOf(magic: number, entries: readonly ImageEntry[]): Uint8Array {
  const parts = entries.flatMap(({ type, value }) => [pair(type, value.length), value])
  const length = parts.reduce((sum, part) => sum + part.length, ENTRY_HEADER_OCTETS)
  if (length > AREA_MAX_OCTETS)
    throw new TrustError('tooLarge', 'artifactPartTooLarge', { facts: { what: 'its entries', limit: AREA_MAX_OCTETS } })
  return concat([pair(magic, length), ...parts])
}

function pair(first: number, second: number): Uint8Array {
  const octets = new Uint8Array(ENTRY_HEADER_OCTETS)
  const view = viewOf(octets)
  view.setUint16(0, first, true)
  view.setUint16(2, second, true)
  return octets
}

export interface ImageHeader {
  readonly headerOctets: number
  readonly protectedOctets: number
  readonly bodyOctets: number
  readonly version: Version
  /** Where a boot loader copies it to before it starts. */
  readonly loadAddress?: number
  /** Where in flash memory it must lie. */
  readonly romFixed?: number
  readonly isForEncryption?: boolean
}

/** @returns 32 octets, whatever room there is for it */
export function encodeHeader(header: ImageHeader): Uint8Array {
  const { headerOctets, protectedOctets, bodyOctets, version, loadAddress, romFixed, isForEncryption = false } = header
  const octets = new Uint8Array(HEADER_OCTETS)
  const view = viewOf(octets)
  view.setUint32(0, IMAGE_MAGIC, true)
  view.setUint32(4, romFixed ?? loadAddress ?? 0, true)
  view.setUint16(8, headerOctets, true)
  view.setUint16(10, protectedOctets, true)
  view.setUint32(12, bodyOctets, true)
  const place = romFixed !== undefined ? ROM_FIXED : loadAddress !== undefined ? RAM_LOAD : 0
  view.setUint32(16, place | (isForEncryption ? ENCRYPTED_AES128 : 0), true)
  octets.set(encodeVersion(version), 20)
  return octets
}

/** Major and minor number of an octet each, revision of two, build of four. */
export function encodeVersion({ major, minor, revision, build }: Version): Uint8Array {
  const octets = new Uint8Array(8)
  const view = viewOf(octets)
  view.setUint8(0, major)
  view.setUint8(1, minor)
  view.setUint16(2, revision, true)
  view.setUint32(4, build, true)
  return octets
}

const viewOf = (octets: Uint8Array): DataView => new DataView(octets.buffer, octets.byteOffset, octets.length)

export const badImage = (detail: string): TrustError =>
  new TrustError('malformed', 'badArtifact', { facts: { format: 'MCUboot', detail } })
