/**
 * Keys that sign notes, as people hand them on: `<name>+<key id>+<type and key>`.
 *
 * Of logs we know Ed25519 (0x01) and ECDSA (0x02), of witnesses Ed25519 with the time (0x04).
 *
 * Source: C2SP signed-note v1.0.0 (verifier keys), C2SP tlog-cosignature (Ed25519).
 *
 * @module
 */
import { createPublicKey, hash, type KeyObject, verify } from 'node:crypto'
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
const COSIGNATURE = 0x04
const ED25519_OCTETS = 32
const SIGNATURE_OCTETS = 64
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
  if (type !== ED25519 && type !== COSIGNATURE) {
    throw new TrustError('unsupported', 'verifierKeyType', { facts: { type: `0x${type.toString(16).padStart(2, '0')}` } })
  }
  if (octets.length !== ED25519_OCTETS) throw new TrustError('malformed', 'verifierKey')
  const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: toBase64Url(octets) }, format: 'jwk' })
  const id = ed25519KeyId(name, type, octets)
  const isOurs = (signature: NoteSignature) => signature.name === name && equal(signature.id, id)
  const verifies = (signature: NoteSignature, text: string) =>
    type === ED25519 ? isSigned(key, utf8(text), signature.octets) : isCosigned(key, text, signature.octets)
  return {
    name,
    id,
    kind: type === ED25519 ? 'log' : 'witness',
    publicKey: octets,
    verify: async (signature, text) => isOurs(signature) && verifies(signature, text),
  }
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

const isSigned = (key: KeyObject, message: Uint8Array, octets: Uint8Array): boolean =>
  octets.length === SIGNATURE_OCTETS && verify(null, message, key, octets)

function isCosigned(key: KeyObject, text: string, octets: Uint8Array): boolean {
  if (octets.length !== TIME_OCTETS + SIGNATURE_OCTETS) return false
  const time = cosignatureSeconds(octets)
  return time !== undefined && isSigned(key, cosignedMessage(time, text), octets.subarray(TIME_OCTETS))
}

/** What a witness signs. */
export const cosignedMessage = (seconds: number, text: string): Uint8Array => utf8(`cosignature/v1\ntime ${seconds}\n${text}`)

/** `timestamped_signature`: when the witness signed, and its signature. */
export function encodeCosignature(seconds: number, signature: Uint8Array): Uint8Array {
  const time = new Uint8Array(TIME_OCTETS)
  new DataView(time.buffer).setBigUint64(0, BigInt(seconds))
  return concat([time, signature])
}

/** When a witness says it signed; undefined for what no clock says. */
export function cosignatureSeconds(octets: Uint8Array): number | undefined {
  if (octets.length < TIME_OCTETS) return undefined
  const seconds = Number(new DataView(octets.buffer, octets.byteOffset).getBigUint64(0))
  return Number.isSafeInteger(seconds) ? seconds : undefined
}

export const ecdsaKeyId = (publicKey: Uint8Array): Uint8Array => hash('sha256', publicKey, 'buffer').subarray(0, KEY_ID_OCTETS)

const ed25519KeyId = (name: string, type: number, octets: Uint8Array): Uint8Array =>
  hash('sha256', concat([utf8(`${name}\n`), Uint8Array.of(type), octets]), 'buffer').subarray(0, KEY_ID_OCTETS)

/** @param octets an Ed25519 public key */
export function witnessKey(name: string, octets: Uint8Array): { readonly id: Uint8Array; readonly verifierKey: string } {
  const id = ed25519KeyId(name, COSIGNATURE, octets)
  return { id, verifierKey: `${name}+${id.toHex()}+${concat([Uint8Array.of(COSIGNATURE), octets]).toBase64()}` }
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
