/**
 * Keys that sign notes, as people hand them on: `<name>+<key id>+<type and key>`.
 *
 * Of logs we know Ed25519 (0x01) and ECDSA (0x02), of witnesses Ed25519 (0x04) and ML-DSA-44 (0x06), both with the time.
 *
 * Source: C2SP signed-note v1.0.0 (verifier keys), C2SP tlog-cosignature.
 *
 * @module
 */
import { createPublicKey, hash, type KeyObject, sign, verify } from 'node:crypto'
import { importPublicKey, verifySignature } from '#algorithms/public-key.ts'
import { concat, equal, utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import type { NoteSignature } from './note.ts'

export interface NoteKey {
  readonly name: string
  readonly id: Uint8Array
  readonly kind: 'log' | 'witness'
  /** For a log's key of ours: DER SubjectPublicKeyInfo. */
  readonly publicKey: Uint8Array
  /** @param text the note's, with its last newline @returns false unless the signature is this key's */
  verify(signature: NoteSignature, text: string): Promise<boolean>
}

const ED25519 = 0x01
const ECDSA = 0x02
const ED25519_COSIGNATURE = 0x04
const ML_DSA_COSIGNATURE = 0x06
const SIGNATURE_OCTETS = 64
const ML_DSA_SIGNATURE_OCTETS = 2420
/** Of the raw public key, by type. */
const KEY_OCTETS: ReadonlyMap<number, number> = new Map([
  [ED25519, 32],
  [ED25519_COSIGNATURE, 32],
  [ML_DSA_COSIGNATURE, 1312],
])
/** SubjectPublicKeyInfo up to the 1312 octets of the key (RFC 9881, 4). */
const ML_DSA_44_PREFIX = Uint8Array.fromHex('30820532300b06096086480165030403110382052100')
const TIME_OCTETS = 8
export const KEY_ID_OCTETS = 4

/** Bounds a key that somebody pasted: the longest known, an ML-DSA-44 cosigner's, has 1750. */
const KEY_MAX_CHARACTERS = 4096

const VERIFIER_KEY = /^([^\p{White_Space}+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+={0,2})$/u

/** @throws TrustError `malformed` when it is no key, or its id is not its own; `unsupported` for another type */
export function parseVerifierKey(written: string): NoteKey {
  const trimmed = written.length > KEY_MAX_CHARACTERS ? '' : written.trim()
  const [, name, id, base64 = ''] = VERIFIER_KEY.exec(trimmed) ?? []
  const [type, ...rest] = fromBase64(base64) ?? []
  if (name === undefined || id === undefined || type === undefined) throw new TrustError('malformed', 'verifierKey')
  const key = keyOf(name, type, Uint8Array.from(rest))
  if (key.id.toHex() !== id) throw new TrustError('malformed', 'verifierKey')
  return key
}

function keyOf(name: string, type: number, octets: Uint8Array): NoteKey {
  if (type === ECDSA) return ecdsaKey(name, octets)
  const length = KEY_OCTETS.get(type)
  if (length === undefined) {
    throw new TrustError('unsupported', 'verifierKeyType', { facts: { type: `0x${type.toString(16).padStart(2, '0')}` } })
  }
  if (octets.length !== length) throw new TrustError('malformed', 'verifierKey')
  const key = importRawKey(type, octets)
  const id = keyIdOf(name, type, octets)
  const verifies = ({ octets: signature }: NoteSignature, text: string): boolean => {
    if (type === ED25519) return signature.length === SIGNATURE_OCTETS && verify(null, utf8(text), key, signature)
    return isCosigned(name, key, text, signature)
  }
  return {
    name,
    id,
    kind: type === ED25519 ? 'log' : 'witness',
    publicKey: octets,
    verify: async (signature, text) => signature.name === name && equal(signature.id, id) && verifies(signature, text),
  }
}

function importRawKey(type: number, octets: Uint8Array): KeyObject {
  if (type === ML_DSA_COSIGNATURE) {
    return createPublicKey({ key: Buffer.from(concat([ML_DSA_44_PREFIX, octets])), format: 'der', type: 'spki' })
  }
  return createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: toBase64Url(octets) }, format: 'jwk' })
}

function ecdsaKey(name: string, publicKey: Uint8Array): NoteKey {
  const id = ecdsaKeyId(publicKey)
  const key = importPublicKey(publicKey)
  return {
    name,
    id,
    kind: 'log',
    publicKey,
    verify: async (signature, text) =>
      signature.name === name &&
      equal(signature.id, id) &&
      (await verifySignature({ algorithm: 'ecdsa-sha256', octets: signature.octets }, key, utf8(text))),
  }
}

function isCosigned(name: string, key: KeyObject, text: string, octets: Uint8Array): boolean {
  const isMLDSA = key.asymmetricKeyType === 'ml-dsa-44'
  if (octets.length !== TIME_OCTETS + (isMLDSA ? ML_DSA_SIGNATURE_OCTETS : SIGNATURE_OCTETS)) return false
  const seconds = cosignatureSeconds(octets)
  if (seconds === undefined) return false
  const message = isMLDSA ? cosignedTree(name, seconds, text) : cosignedText(seconds, text)
  return verify(null, message, key, octets.subarray(TIME_OCTETS))
}

/** What a witness with this key signs, with the time before it. @param key private, Ed25519 or ML-DSA-44 */
export function cosign(name: string, key: KeyObject, seconds: number, text: string): Uint8Array {
  const message = key.asymmetricKeyType === 'ml-dsa-44' ? cosignedTree(name, seconds, text) : cosignedText(seconds, text)
  return concat([uint64(seconds), sign(null, message, key)])
}

const cosignedText = (seconds: number, text: string): Uint8Array => utf8(`cosignature/v1\ntime ${seconds}\n${text}`)

/** `cosigned_message`. Extension lines are not in it. @param text of a checkpoint that was parsed */
function cosignedTree(name: string, seconds: number, text: string): Uint8Array {
  const [origin = '', size = '', rootHash = ''] = text.split('\n')
  return concat([
    utf8('subtree/v1\n\0'),
    opaque(name),
    uint64(seconds),
    opaque(origin),
    uint64(0),
    uint64(Number(size)),
    Uint8Array.fromBase64(rootHash),
  ])
}

function opaque(text: string): Uint8Array {
  const octets = utf8(text)
  if (octets.length > 0xff) throw new TrustError('malformed', 'auditOrigin', { facts: { origin: text } })
  return concat([Uint8Array.of(octets.length), octets])
}

function uint64(value: number): Uint8Array {
  const octets = new Uint8Array(8)
  new DataView(octets.buffer).setBigUint64(0, BigInt(value))
  return octets
}

/** When a witness says it signed; undefined for what no clock says. */
export function cosignatureSeconds(octets: Uint8Array): number | undefined {
  if (octets.length < TIME_OCTETS) return undefined
  const seconds = Number(new DataView(octets.buffer, octets.byteOffset).getBigUint64(0))
  return Number.isSafeInteger(seconds) ? seconds : undefined
}

export const ecdsaKeyId = (publicKey: Uint8Array): Uint8Array => hash('sha256', publicKey, 'buffer').subarray(0, KEY_ID_OCTETS)

const keyIdOf = (name: string, type: number, octets: Uint8Array): Uint8Array =>
  hash('sha256', concat([utf8(`${name}\n`), Uint8Array.of(type), octets]), 'buffer').subarray(0, KEY_ID_OCTETS)

/** @param publicKey Ed25519 or ML-DSA-44 @returns what logs are given to know a witness by */
export function witnessKey(name: string, publicKey: KeyObject): { readonly id: Uint8Array; readonly verifierKey: string } {
  const type = publicKey.asymmetricKeyType === 'ml-dsa-44' ? ML_DSA_COSIGNATURE : ED25519_COSIGNATURE
  const octets = publicKey.export({ type: 'spki', format: 'der' }).subarray(-(KEY_OCTETS.get(type) ?? 0))
  const id = keyIdOf(name, type, octets)
  return { id, verifierKey: `${name}+${id.toHex()}+${concat([Uint8Array.of(type), octets]).toBase64()}` }
}

/** @param publicKey P-256, DER SubjectPublicKeyInfo @returns what witnesses and monitors are given to know a log by */
export const logVerifierKey = (origin: string, publicKey: Uint8Array): string =>
  `${origin}+${ecdsaKeyId(publicKey).toHex()}+${concat([Uint8Array.of(ECDSA), publicKey]).toBase64()}`

const toBase64Url = (octets: Uint8Array): string => octets.toBase64({ alphabet: 'base64url', omitPadding: true })

/** Canonical base64 or nothing. */
export function fromBase64(text: string): Uint8Array | undefined {
  try {
    return Uint8Array.fromBase64(text, { lastChunkHandling: 'strict' })
  } catch {
    return undefined
  }
}
