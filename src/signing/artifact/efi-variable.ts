/**
 * What UEFI firmware takes to change its lists of keys and of programs that may start: lists, and what is signed of them.
 *
 * Source: UEFI Specification 2.10, 8.2.2 (EFI_VARIABLE_AUTHENTICATION_2, EFI_TIME), 32.2.4 (WIN_CERTIFICATE_UEFI_GUID),
 * 32.4.1 (EFI_SIGNATURE_LIST), 3.3 and 32.6.1 (names and GUIDs of variables).
 *
 * @module
 */
import { concat, equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import type { BlobSource, Range } from '../format.ts'

const TIME_OCTETS = 16
const GUID_OCTETS = 16
/** Of WIN_CERTIFICATE_UEFI_GUID before the signature; its length counts them. */
const CERTIFICATE_HEADER_OCTETS = 8 + GUID_OCTETS
const HEAD_OCTETS = TIME_OCTETS + CERTIFICATE_HEADER_OCTETS
const REVISION = 0x0200
const TYPE_EFI_GUID = 0x0ef1
/** A message with a chain. */
const SIGNATURE_MAX_OCTETS = 64 << 10
const LIST_HEADER_OCTETS = GUID_OCTETS + 12
/** A list for each kind, and one for each certificate, as they differ in length. */
const LISTS_MAX = 1024

/** As they stand in memory: the first three parts with their least significant octet first. */
export const GLOBAL_VARIABLE = Uint8Array.fromHex('61dfe48bca93d211aa0d00e098032b8c') // 8be4df61-93ca-11d2-aa0d-00e098032b8c
export const IMAGE_SECURITY = Uint8Array.fromHex('cbb219d73a3d9645a3bcdad00e67656f') // d719b2cb-3d3a-4596-a3bc-dad00e67656f
const TYPE_PKCS7 = Uint8Array.fromHex('9dd2af4adf68ee498aa9347d375665a7') // 4aafd29d-68df-49ee-8aa9-347d375665a7
/** EFI_CERT_X509_GUID: a list of certificates. */
export const EFI_CERT_X509 = 'a159c0a5e494a74a87b5ab155c2bf072'
/** These and EFI_CERT_SHA256_GUID: what nearly every list holds. */
const USUAL_LISTS: ReadonlySet<string> = new Set([EFI_CERT_X509, '2616c4c14c509240aca941f936934328'])

/** Whose keys are those of the platform, of who may change lists, of who may sign programs, and of who may not. */
export const efiVariables = ['PK', 'KEK', 'db', 'dbx', 'dbt', 'dbr'] as const
export type EFIVariable = (typeof efiVariables)[number]

/** NON_VOLATILE, BOOTSERVICE_ACCESS, RUNTIME_ACCESS, TIME_BASED_AUTHENTICATED_WRITE_ACCESS. */
const ATTRIBUTES = 0x27
const APPEND_WRITE = 0x40

export interface Update {
  readonly variable: EFIVariable
  /** Added to what is there, in place of instead of it. */
  readonly isAppended: boolean
}

/** What is signed before the data. @param time an EFI_TIME */
export function signedBefore({ variable, isAppended }: Update, time: Uint8Array): Uint8Array {
  const attributes = new Uint8Array(4)
  new DataView(attributes.buffer).setUint32(0, isAppended ? ATTRIBUTES | APPEND_WRITE : ATTRIBUTES, true)
  const name = new Uint8Array(Buffer.from(variable, 'utf16le')) // without the zero that ends it
  return concat([name, variable === 'PK' || variable === 'KEK' ? GLOBAL_VARIABLE : IMAGE_SECURITY, attributes, time])
}

/** EFI_TIME of a moment in UTC, all else zero. @param text as 2027-05-01T10:00:00Z @throws TrustError `malformed` */
export function encodeTime(text: string): Uint8Array {
  const at = /^[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}Z$/.test(text) ? new Date(text) : new Date(Number.NaN)
  if (Number.isNaN(at.getTime()) || at.toISOString() !== text.replace('Z', '.000Z') || at.getUTCFullYear() < 1900)
    throw badVariable('its time is not written as 2027-05-01T10:00:00Z')
  const octets = new Uint8Array(TIME_OCTETS)
  new DataView(octets.buffer).setUint16(0, at.getUTCFullYear(), true)
  octets.set([at.getUTCMonth() + 1, at.getUTCDate(), at.getUTCHours(), at.getUTCMinutes(), at.getUTCSeconds()], 2)
  return octets
}

/** @param signature DER SignedData */
export function encodeAuthentication(time: Uint8Array, signature: Uint8Array): Uint8Array {
  if (signature.length > SIGNATURE_MAX_OCTETS) throw tooLarge()
  const header = new Uint8Array(8)
  const view = new DataView(header.buffer)
  view.setUint32(0, CERTIFICATE_HEADER_OCTETS + signature.length, true)
  view.setUint16(4, REVISION, true)
  view.setUint16(6, TYPE_EFI_GUID, true)
  return concat([time, header, TYPE_PKCS7, signature])
}

export interface Authenticated {
  /** EFI_TIME. */
  readonly time: Uint8Array
  /** DER, with or without a ContentInfo around it. */
  readonly signature: Uint8Array
  readonly data: Range
}

/** @returns undefined when it is no update that is signed @throws TrustError `malformed`, `tooLarge` */
export async function parseAuthenticated(source: BlobSource): Promise<Authenticated | undefined> {
  if (source.size < HEAD_OCTETS) return undefined
  const head = await source.read(0, HEAD_OCTETS)
  const view = new DataView(head.buffer, head.byteOffset, head.length)
  const isKind = view.getUint16(TIME_OCTETS + 4, true) === REVISION && view.getUint16(TIME_OCTETS + 6, true) === TYPE_EFI_GUID
  if (!isKind || !equal(head.subarray(TIME_OCTETS + 8), TYPE_PKCS7)) return undefined
  const length = view.getUint32(TIME_OCTETS, true)
  if (length <= CERTIFICATE_HEADER_OCTETS || length > source.size - TIME_OCTETS) throw badVariable('its signature is cut off')
  if (length > CERTIFICATE_HEADER_OCTETS + SIGNATURE_MAX_OCTETS) throw tooLarge()
  const time = head.slice(0, TIME_OCTETS)
  checkTime(time)
  const start = TIME_OCTETS + length
  return {
    time,
    signature: await source.read(HEAD_OCTETS, length - CERTIFICATE_HEADER_OCTETS),
    data: { offset: start, length: source.size - start },
  }
}

/** 8.2.2: what is not the time of day in UTC is zero. */
function checkTime(time: Uint8Array): void {
  const [, , month = 0, day = 0, hour = 0, minute = 0, second = 0, ...zeros] = time
  const isTime = month >= 1 && month <= 12 && day >= 1 && day <= 31 && hour < 24 && minute < 60 && second < 60
  if (!isTime || zeros.some((octet) => octet !== 0)) throw badVariable('its time is none')
}

/** An update that nobody signed yet begins with a list. */
export async function isSignatureList(source: BlobSource): Promise<boolean> {
  if (source.size < LIST_HEADER_OCTETS) return false
  if (!USUAL_LISTS.has((await source.read(0, GUID_OCTETS)).toHex())) return false
  try {
    await checkSignatureLists(source, { offset: 0, length: source.size })
    return true
  } catch {
    return false
  }
}

/** EFI_SIGNATURE_LIST, one after the other; none empties the variable. @throws TrustError `malformed`, `tooLarge` */
export async function checkSignatureLists(source: BlobSource, { offset, length }: Range): Promise<void> {
  const end = offset + length
  let lists = 0
  for (let at = offset; at < end;) {
    if (end - at < LIST_HEADER_OCTETS) throw badVariable('a list of signatures is cut off')
    if (++lists > LISTS_MAX) throw new TrustError('tooLarge', 'artifactTooMany', { facts: { what: 'lists', limit: LISTS_MAX } })
    const header = await source.read(at + GUID_OCTETS, 12)
    const view = new DataView(header.buffer, header.byteOffset, header.length)
    const [list, between, each] = [view.getUint32(0, true), view.getUint32(4, true), view.getUint32(8, true)]
    const signatures = list - LIST_HEADER_OCTETS - between
    if (list > end - at || each <= GUID_OCTETS || signatures <= 0 || signatures % each !== 0)
      throw badVariable('a list of signatures states lengths that do not fit')
    at += list
  }
}

const tooLarge = (): TrustError =>
  new TrustError('tooLarge', 'artifactPartTooLarge', { facts: { what: 'its signature', limit: SIGNATURE_MAX_OCTETS } })

export const badVariable = (detail: string): TrustError =>
  new TrustError('malformed', 'badArtifact', { facts: { format: 'UEFI variable', detail } })
