/**
 * Digests by the TPM's names, its two key derivations, and its one mode of encryption.
 *
 * Source: TCG TPM 2.0 Library, Part 1, 11.4.10 (KDFa, KDFe) and 11.4.8 (CFB); NIST SP 800-108 and 800-56A.
 *
 * @module
 */
import { createCipheriv, createDecipheriv, createHash, createHmac } from 'node:crypto'
import { concat, utf8 } from '#base/bytes.ts'

export const hashes = {
  SHA1: { digest: 'sha1', octets: 20 },
  SHA256: { digest: 'sha256', octets: 32 },
  SHA384: { digest: 'sha384', octets: 48 },
  SHA512: { digest: 'sha512', octets: 64 },
  SM3_256: { digest: 'sm3', octets: 32 },
  SHA3_256: { digest: 'sha3-256', octets: 32 },
  SHA3_384: { digest: 'sha3-384', octets: 48 },
  SHA3_512: { digest: 'sha3-512', octets: 64 },
} as const
/** TPMI_ALG_HASH */
export type Hash = keyof typeof hashes
export const hashNames = Object.keys(hashes) as readonly Hash[]

export function hashOf(hash: Hash, ...parts: readonly Uint8Array[]): Uint8Array {
  const state = createHash(hashes[hash].digest)
  for (const part of parts) state.update(part)
  return plain(state.digest())
}

export function hmacOf(hash: Hash, key: Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array {
  const state = createHmac(hashes[hash].digest, key)
  for (const part of parts) state.update(part)
  return plain(state.digest())
}

interface Derivation {
  readonly label: 'ATH' | 'CFB' | 'IDENTITY' | 'SECRET' | 'STORAGE' | 'INTEGRITY'
  readonly contextU: Uint8Array
  readonly contextV: Uint8Array
  /** A multiple of eight: no key here is of another size. */
  readonly bits: number
}

export function kdfa(hash: Hash, key: Uint8Array, { label, contextU, contextV, bits }: Derivation): Uint8Array {
  const rounds = Math.ceil(bits / 8 / hashes[hash].octets)
  const blocks = Array.from({ length: rounds }, (_, i) =>
    hmacOf(hash, key, uint32(i + 1), utf8(`${label}\0`), contextU, contextV, uint32(bits)),
  )
  return concat(blocks).subarray(0, bits / 8)
}

/** @param z the x-coordinate of the shared point, as long as the field */
export function kdfe(hash: Hash, z: Uint8Array, { label, contextU, contextV, bits }: Derivation): Uint8Array {
  const rounds = Math.ceil(bits / 8 / hashes[hash].octets)
  const blocks = Array.from({ length: rounds }, (_, i) => hashOf(hash, uint32(i + 1), z, utf8(`${label}\0`), contextU, contextV))
  return concat(blocks).subarray(0, bits / 8)
}

interface CFB {
  /** 16 or 32 octets. */
  readonly key: Uint8Array
  readonly iv: Uint8Array
}

export const encryptCFB = ({ key, iv }: CFB, message: Uint8Array): Uint8Array =>
  plain(createCipheriv(`aes-${key.length * 8}-cfb`, key, iv).update(message))
export const decryptCFB = ({ key, iv }: CFB, message: Uint8Array): Uint8Array =>
  plain(createDecipheriv(`aes-${key.length * 8}-cfb`, key, iv).update(message))

export function uint32(value: number): Uint8Array {
  return Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value)
}

const plain = ({ buffer, byteOffset, length }: Buffer): Uint8Array => new Uint8Array(buffer, byteOffset, length)
