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
import { concat, equal } from '#base/bytes.ts'
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
  /** Content octets of the INTEGER, or their hexadecimal digits, of which a million take less time. */
  readonly serialNumber: Uint8Array | string
  /** Fractions of a second are cut off. A number is milliseconds since the Unix epoch. */
  readonly revokedAt: Date | number
  /** `unspecified` is left out, as RFC 5280, 5.3.1 asks. */
  readonly reason?: CRLReason | null
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

/** Puts one entry after the other, each serial number once, in any order; `again` takes back all that it has put. */
export type EntrySource = (put: (entry: RevokedEntry) => void, again: () => void) => Promise<void> | void

/**
 * Writes and signs a version 2 list.
 *
 * Each entry is written where it stays, about 50 octets in one buffer; the whole of what is signed is in memory when
 * the signer gets it, because a signer takes a message and not a digest.
 *
 * @param entries a sequence, or a function that puts them: the shortest way for a million
 * @param expected about how many entries come, so that the buffer need not grow
 * @returns DER CertificateList
 * @throws TrustError `tooLarge` above {@link CRL_MAX_OCTETS}
 */
export async function encodeCertificateList(
  fields: CertificateListFields,
  entries: Iterable<RevokedEntry> | EntrySource,
  signer: SignatureMaker,
  expected = 0,
): Promise<Uint8Array> {
  const identifier = signatureIdentifier(signer.signatureAlgorithm)
  const issuer = fields.issuer instanceof Uint8Array ? fields.issuer : encode(Name, fields.issuer)
  const head = concat([VERSION_2, identifier, issuer, encode(Time, fields.thisUpdate), encode(Time, fields.nextUpdate)])
  const to = new ListWriter(HEADER_MAX_OCTETS * 3 + head.length, expected)
  if (typeof entries === 'function')
    await entries(
      (entry) => to.put(entry),
      () => to.clear(),
    )
  else for (const entry of entries) to.put(entry)
  if (to.size > 0) to.putBefore(encodeHeader(SEQUENCE, to.size))
  to.putBefore(head)
  to.putAfter(encode(explicit(0, ExtensionsAsGiven), fields.extensions))
  to.putBefore(encodeHeader(SEQUENCE, to.size))
  const signature = encode(BIT_STRING_OCTETS, await signer.sign(to.written()))
  to.putAfter(identifier)
  to.putAfter(signature)
  to.putBefore(encodeHeader(SEQUENCE, to.size))
  return to.written()
}

/** One octet of tag, five of length. */
const HEADER_MAX_OCTETS = 6
/** A serial number of 64 octets, a GeneralizedTime, a reason and four headers. */
const ENTRY_MAX_OCTETS = 128
/** Our serial numbers with a UTCTime and a reason take 49. */
const ENTRY_USUAL_OCTETS = 52
/** Extensions and the signature of most algorithms. */
const TAIL_OCTETS = 8 << 10
/** SEQUENCE { SEQUENCE { id-ce-cRLReasons, OCTET STRING { ENUMERATED } } }, all but the reason. */
const REASON = Uint8Array.fromHex('300c300a0603551d1504030a01')
const SERIAL_NUMBER_MAX_OCTETS = 64

/** One buffer with room before its content, since what stands before has lengths that are known last. */
class ListWriter {
  #buffer: Uint8Array
  #start: number
  #end: number

  constructor(before: number, expected: number) {
    this.#buffer = new Uint8Array(before + (expected + 16) * ENTRY_USUAL_OCTETS + TAIL_OCTETS)
    this.#start = this.#end = before
  }

  get size(): number {
    return this.#end - this.#start
  }

  written(): Uint8Array {
    return this.#buffer.subarray(this.#start, this.#end)
  }

  putBefore(octets: Uint8Array): void {
    this.#start -= octets.length
    this.#buffer.set(octets, this.#start)
  }

  putAfter(octets: Uint8Array): void {
    this.#makeRoom(octets.length)
    this.#buffer.set(octets, this.#end)
    this.#end += octets.length
  }

  /** Before anything was put before. */
  clear(): void {
    this.#end = this.#start
  }

  put({ serialNumber, revokedAt, reason }: RevokedEntry): void {
    const octets = typeof serialNumber === 'string' ? serialNumber.length / 2 : serialNumber.length
    if (octets === 0 || octets > SERIAL_NUMBER_MAX_OCTETS || !Number.isInteger(octets))
      throw new TypeError('a serial number has no usable length')
    this.#makeRoom(ENTRY_MAX_OCTETS)
    const buffer = this.#buffer
    const start = this.#end
    let at = start + 2
    buffer[at++] = 0x02
    buffer[at++] = octets
    if (typeof serialNumber !== 'string') for (let i = 0; i < octets; i++) buffer[at++] = serialNumber[i] as number
    else for (let i = 0; i < octets; i++) buffer[at++] = (digitAt(serialNumber, 2 * i) << 4) | digitAt(serialNumber, 2 * i + 1)
    at += putTime(buffer, at, revokedAt)
    if (reason !== undefined && reason !== null && reason !== 'unspecified') {
      buffer.set(REASON, at)
      at += REASON.length
      buffer[at++] = crlReasons[reason]
    }
    buffer[start] = SEQUENCE
    buffer[start + 1] = at - start - 2 // below 128: ENTRY_MAX_OCTETS
    this.#end = at
  }

  #makeRoom(octets: number): void {
    const needed = this.#end + octets
    if (needed > CRL_MAX_OCTETS) throw new TrustError('tooLarge', 'derTooLarge', { facts: { limit: CRL_MAX_OCTETS } })
    if (needed <= this.#buffer.length) return
    const larger = new Uint8Array(Math.min(Math.max(this.#buffer.length * 2, needed), CRL_MAX_OCTETS))
    larger.set(this.#buffer)
    this.#buffer = larger
  }
}

/** Of a hexadecimal digit in either case; the database spells them. */
function digitAt(text: string, at: number): number {
  const code = text.charCodeAt(at)
  return code < 0x3a ? code - 0x30 : (code & 0xf) + 9
}

const DAY_SECONDS = 86_400
/** The last day that was written, at midnight, as DER; only the six digits before its Z change. */
let templateDay = Number.NaN
let template = new Uint8Array(0)

function putTime(chunk: Uint8Array, at: number, time: Date | number): number {
  const second = Math.floor(Number(time) / 1000)
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
