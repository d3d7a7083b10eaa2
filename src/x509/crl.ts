/**
 * Certificate revocation lists of any length: written in one pass over their entries, read one entry at a time.
 *
 * Source: RFC 5280, 5.
 *
 * @module
 */
import { identifySignature, type PublicKey, verifySignature } from '#algorithms/public-key.ts'
import { ANY } from '#asn1/any.ts'
import { captured, decode, encode, explicit, optional, sequence, tagged } from '#asn1/codec.ts'
import { Reader } from '#asn1/reader.ts'
import { BIT_STRING_OCTETS, INTEGER_OCTETS, SMALL_INTEGER } from '#asn1/types.ts'
import { encodeHeader } from '#asn1/writer.ts'
import { equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { type CRLReason, crlReasons } from './extensions/crl-extensions.ts'
import {
  type Extension,
  Extensions,
  ExtensionsAsGiven,
  type ExtensionType,
  type ReadExtension,
  readExtension,
} from './extensions/extension.ts'
import { Name } from './name.ts'
import { signatureIdentifier, type SignatureMaker } from './signed.ts'
import { Time } from './time.ts'

/** 1,300,000 entries of the usual size. Larger populations are cut into shards, for the sake of those who fetch them. */
export const CRL_MAX_OCTETS = 64 << 20

const SEQUENCE = 0x30

/** The entries as they stand, unread: there may be a million. */
const Entries = tagged(
  'revokedCertificates',
  SEQUENCE,
  (from) => from.takeRest(),
  (to, content) => to.octets(content),
)

const TBSCertList = sequence('TBSCertList', {
  version: optional(SMALL_INTEGER),
  signature: ANY,
  issuer: ANY,
  thisUpdate: Time,
  nextUpdate: optional(Time),
  revokedCertificates: optional(Entries),
  crlExtensions: optional(explicit(0, Extensions)),
})

const SignedList = sequence('CertificateList', {
  tbsCertList: captured(TBSCertList),
  signatureAlgorithm: ANY,
  signatureValue: BIT_STRING_OCTETS,
})

const Entry = sequence('revokedCertificate', {
  userCertificate: INTEGER_OCTETS,
  revocationDate: Time,
  crlEntryExtensions: optional(Extensions),
})

/** Octets are views of `der`. */
export interface CertificateList {
  readonly der: Uint8Array
  /** The bytes that the issuer signed. */
  readonly tbsCertList: Uint8Array
  readonly version: 1 | 2
  /** DER AlgorithmIdentifier. */
  readonly signatureAlgorithm: Uint8Array
  /** DER Name. */
  readonly issuer: Uint8Array
  readonly thisUpdate: Date
  /** RFC 5280 asks for it; lists without it exist. */
  readonly nextUpdate?: Date
  readonly extensions: readonly Extension[]
  readonly signatureValue: Uint8Array
  /** Reads one entry after the other. @throws TrustError `malformed` at the entry that is */
  entries(): IterableIterator<RevokedCertificate>
}

export interface RevokedCertificate {
  /** Content octets of the INTEGER. */
  readonly serialNumber: Uint8Array
  readonly revokedAt: Date
  readonly extensions: readonly Extension[]
}

/** @throws TrustError `malformed`, `tooLarge` above {@link CRL_MAX_OCTETS} */
export function parseCertificateList(der: Uint8Array): CertificateList {
  const { tbsCertList, signatureAlgorithm, signatureValue } = decode(SignedList, der, { maxOctets: CRL_MAX_OCTETS })
  const { version = 0, signature, issuer, thisUpdate, nextUpdate, revokedCertificates, crlExtensions = [] } = tbsCertList.value
  if (version > 1) throw unusable(`its version is ${version + 1}`)
  if (crlExtensions.length > 0 && version === 0) throw unusable('it has extensions and is version 1') // RFC 5280, 5.1.2.1
  if (!equal(signature, signatureAlgorithm)) throw unusable('its two signature algorithms differ') // RFC 5280, 5.1.1.2
  if (revokedCertificates?.length === 0) throw unusable('its list of entries is present and empty') // RFC 5280, 5.1.2.6
  return {
    der,
    tbsCertList: tbsCertList.der,
    version: (version + 1) as 1 | 2,
    signatureAlgorithm,
    issuer,
    thisUpdate,
    ...(nextUpdate !== undefined && { nextUpdate }),
    extensions: crlExtensions,
    signatureValue,
    entries: () => readEntries(revokedCertificates ?? new Uint8Array(0)),
  }
}

function* readEntries(content: Uint8Array): IterableIterator<RevokedCertificate> {
  const from = new Reader(content, { maxOctets: CRL_MAX_OCTETS })
  while (from.more) {
    const { userCertificate, revocationDate, crlEntryExtensions = [] } = Entry.read(from)
    yield { serialNumber: userCertificate, revokedAt: revocationDate, extensions: crlEntryExtensions }
  }
}

const unusable = (detail: string): TrustError => new TrustError('malformed', 'badCRL', { facts: { detail } })

/** @returns undefined when the list, or the entry, does not have it @throws TrustError `malformed` */
export const extensionOfList = <T>(
  { extensions }: { readonly extensions: readonly Extension[] },
  type: ExtensionType<T>,
): ReadExtension<T> | undefined => readExtension(extensions, type)

/** Whether this key signed the list. @throws TrustError `unsupported` for a signature algorithm that is not in the table */
export const verifyListSignature = async (list: CertificateList, issuerPublicKey: PublicKey): Promise<boolean> =>
  verifySignature(
    { algorithm: identifySignature(list.signatureAlgorithm), octets: list.signatureValue },
    issuerPublicKey,
    list.tbsCertList,
  )

export interface RevokedEntry {
  /** Content octets of the INTEGER. */
  readonly serialNumber: Uint8Array
  /** Fractions of a second are cut off. */
  readonly revokedAt: Date
  /** `unspecified` is left out, as RFC 5280, 5.3.1 asks. */
  readonly reason?: CRLReason
}

export interface CertificateListFields {
  readonly issuer: Uint8Array | Name
  readonly thisUpdate: Date
  readonly nextUpdate: Date
  /**
   * In this order; octets are whole DER Extensions. RFC 5280 wants the authority's key identifier and the CRL number
   * in every list, issuingDistributionPoint in a shard and deltaCRLIndicator in a delta.
   */
  readonly extensions: readonly [Uint8Array | Extension, ...(Uint8Array | Extension)[]]
}

const VERSION_2 = encode(SMALL_INTEGER, 1)

/**
 * Writes and signs a version 2 list.
 *
 * The entries are read once and kept as their DER, about 50 octets each; the whole of what is signed is in memory
 * when the signer gets it, because a signer takes a message and not a digest.
 *
 * @param entries in any order, each serial number once
 * @returns DER CertificateList
 * @throws TrustError `tooLarge` above {@link CRL_MAX_OCTETS}
 */
export async function encodeCertificateList(
  fields: CertificateListFields,
  entries: Iterable<RevokedEntry> | AsyncIterable<RevokedEntry>,
  signer: SignatureMaker,
): Promise<Uint8Array> {
  const identifier = signatureIdentifier(signer.signatureAlgorithm)
  const written = new EntryWriter()
  if (Symbol.asyncIterator in entries) for await (const entry of entries) written.put(entry)
  else for (const entry of entries) written.put(entry)
  const issuer = fields.issuer instanceof Uint8Array ? fields.issuer : encode(Name, fields.issuer)
  const head = [VERSION_2, identifier, issuer, encode(Time, fields.thisUpdate), encode(Time, fields.nextUpdate)]
  const list = written.size === 0 ? [] : [encodeHeader(SEQUENCE, written.size), ...written.take()]
  const parts = [...head, ...list, encode(explicit(0, ExtensionsAsGiven), fields.extensions)]
  const size = parts.reduce((sum, { length }) => sum + length, 0)
  if (size > CRL_MAX_OCTETS - SIGNATURE_ROOM)
    throw new TrustError('tooLarge', 'derTooLarge', { facts: { limit: CRL_MAX_OCTETS } })
  return sealParts(parts, size, identifier, signer)
}

/** More than the largest signature of any algorithm, SLH-DSA's of 50 kB, and the headers around it. */
const SIGNATURE_ROOM = 64 << 10
/** An outer header of at most 6 octets goes before what is signed. */
const FRONT_ROOM = 6

/** One buffer for the signed list with room on both sides, so that 50 MB are copied once. */
async function sealParts(
  parts: readonly Uint8Array[],
  size: number,
  identifier: Uint8Array,
  signer: SignatureMaker,
): Promise<Uint8Array> {
  const header = encodeHeader(SEQUENCE, size)
  const end = FRONT_ROOM + header.length + size
  const buffer = new Uint8Array(end + SIGNATURE_ROOM)
  let at = FRONT_ROOM
  for (const part of [header, ...parts]) {
    buffer.set(part, at)
    at += part.length
  }
  const signature = encode(BIT_STRING_OCTETS, await signer.sign(buffer.subarray(FRONT_ROOM, end)))
  buffer.set(identifier, end)
  buffer.set(signature, end + identifier.length)
  const last = end + identifier.length + signature.length
  const outer = encodeHeader(SEQUENCE, last - FRONT_ROOM)
  buffer.set(outer, FRONT_ROOM - outer.length)
  return buffer.subarray(FRONT_ROOM - outer.length, last)
}

const CHUNK_OCTETS = 256 << 10
/** A serial number of 64 octets, a GeneralizedTime, a reason and four headers. */
const ENTRY_MAX_OCTETS = 128
/** SEQUENCE { SEQUENCE { id-ce-cRLReasons, OCTET STRING { ENUMERATED } } }, all but the reason. */
const REASON = Uint8Array.fromHex('300c300a0603551d1504030a01')
const SERIAL_NUMBER_MAX_OCTETS = 64

/** Entries as DER in chunks, written forward and without an object between: a plant revokes a million at once. */
class EntryWriter {
  size = 0
  readonly #full: Uint8Array[] = []
  #chunk = new Uint8Array(CHUNK_OCTETS)
  #at = 0

  put({ serialNumber, revokedAt, reason }: RevokedEntry): void {
    if (serialNumber.length === 0 || serialNumber.length > SERIAL_NUMBER_MAX_OCTETS)
      throw new TypeError('a serial number has no usable length')
    if (this.#at + ENTRY_MAX_OCTETS > CHUNK_OCTETS) {
      this.#full.push(this.#chunk.subarray(0, this.#at))
      this.#chunk = new Uint8Array(CHUNK_OCTETS)
      this.#at = 0
    }
    const chunk = this.#chunk
    const start = this.#at
    let at = start + 2
    chunk[at++] = 0x02
    chunk[at++] = serialNumber.length
    chunk.set(serialNumber, at)
    at += serialNumber.length
    at += putTime(chunk, at, revokedAt)
    if (reason !== undefined && reason !== 'unspecified') {
      chunk.set(REASON, at)
      at += REASON.length
      chunk[at++] = crlReasons[reason]
    }
    chunk[start] = SEQUENCE
    chunk[start + 1] = at - start - 2 // below 128: ENTRY_MAX_OCTETS
    this.size += at - start
    this.#at = at
  }

  take(): Uint8Array[] {
    return [...this.#full, this.#chunk.subarray(0, this.#at)]
  }
}

const DAY_SECONDS = 86_400
/** The last day that was written, at midnight, as DER; only the six digits before its Z change. */
let templateDay = Number.NaN
let template = new Uint8Array(0)

function putTime(chunk: Uint8Array, at: number, time: Date): number {
  const second = Math.floor(time.getTime() / 1000)
  const day = Math.floor(second / DAY_SECONDS)
  if (day !== templateDay) {
    template = new Uint8Array(encode(Time, new Date(day * DAY_SECONDS * 1000)))
    templateDay = day
  }
  chunk.set(template, at)
  const ofDay = second - day * DAY_SECONDS
  const digits = at + template.length - 7
  putTwo(chunk, digits, Math.floor(ofDay / 3600))
  putTwo(chunk, digits + 2, Math.floor(ofDay / 60) % 60)
  putTwo(chunk, digits + 4, ofDay % 60)
  return template.length
}

function putTwo(chunk: Uint8Array, at: number, number: number): void {
  chunk[at] = 0x30 + Math.floor(number / 10)
  chunk[at + 1] = 0x30 + (number % 10)
}
