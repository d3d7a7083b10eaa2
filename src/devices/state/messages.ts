/**
 * What a device says of itself, signed by its operational key: which software it runs, what was started, and the how many-th
 * time it says so. Schema and pure verification, for the device and for whoever judges it.
 *
 * Each report names the one before by its hash and has the next number. A device makes the next one only when the server has
 * this one, and sends the very same octets until then. So two machines with the same key, or one that was put back to an
 * earlier day, come to say two different things under one number, or go on from something that was never last.
 *
 * Source: RFC 7515 (compact form).
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { fromMessageSignature } from '#algorithms/ecdsa.ts'
import { namedSignature } from '#algorithms/message-names.ts'
import { importPublicKey, verifySignature } from '#algorithms/public-key.ts'
import { concat, utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { isJSONObject, type JSONValue, parseJSONObject } from '#jose/json.ts'
import { chainOf, checkCritical, encodeSigningInputHead, parseJWS, payloadOf } from '#jose/jws.ts'
import { parseCertificate } from '#x509/certificate.ts'

export const REPORT_TYPE = 'device-state+jws'
/** A thousand components and a chain of ML-DSA certificates. */
export const REPORT_MAX_OCTETS = 256 << 10
const COMPONENTS_MAX = 1000
const REGISTER_MAX = 23

export interface Component {
  readonly name: string
  readonly version: string
  /** SHA-256, hexadecimal. */
  readonly digest: string
  /** Of the release that it is of, where an update brought it. */
  readonly counter?: number
}

/** Registers of the TPM's SHA-256 bank, and its word for them. */
export interface Boot {
  /** TPMT_PUBLIC of the attestation key. */
  readonly key: Uint8Array
  readonly values: ReadonlyMap<number, Uint8Array>
  /** TPMS_ATTEST and TPMT_SIGNATURE. */
  readonly attest: Uint8Array
  readonly signature: Uint8Array
}

export interface StateReport {
  readonly counter: number
  /** SHA-256 of the report before, hexadecimal; empty in the first. */
  readonly previous: string
  /** What the server gave with its last answer; empty where it has not yet. */
  readonly challenge: string
  /** By the device's own clock. */
  readonly at: Date
  /** Of the trust list it goes by; 0 without one. */
  readonly trustVersion: number
  readonly components: readonly Component[]
  readonly boot?: Boot
}

export interface ReadReport {
  readonly report: StateReport
  /** DER: whose key signed it. Whether that is anybody is for the caller to say. */
  readonly certificate: Uint8Array
  /** SHA-256 of the octets, hexadecimal: what the next one names. */
  readonly digest: string
}

export const reportDigest = (octets: Uint8Array): string => createHash('sha256').update(octets).digest('hex')

/** What the quote answers: a server's challenge, in this very report. */
export const quoteNonce = ({
  challenge,
  counter,
  previous,
}: Pick<StateReport, 'challenge' | 'counter' | 'previous'>): Uint8Array =>
  new Uint8Array(
    createHash('sha256')
      .update(utf8(`${challenge}\n${counter}\n${previous}`))
      .digest(),
  )

export function encodeReport({ at, boot, ...report }: StateReport): Uint8Array {
  const { key, values, attest, signature } = boot ?? {}
  const registers =
    values === undefined ? {} : Object.fromEntries([...values].map(([register, value]) => [register, value.toHex()]))
  const texts =
    boot === undefined
      ? {}
      : { boot: { key: key?.toBase64(), registers, attest: attest?.toBase64(), signature: signature?.toBase64() } }
  return utf8(JSON.stringify({ ...report, at: at.toISOString(), ...texts }))
}

const malformed = (detail: string): TrustError => new TrustError('malformed', 'notReport', { facts: { detail } })

/**
 * Reads it and checks that the key of the certificate in it signed it.
 *
 * @throws TrustError `malformed`, `tooLarge`, `unsupported`, `badProof`
 */
export async function readReport(octets: Uint8Array): Promise<ReadReport> {
  const message = parseJWS(octets, REPORT_MAX_OCTETS)
  const [one, ...others] = message.signatures
  const { encodedPayload } = message
  if (one === undefined || others.length > 0 || encodedPayload === undefined || message.serialization !== 'compact')
    throw malformed('it is not of the compact form')
  checkCritical(one, [])
  if (one.protectedHeader['typ'] !== REPORT_TYPE) throw malformed('it says to be something else')
  const [certificate] = chainOf(one)
  if (certificate === undefined) throw malformed('it carries no certificate')
  const key = importPublicKey(parseCertificate(certificate).subjectPublicKeyInfo)
  const signed = concat([encodeSigningInputHead(one.encodedHeader), utf8(encodedPayload)])
  const algorithm = namedSignature(one.algorithm, key.algorithm)
  const isGood = await verifySignature({ algorithm, octets: fromMessageSignature(one.signature, key.algorithm) }, key, signed)
  if (!isGood) throw new TrustError('badProof', 'reportSignature')
  return { report: parseReport(payloadOf(message, encodedPayload)), certificate, digest: reportDigest(octets) }
}

/** What is signed, after the signature was checked. @throws TrustError `malformed`, `tooLarge` */
export function parseReport(payload: Uint8Array): StateReport {
  const { counter, previous, challenge, at, trustVersion, components, boot } = parseJSONObject(payload, REPORT_MAX_OCTETS)
  if (!isCount(counter) || counter === 0 || !isCount(trustVersion)) throw malformed('a number is missing')
  if (typeof previous !== 'string' || !/^(?:[0-9a-f]{64})?$/.test(previous)) throw malformed('it does not say what was before')
  if (typeof challenge !== 'string' || challenge.length > 64) throw malformed('its challenge is no text')
  if (typeof at !== 'string' || Number.isNaN(Date.parse(at))) throw malformed('its time is none')
  return {
    counter,
    previous,
    challenge,
    at: new Date(at),
    trustVersion,
    components: parseComponents(components),
    ...(boot !== undefined && { boot: bootIn(boot) }),
  }
}

const isCount = (value: JSONValue | undefined): value is number =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0

/** @throws TrustError `malformed` */
export function parseComponents(list: JSONValue | undefined): readonly Component[] {
  if (!Array.isArray(list) || list.length > COMPONENTS_MAX) throw malformed('its components are no list, or too many')
  const components = (list as readonly JSONValue[]).map((item) => {
    const { name, version, digest, counter } = isJSONObject(item) ? item : {}
    if (typeof name !== 'string' || typeof version !== 'string' || typeof digest !== 'string' || !/^[0-9a-f]{64}$/.test(digest))
      throw malformed('a component lacks its name, version or SHA-256 digest')
    if (counter !== undefined && !isCount(counter)) throw malformed('the counter of a component is no number')
    return { name, version, digest, ...(counter !== undefined && { counter }) }
  })
  if (new Set(components.map(({ name }) => name)).size !== components.length) throw malformed('a component is in it twice')
  return components
}

function bootIn(value: JSONValue): Boot {
  const { key, registers, attest, signature } = isJSONObject(value) ? value : {}
  if (!isJSONObject(registers)) throw malformed('its registers are missing')
  return {
    key: octetsOf(key),
    values: new Map(Object.entries(registers).map(([register, digest]) => [registerOf(register), digestOf(digest)])),
    attest: octetsOf(attest),
    signature: octetsOf(signature),
  }
}

function registerOf(text: string): number {
  if (!/^\d{1,2}$/.test(text) || Number(text) > REGISTER_MAX) throw malformed('a register is none')
  return Number(text)
}

function digestOf(value: JSONValue): Uint8Array {
  if (typeof value !== 'string' || !/^[0-9a-f]{64}$/.test(value)) throw malformed('a register has no SHA-256 value')
  return Uint8Array.fromHex(value)
}

function octetsOf(value: JSONValue | undefined): Uint8Array {
  try {
    return Uint8Array.fromBase64(value as string, { lastChunkHandling: 'strict' })
  } catch {
    throw malformed('what the TPM said is not base64')
  }
}

/** The last report that was taken of a device. */
export interface LastReport {
  readonly counter: number
  readonly digest: string
}

/**
 * Whether the device goes on from where it was.
 *
 * `forked`: two machines speak with one key, or one was put back: both are to be held, since nobody can tell from here which
 * is the copy.
 */
export type Continuity = 'next' | 'repeated' | 'forked'

export function continuityOf({ report: { counter, previous }, digest }: ReadReport, last: LastReport | undefined): Continuity {
  if (last === undefined) return counter === 1 && previous === '' ? 'next' : 'forked'
  if (digest === last.digest) return 'repeated' // our answer was lost
  return counter === last.counter + 1 && previous === last.digest ? 'next' : 'forked'
}
