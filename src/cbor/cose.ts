/**
 * COSE signatures: the messages with one signature and with several, their headers, and what is signed.
 *
 * The protected headers are kept as they came, since they are signed as they came. A message of another program may be any
 * well-formed CBOR; what is signed is deterministic by construction.
 *
 * Source: RFC 9052, 1.4, 3, 4; RFC 9360, 2 (x5chain, x5t); RFC 9596 (typ);
 * RFC 9995, 3 (payload that is a digest).
 *
 * @module
 */
import { concat } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { type CBOR, type CBORMap, encodeByteStringHead, encodeCBOR, type Label, parseCBOR, type Tagged } from './cbor.ts'
import { arrayOf, integerOf, mapOf, octetsOf } from './typed.ts'

/** Labels of header parameters, as IANA's registry has them. */
export const headers = {
  alg: 1,
  crit: 2,
  contentType: 3,
  kid: 4,
  typ: 16,
  x5bag: 32,
  x5chain: 33,
  x5t: 34,
  payloadHashAlg: 258,
  preimageContentType: 259,
  payloadLocation: 260,
} as const

/** RFC 9054, 2.1: SHA-256 as a COSE algorithm. */
export const COSE_SHA_256 = -16

export interface Headers {
  /** The map in its encoding; empty for an empty map, whichever way it came (RFC 9052, 4.4). */
  readonly protectedOctets: Uint8Array
  readonly protected: CBORMap
  readonly unprotected: CBORMap
}

export interface COSESignature {
  readonly headers: Headers
  readonly signature: Uint8Array
}

export interface COSESign1 {
  readonly type: 'sign1'
  readonly headers: Headers
  /** Not there when it is detached; a part of what was parsed. */
  readonly payload?: Uint8Array
  readonly signature: Uint8Array
}

export interface COSESign {
  readonly type: 'sign'
  readonly headers: Headers
  readonly payload?: Uint8Array
  readonly signatures: readonly COSESignature[]
}

const TAGS = { sign1: 18, sign: 98 } as const

/** More than any message needs; each costs a verification. */
export const COSE_SIGNATURES_MAX = 16

/**
 * @param maxOctets of the whole message
 * @throws TrustError `malformed`, `tooLarge`
 */
export function parseCOSE(octets: Uint8Array, maxOctets?: number): COSESign1 | COSESign {
  const item = parseCBOR(octets, { encoding: 'any', ...(maxOctets !== undefined && { maxOctets }) })
  const { tag, value } = taggedOf(item)
  const parts = arrayOf(value, 'the message', 4)
  const shared = {
    headers: headersIn(parts[0], parts[1]),
    ...(parts[2] !== null && { payload: octetsOf(parts[2], 'the payload') }),
  }
  if (tag === TAGS.sign1) return { type: 'sign1', ...shared, signature: octetsOf(parts[3], 'the signature') }
  const signatures = arrayOf(parts[3], 'the list of signatures')
  if (signatures.length === 0) throw malformed('it has no signature')
  if (signatures.length > COSE_SIGNATURES_MAX)
    throw new TrustError('tooLarge', 'messageSignatures', { facts: { limit: COSE_SIGNATURES_MAX } })
  return { type: 'sign', ...shared, signatures: signatures.map(signatureIn) }
}

const malformed = (detail: string): TrustError => new TrustError('malformed', 'notCOSE', { facts: { detail } })

/** Without a tag the two kinds cannot be told apart by everybody in the same way (RFC 9052, 2). */
function taggedOf(item: CBOR): Tagged {
  const isTagged = typeof item === 'object' && item !== null && 'tag' in item
  if (!isTagged || (item.tag !== TAGS.sign1 && item.tag !== TAGS.sign))
    throw malformed('it has not the tag of COSE_Sign1 (18) or COSE_Sign (98)')
  return item
}

function signatureIn(item: CBOR): COSESignature {
  const [protectedOctets, unprotected, signature] = arrayOf(item, 'a signature', 3)
  return { headers: headersIn(protectedOctets, unprotected), signature: octetsOf(signature, 'a signature') }
}

function headersIn(encoded: CBOR, unprotectedItem: CBOR): Headers {
  const octets = octetsOf(encoded, 'the protected header')
  const protectedMap =
    octets.length === 0 ? new Map<Label, CBOR>() : mapOf(parseCBOR(octets, { encoding: 'any' }), 'the protected header')
  const unprotected = mapOf(unprotectedItem, 'the unprotected header')
  for (const label of unprotected.keys())
    if (protectedMap.has(label)) throw malformed(`the header parameter ${label} stands in both headers`) // RFC 9052, 3
  if (unprotected.has(headers.crit)) throw malformed('the parameter crit is not protected')
  return { protectedOctets: protectedMap.size === 0 ? new Uint8Array() : octets, protected: protectedMap, unprotected }
}

/** @param entries labels with their values, which are written in the deterministic order */
export function makeHeaders(entries: Iterable<readonly [Label, CBOR]>): Headers {
  const map = new Map(entries)
  return { protectedOctets: map.size === 0 ? new Uint8Array() : encodeCBOR(map), protected: map, unprotected: new Map() }
}

export function encodeCOSE(message: COSESign1 | COSESign): Uint8Array {
  const payload = message.payload ?? null
  const shared = [message.headers.protectedOctets, message.headers.unprotected, payload] as const
  if (message.type === 'sign1') return encodeCBOR({ tag: TAGS.sign1, value: [...shared, message.signature] })
  const signatures = message.signatures.map(({ headers: own, signature }) => [own.protectedOctets, own.unprotected, signature])
  return encodeCBOR({ tag: TAGS.sign, value: [...shared, signatures] })
}

export interface SignedBy {
  /** Of the message. */
  readonly body: Headers
  /** Of the signature, where the message has several. */
  readonly signer?: Headers
  readonly externalAAD?: Uint8Array
}

/**
 * What is signed (RFC 9052, 4.4), up to the payload's octets, which end it.
 *
 * @param payloadOctets how many they are
 */
export function encodeSigStructureHead(
  { body, signer, externalAAD = new Uint8Array() }: SignedBy,
  payloadOctets: number,
): Uint8Array {
  const items =
    signer === undefined
      ? ['Signature1', body.protectedOctets, externalAAD]
      : ['Signature', body.protectedOctets, signer.protectedOctets, externalAAD]
  const arrayHead = Uint8Array.of(0x80 | (items.length + 1))
  return concat([arrayHead, ...items.map(encodeCBOR), encodeByteStringHead(payloadOctets)])
}

/**
 * @param understood labels that whoever asks looks at
 * @throws TrustError `unsupported` for a parameter that must be understood and is not; `malformed`
 */
export function checkCritical({ protected: map }: Headers, understood: readonly Label[]): void {
  if (!map.has(headers.crit)) return
  const labels = arrayOf(map.get(headers.crit), 'crit')
  if (labels.length === 0) throw malformed('crit names nothing')
  for (const label of labels) {
    if (typeof label !== 'number' && typeof label !== 'string') throw malformed('crit holds something that is no label')
    if (!map.has(label)) throw malformed(`crit names ${label}, which is not in the protected header`)
    if (!understood.includes(label))
      throw new TrustError('unsupported', 'criticalHeader', { facts: { name: String(label).slice(0, 80) } })
  }
}

/** @returns number or text of IANA's registry @throws TrustError `malformed` when it is not there, or not protected */
export function algorithmOf({ protected: map }: Headers): number {
  if (!map.has(headers.alg)) throw malformed('the protected header names no algorithm')
  return integerOf(map.get(headers.alg), 'the algorithm')
}

/** More than any path is long. */
const CHAIN_MAX = 16

/** @returns DER certificates, the signer's first; nothing says yet that they are anybody's */
export function chainOf({ protected: own, unprotected }: Headers): readonly Uint8Array[] {
  const value = own.get(headers.x5chain) ?? unprotected.get(headers.x5chain)
  if (value === undefined) return []
  if (value instanceof Uint8Array) return [value]
  const chain = arrayOf(value, 'x5chain')
  if (chain.length < 2 || chain.length > CHAIN_MAX) throw malformed('x5chain is an array of one, or too long') // RFC 9360, 2
  return chain.map((certificate) => octetsOf(certificate, 'a certificate'))
}

/** @returns SHA-256 of the signer's certificate; undefined when it is not named so */
export function thumbprintOf({ protected: own, unprotected }: Headers): Uint8Array | undefined {
  const value = own.get(headers.x5t) ?? unprotected.get(headers.x5t)
  if (value === undefined) return undefined
  const [algorithm, digest] = arrayOf(value, 'x5t', 2)
  return algorithm === COSE_SHA_256 ? octetsOf(digest, 'x5t') : undefined
}

const SIGN1_START = Uint8Array.of(0xd2, 0x84)
const SIGN_START = Uint8Array.of(0xd8, 0x62, 0x84)

/** A look at the first octets: the message as its tag and its array say. */
export function peekCOSE(start: Uint8Array): 'sign1' | 'sign' | undefined {
  const begins = (octets: Uint8Array): boolean => octets.every((octet, at) => start[at] === octet)
  if (begins(SIGN1_START)) return 'sign1'
  return begins(SIGN_START) ? 'sign' : undefined
}
