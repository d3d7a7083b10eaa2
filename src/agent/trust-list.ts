/**
 * Whom a device trusts for what, as one signed list that replaces itself: versioned, bound to a name, with an end, and signed
 * by so many of its own keys.
 *
 * A successor has the next version and is signed by enough keys of the list before it and enough of its own, as the root role
 * of TUF is. So a device that was away for long goes from list to list, each signed by keys that it knew, also where none of
 * the first keys is left. All purposes are in one list: there is nothing to mix.
 *
 * Source: RFC 7515 (JWS, general form); The Update Framework 1.0.33, 5.3 (Update the root role), whose rules these are.
 *
 * @module
 */
import { fromMessageSignature, toMessageSignature } from '#algorithms/ecdsa.ts'
import { messageNames, namedSignature } from '#algorithms/message-names.ts'
import { importPublicKey, type PublicKey, verifySignature } from '#algorithms/public-key.ts'
import type { KeyAlgorithmId, SignatureAlgorithmId } from '#algorithms/table.ts'
import { concat, equal, utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { toBase64url } from '#jose/base64url.ts'
import { isJSONObject, type JSONValue, parseJSONObject } from '#jose/json.ts'
import {
  checkCritical,
  encodeHeader,
  encodeJWS,
  encodeSigningInputHead,
  type JWS,
  JWS_SIGNATURES_MAX,
  parseJWS,
  payloadOf,
} from '#jose/jws.ts'
import { parseCertificate } from '#x509/certificate.ts'

export interface TrustList {
  /** Of the fleet: a list of another is none of this device's. */
  readonly name: string
  readonly version: number
  readonly expires: Date
  /** How many of `keys` sign a list. */
  readonly threshold: number
  /** DER SubjectPublicKeyInfo. */
  readonly keys: readonly Uint8Array[]
  /** By purpose, such as `software`, `server` or `director`: DER certificates. */
  readonly anchors: Readonly<Record<string, readonly Uint8Array[]>>
}

/** What is signed says what it is, so that no other message of the same keys can be taken for it. */
export const TRUST_LIST_TYPE = 'trust-list+jws'

/** Twice as many signatures, of the keys before and after, still are a JWS that is read. */
const KEYS_MAX = JWS_SIGNATURES_MAX / 2
const ANCHORS_MAX = 64
/** All anchors with post-quantum keys, as base64 of base64. */
const LIST_MAX_OCTETS = 2 << 20
const VERSION_MAX = 1_000_000_000
const NAME = /^[\w. -]{1,64}$/
const PURPOSE = /^[a-z][a-z0-9-]{0,31}$/

const malformed = (detail: string): TrustError => new TrustError('malformed', 'notTrustList', { facts: { detail } })

/** @returns the octets that are signed; not canonical: they are kept as they are */
export function encodeTrustList({ name, version, expires, threshold, keys, anchors }: TrustList): Uint8Array {
  const texts = (list: readonly Uint8Array[]): readonly string[] => list.map((octets) => octets.toBase64())
  const purposes = Object.fromEntries(Object.entries(anchors).map(([purpose, list]) => [purpose, texts(list)]))
  return utf8(
    `${JSON.stringify({ name, version, expires: expires.toISOString(), threshold, keys: texts(keys), anchors: purposes }, undefined, 2)}\n`,
  )
}

/** @throws TrustError `malformed`, `tooLarge`, `unsupported` and `policyRefused` for keys that cannot be used */
export function parseTrustList(payload: Uint8Array): TrustList {
  const { name, version, expires, threshold, keys, anchors, ...others } = parseJSONObject(payload, LIST_MAX_OCTETS)
  const [other] = Object.keys(others)
  if (other !== undefined) throw malformed('it says more than this program knows')
  if (typeof name !== 'string' || !NAME.test(name)) throw malformed('its name is missing or has other characters')
  if (!isCount(version, VERSION_MAX)) throw malformed('its version is no number')
  if (
    typeof expires !== 'string' ||
    !/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{3})?Z$/.test(expires) ||
    Number.isNaN(Date.parse(expires))
  )
    throw malformed('its end is no time')
  const spkis = octetsIn(keys, KEYS_MAX, 'keys')
  if (new Set(spkis.map((spki) => spki.toHex())).size !== spkis.length) throw malformed('a key is in it twice') // and would count twice
  for (const spki of spkis) importPublicKey(spki)
  if (!isCount(threshold, spkis.length)) throw malformed('its threshold is not from one to the number of its keys')
  return { name, version, expires: new Date(expires), threshold, keys: spkis, anchors: anchorsIn(anchors) }
}

const isCount = (value: JSONValue | undefined, most: number): value is number =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 1 && value <= most

function anchorsIn(anchors: JSONValue | undefined): TrustList['anchors'] {
  if (!isJSONObject(anchors)) throw malformed('it has no anchors')
  return Object.fromEntries(
    Object.entries(anchors).map(([purpose, list]) => {
      if (!PURPOSE.test(purpose)) throw malformed('a purpose has other characters')
      const certificates = octetsIn(list, ANCHORS_MAX, purpose)
      for (const der of certificates) parseCertificate(der)
      return [purpose, certificates]
    }),
  )
}

function octetsIn(list: JSONValue | undefined, most: number, what: string): readonly Uint8Array[] {
  if (!Array.isArray(list) || list.length === 0 || list.length > most) throw malformed(`${what} is no list of 1 to ${most}`)
  return (list as readonly JSONValue[]).map((text) => {
    try {
      return Uint8Array.fromBase64(text as string, { lastChunkHandling: 'strict' })
    } catch {
      throw malformed(`${what} holds what is not base64`)
    }
  })
}

/** A list with its signatures, of which none is believed yet. */
export interface SignedTrustList {
  readonly list: TrustList
  readonly message: JWS
  readonly encodedPayload: string
}

/** @throws TrustError `malformed`, `tooLarge`, `unsupported` */
export function parseSignedTrustList(octets: Uint8Array): SignedTrustList {
  const message = parseJWS(octets, LIST_MAX_OCTETS * 2)
  const { encodedPayload } = message
  if (encodedPayload === undefined || !message.isEncoded) throw malformed('the list is not in it')
  return { list: parseTrustList(payloadOf(message, encodedPayload)), message, encodedPayload }
}

/** How many different ones of these keys signed. A signature that cannot be judged counts for nothing. */
async function signersAmong({ message, encodedPayload }: SignedTrustList, keys: readonly Uint8Array[]): Promise<number> {
  const left = new Set(keys.map((spki) => importPublicKey(spki)))
  for (const one of message.signatures) {
    if (one.protectedHeader['typ'] !== TRUST_LIST_TYPE) continue
    const signed = concat([encodeSigningInputHead(one.encodedHeader), utf8(encodedPayload)])
    for (const key of left) {
      if (!(await isSignedBy(key, one, signed))) continue
      left.delete(key)
      break
    }
  }
  return keys.length - left.size
}

async function isSignedBy(key: PublicKey, one: JWS['signatures'][number], signed: Uint8Array): Promise<boolean> {
  try {
    checkCritical(one, [])
    const algorithm = namedSignature(one.algorithm, key.algorithm)
    return await verifySignature({ algorithm, octets: fromMessageSignature(one.signature, key.algorithm) }, key, signed)
  } catch (error) {
    if (error instanceof TrustError) return false
    throw error
  }
}

/** Signed by enough of its own keys: for the first one, which comes with the device. @throws TrustError `badProof` */
export async function checkOwnSignatures(signed: SignedTrustList): Promise<TrustList> {
  const { keys, threshold } = signed.list
  const found = await signersAmong(signed, keys)
  if (found < threshold)
    throw new TrustError('badProof', 'trustListSignatures', { facts: { found, threshold, whose: 'its own' } })
  return signed.list
}

/**
 * One step. An end that is past does not matter here, since the steps between may be old; it does where the list is used.
 *
 * @returns `known` the list itself when it is the same again
 * @throws TrustError `badProof` without enough signatures; `policyRefused` for another fleet's, an older one, a later one than
 * the next, and another list of the same version
 */
export async function checkSuccessor(known: SignedTrustList, next: SignedTrustList): Promise<TrustList> {
  const refused = (detail: string): TrustError => new TrustError('policyRefused', 'trustListOther', { facts: { detail } })
  const { name, version, keys, threshold } = known.list
  if (next.list.name !== name) throw refused(`it is of ${next.list.name}, not of ${name}`)
  if (next.list.version < version) throw refused(`its version ${next.list.version} is older than ${version}`)
  if (next.list.version === version) {
    if (!equal(utf8(next.encodedPayload), utf8(known.encodedPayload))) throw refused(`there are two of version ${version}`)
    return known.list
  }
  if (next.list.version !== version + 1) throw refused(`version ${version + 1} comes first, this is ${next.list.version}`)
  const found = await signersAmong(next, keys)
  if (found < threshold)
    throw new TrustError('badProof', 'trustListSignatures', { facts: { found, threshold, whose: 'the former' } })
  return checkOwnSignatures(next)
}

/** @throws TrustError `policyRefused` when its end is past: somebody may be keeping its successor back */
export function checkNotExpired({ expires, version }: TrustList, now: number): void {
  if (expires.getTime() > now) return
  throw new TrustError('policyRefused', 'trustListExpired', { facts: { version, expires: expires.toISOString() } })
}

/** Whoever signs lists: a key in a file, or anywhere. */
export interface ListSigner {
  readonly keyAlgorithm: KeyAlgorithmId
  readonly signatureAlgorithm: SignatureAlgorithmId
  sign(message: Uint8Array): Promise<Uint8Array>
}

/** @param given the list, or the list with signatures of others, which stay @returns JWS of the general form */
export async function signTrustList(given: Uint8Array, signer: ListSigner): Promise<Uint8Array> {
  const { payload, signatures } = openToSign(given)
  const { jose } = messageNames(signer.signatureAlgorithm, signer.keyAlgorithm)
  const encodedHeader = encodeHeader({ alg: jose.usual, typ: TRUST_LIST_TYPE })
  const signature = await signer.sign(concat([encodeSigningInputHead(encodedHeader), utf8(payload)]))
  const own = { encodedHeader, signature: toMessageSignature(signature, signer.keyAlgorithm) }
  return encodeJWS({ serialization: 'general', encodedPayload: payload, signatures: [...signatures, own] })
}

/** Signatures that were made in several places, such as by signers of a server. @throws TrustError `conflict` when they are over different lists */
export function joinTrustLists(given: readonly Uint8Array[]): Uint8Array {
  const [first, ...others] = given.map(parseSignedTrustList)
  if (first === undefined) throw new TypeError('there is nothing to join')
  if (others.some(({ encodedPayload }) => encodedPayload !== first.encodedPayload))
    throw new TrustError('conflict', 'trustListsDiffer')
  const all = [first, ...others].flatMap(({ message }) => message.signatures)
  const signatures = [...new Map(all.map((one) => [`${one.encodedHeader}.${one.signature.toHex()}`, one])).values()]
  return encodeJWS({ serialization: 'general', encodedPayload: first.encodedPayload, signatures })
}

function openToSign(given: Uint8Array): { readonly payload: string; readonly signatures: JWS['signatures'] } {
  if (isSigned(given)) {
    const { encodedPayload, message } = parseSignedTrustList(given)
    return { payload: encodedPayload, signatures: message.signatures }
  }
  parseTrustList(given)
  return { payload: toBase64url(given), signatures: [] }
}

function isSigned(given: Uint8Array): boolean {
  if (given[0] !== 0x7b) return true // compact
  return 'payload' in parseJSONObject(given, LIST_MAX_OCTETS * 2)
}
