/**
 * Usage records: what a device counted, signed by its operational key, each naming the one before by its hash. Schema and pure
 * verification, for the device as well as for whoever bills by them.
 *
 * Counters hold totals that only grow: a record that is lost costs when, and never how much. A chain belongs to one device and
 * has a random name, so that a device that lost its chain cannot but begin another, which nobody takes without an officer.
 *
 * The hash is over what was counted and not over the signature: a record that could not be sent is signed anew when it can be,
 * by the key that the device has then, and still is the same record.
 *
 * Source: RFC 9052; RFC 9360 (x5chain); RFC 9596 (typ).
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { fromMessageSignature } from '#algorithms/ecdsa.ts'
import { namedSignature } from '#algorithms/message-names.ts'
import { importPublicKey, verifySignature } from '#algorithms/public-key.ts'
import { equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { type CBOR, encodeCBOR, type Label, parseCBOR } from '#cbor/cbor.ts'
import { algorithmOf, chainOf, checkCritical, headers, parseCOSE, thumbprintOf } from '#cbor/cose.ts'
import { type COSESigner, octetsToSign, signCOSE1 } from '#cbor/cose-signing.ts'
import { arrayOf, integerOf, mapOf, octetsOf } from '#cbor/typed.ts'
import { fingerprint, parseCertificate } from '#x509/certificate.ts'

export const USAGE_TYPE = 'device-usage+cbor'
/** All counters, and a chain of ML-DSA certificates. */
export const USAGE_MAX_OCTETS = 64 << 10
export const COUNTERS_MAX = 64
/** A counter of microseconds for 285 years. */
export const VALUE_MAX = Number.MAX_SAFE_INTEGER
const NUMBER_MAX = 2 ** 40
const SECONDS_MAX = Date.UTC(9999, 11, 31) / 1000
export const COUNTER_NAME = /^[a-z0-9][a-z0-9._-]{0,63}$/
/** `1`, `h`, `mL`, `kWh`: letters of UCUM and what stands between them. */
export const UNIT = /^[A-Za-z0-9%/*.^-]{1,16}$/

export interface Counter {
  readonly name: string
  readonly unit: string
  /** In all, since the chain began. */
  readonly value: number
}

/** Times are in milliseconds, of whole seconds, by the device's own clock. */
export interface UsageRecord {
  /** Random, 16 octets as hexadecimal: one for each beginning. */
  readonly chain: string
  /** From 1. */
  readonly number: number
  /** Hash of the record before; empty in the first. */
  readonly previous: string
  readonly from: number
  readonly to: number
  /** By name. */
  readonly counters: readonly Counter[]
}

export interface ReadUsage {
  readonly record: UsageRecord
  /** DER: whose key signed it. Whether that is anybody is for the caller to say. */
  readonly certificate: Uint8Array
  /** What is signed. */
  readonly payload: Uint8Array
  /** SHA-256 of the payload, hexadecimal: what the next one names. */
  readonly digest: string
}

const malformed = (detail: string): TrustError => new TrustError('malformed', 'notUsage', { facts: { detail } })

export const usageDigest = (payload: Uint8Array): string => createHash('sha256').update(payload).digest('hex')

const LABELS = { chain: 1, number: 2, previous: 3, from: 4, to: 5, counters: 6 } as const

/** @returns what is signed */
export const encodeUsage = ({ chain, number, previous, from, to, counters }: UsageRecord): Uint8Array =>
  encodeCBOR(
    new Map<Label, CBOR>([
      [LABELS.chain, Uint8Array.fromHex(chain)],
      [LABELS.number, number],
      [LABELS.previous, Uint8Array.fromHex(previous)],
      [LABELS.from, from / 1000],
      [LABELS.to, to / 1000],
      [LABELS.counters, new Map<Label, CBOR>(counters.map(({ name, unit, value }) => [name, [unit, value]]))],
    ]),
  )

/** @throws TrustError `malformed`, `tooLarge` */
export function parseUsage(payload: Uint8Array): UsageRecord {
  const map = mapOf(parseCBOR(payload, { maxOctets: USAGE_MAX_OCTETS }), 'the record')
  const known: readonly Label[] = Object.values(LABELS)
  if (map.size !== known.length || known.some((label) => !map.has(label))) throw malformed('its members are others')
  const chain = octetsOf(map.get(LABELS.chain), 'the chain')
  const previous = octetsOf(map.get(LABELS.previous), 'the hash')
  const number = countIn(map.get(LABELS.number), 'number', 1, NUMBER_MAX)
  if (chain.length !== 16) throw malformed('its chain has no name')
  if (previous.length !== (number === 1 ? 0 : 32)) throw malformed('it does not say what was before')
  const from = timeIn(map.get(LABELS.from))
  const to = timeIn(map.get(LABELS.to))
  if (to < from) throw malformed('its period ends before it begins')
  return { chain: chain.toHex(), number, previous: previous.toHex(), from, to, counters: countersIn(map.get(LABELS.counters)) }
}

function countIn(value: CBOR, what: string, least: number, most: number): number {
  const count = integerOf(value, `the ${what}`)
  if (!Number.isSafeInteger(count) || count < least || count > most) throw malformed(`its ${what} is out of bounds`)
  return count
}

const timeIn = (value: CBOR): number => countIn(value, 'time', 0, SECONDS_MAX) * 1000

function countersIn(value: CBOR): readonly Counter[] {
  const map = mapOf(value, 'counters')
  if (map.size > COUNTERS_MAX) throw malformed(`it has more than ${COUNTERS_MAX} counters`)
  return [...map]
    .map(([name, item]): Counter => {
      const [unit, count] = arrayOf(item, 'a counter', 2)
      if (typeof name !== 'string' || !COUNTER_NAME.test(name)) throw malformed('a counter has no name')
      if (typeof unit !== 'string' || !UNIT.test(unit)) throw malformed('a counter has no unit')
      return { name, unit, value: countIn(count, 'value', 0, VALUE_MAX) }
    })
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
}

/** Whoever signs: the operational key of the device. */
export interface UsageSigner extends Omit<COSESigner, 'certificates'> {
  /** DER */
  readonly certificate: Uint8Array
}

/** @returns COSE_Sign1 */
export const signUsage = (payload: Uint8Array, { certificate, ...signer }: UsageSigner): Promise<Uint8Array> =>
  signCOSE1({ ...signer, certificates: [certificate] }, { typ: USAGE_TYPE, payload })

/**
 * Reads a record and checks that the key of the certificate in it signed it.
 *
 * @throws TrustError `malformed`, `tooLarge`, `unsupported`, `badProof`
 */
export async function readUsage(octets: Uint8Array): Promise<ReadUsage> {
  const message = parseCOSE(octets, USAGE_MAX_OCTETS)
  const { headers: body, payload } = message
  if (message.type !== 'sign1' || payload === undefined) throw malformed('it is not one signature with its content')
  if (body.protected.get(headers.typ) !== USAGE_TYPE) throw malformed('it says to be something else')
  checkCritical(body, [headers.alg, headers.typ, headers.x5t, headers.x5chain])
  const [certificate] = chainOf(body)
  if (certificate === undefined) throw malformed('it carries no certificate')
  if (!equal(thumbprintOf(body) ?? new Uint8Array(0), fingerprint(certificate))) throw malformed('it names another certificate')
  const key = importPublicKey(parseCertificate(certificate).subjectPublicKeyInfo)
  const algorithm = namedSignature(algorithmOf(body), key.algorithm)
  const signed = octetsToSign({ body, payload })
  if (!(await verifySignature({ algorithm, octets: fromMessageSignature(message.signature, key.algorithm) }, key, signed)))
    throw new TrustError('badProof', 'messageSignature')
  return { record: parseUsage(payload), certificate, payload, digest: usageDigest(payload) }
}

/** The last record of a chain that was taken. */
export interface LastUsage {
  readonly chain: string
  readonly number: number
  readonly digest: string
  readonly to: number
  readonly counters: readonly Counter[]
}

/** What a record is after the last one. */
export type Succession =
  | { readonly kind: 'next' }
  /** Those between are not here; the totals tell what they held. */
  | { readonly kind: 'gap'; readonly missing: number }
  /** It was taken already, or one after it. */
  | { readonly kind: 'repeated' }
  /** It says something else than the record of this number that is here: two devices speak as one, or one was put back. */
  | { readonly kind: 'forked' }
  /** A counter is lower than it was, is gone, or counts in another unit; or the period begins before the last one ended. */
  | { readonly kind: 'set-back'; readonly counter: string; readonly value: number; readonly before: number }
  /** Another chain: the device lost the one that it had. */
  | { readonly kind: 'begun-anew' }

/**
 * @param last undefined where none was taken yet, and after an officer let the device begin anew
 * @param digestOf of a record of the same chain that was taken before, by its number
 */
export function successionOf(
  { record, digest }: Pick<ReadUsage, 'record' | 'digest'>,
  last: LastUsage | undefined,
  digestOf: (number: number) => string | undefined = () => undefined,
): Succession {
  if (last === undefined) return record.number === 1 ? { kind: 'next' } : { kind: 'gap', missing: record.number - 1 }
  if (record.chain !== last.chain) return { kind: 'begun-anew' }
  if (record.number <= last.number) {
    const known = record.number === last.number ? last.digest : digestOf(record.number)
    // what fell into a gap is late; what it holds is in the totals
    return known === undefined || known === digest ? { kind: 'repeated' } : { kind: 'forked' }
  }
  if (record.number === last.number + 1 && record.previous !== last.digest) return { kind: 'forked' }
  const lower = setBack(record, last)
  if (lower !== undefined) return lower
  return record.number === last.number + 1 ? { kind: 'next' } : { kind: 'gap', missing: record.number - last.number - 1 }
}

function setBack({ counters, from }: UsageRecord, last: LastUsage): Succession | undefined {
  for (const { name, unit, value: before } of last.counters) {
    const now = counters.find((one) => one.name === name)
    if (now === undefined || now.unit !== unit || now.value < before)
      return { kind: 'set-back', counter: name, value: now?.unit === unit ? now.value : 0, before }
  }
  return from < last.to ? { kind: 'set-back', counter: 'time', value: from / 1000, before: last.to / 1000 } : undefined
}
