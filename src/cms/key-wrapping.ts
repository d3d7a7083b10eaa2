/**
 * How a content-encryption key is packed: under another key, under a shared secret, under a password.
 *
 * Source: RFC 3394 and 3565 (AES key wrap), RFC 5753, 7.2 and SEC 1, 3.6.1 (X9.63 KDF), RFC 8418, 2.2 (HKDF), RFC 9629, 5
 * (KEM), RFC 3211, 2.3 (password), RFC 8018, A.2 (PBKDF2), RFC 4055, 4.1 (RSAES-OAEP).
 *
 * @module
 */
import { createCipheriv, createDecipheriv, createHash, hkdfSync, pbkdf2 } from 'node:crypto'
import { promisify } from 'node:util'
import { ANY } from '#asn1/any.ts'
import { decode, encode, explicit, optional, sequence, withDefault } from '#asn1/codec.ts'
import { OCTET_STRING, SMALL_INTEGER } from '#asn1/types.ts'
import { concat } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import type { Secret } from '#base/secret.ts'
import type { Random } from '#base/world.ts'
import { notOpened } from './content-encryption.ts'
import { badCMS } from './content-info.ts'
import { AlgorithmIdentifier, isNullOrAbsent } from './digests.ts'

const unsupported = (role: string, algorithm: string): TrustError =>
  new TrustError('unsupported', 'cmsAlgorithm', { facts: { role, algorithm } })

/** RFC 3394, 2.2.3.1. */
const WRAP_IV = new Uint8Array(8).fill(0xa6)

const wraps = [
  { oid: '2.16.840.1.101.3.4.1.5', cipher: 'aes128-wrap', octets: 16 },
  { oid: '2.16.840.1.101.3.4.1.25', cipher: 'aes192-wrap', octets: 24 },
  { oid: '2.16.840.1.101.3.4.1.45', cipher: 'aes256-wrap', octets: 32 },
] as const

export type Wrap = (typeof wraps)[number]

/** What is written: at least as strong as any content key. */
export const AES256_WRAP: Wrap = wraps[2]
/** @throws TypeError for a key of no AES length */
export function wrapForKey(octets: number): Wrap {
  const wrap = wraps.find((one) => one.octets === octets)
  if (wrap === undefined) throw new TypeError(`a key of ${octets} octets wraps nothing`)
  return wrap
}

export const wrapIdentifier = ({ oid }: Wrap): AlgorithmIdentifier => ({ algorithm: oid })

/** @throws TrustError `unsupported` */
export function identifyWrap({ algorithm, parameters }: AlgorithmIdentifier): Wrap {
  const wrap = wraps.find(({ oid }) => oid === algorithm)
  if (wrap === undefined || !isNullOrAbsent(parameters)) throw unsupported('key wrap', algorithm)
  return wrap
}

export function wrapKey({ cipher }: Wrap, kek: Uint8Array, key: Uint8Array): Uint8Array {
  const wrapping = createCipheriv(cipher, kek, WRAP_IV)
  return concat([wrapping.update(key), wrapping.final()])
}

/** @throws TrustError `badProof` */
export function unwrapKey({ cipher }: Wrap, kek: Uint8Array, wrapped: Uint8Array): Uint8Array {
  try {
    const unwrapping = createDecipheriv(cipher, kek, WRAP_IV)
    return concat([unwrapping.update(wrapped), unwrapping.final()])
  } catch {
    throw notOpened()
  }
}

// Key agreement

type Derivation = { readonly kdf: 'x963' | 'hkdf'; readonly digest: 'sha1' | 'sha256' | 'sha384' | 'sha512' }

/** One-pass ECDH. The curves here have cofactor 1, so the cofactor schemes are the same. */
const agreements: ReadonlyMap<string, Derivation> = new Map([
  ['1.3.133.16.840.63.0.2', { kdf: 'x963', digest: 'sha1' }], // only read: what OpenSSL writes unless told otherwise
  ['1.3.132.1.11.1', { kdf: 'x963', digest: 'sha256' }],
  ['1.3.132.1.11.2', { kdf: 'x963', digest: 'sha384' }],
  ['1.3.132.1.11.3', { kdf: 'x963', digest: 'sha512' }],
  ['1.3.133.16.840.63.0.3', { kdf: 'x963', digest: 'sha1' }],
  ['1.3.132.1.14.1', { kdf: 'x963', digest: 'sha256' }],
  ['1.3.132.1.14.2', { kdf: 'x963', digest: 'sha384' }],
  ['1.3.132.1.14.3', { kdf: 'x963', digest: 'sha512' }],
  ['1.2.840.113549.1.9.16.3.19', { kdf: 'hkdf', digest: 'sha256' }],
  ['1.2.840.113549.1.9.16.3.20', { kdf: 'hkdf', digest: 'sha384' }],
  ['1.2.840.113549.1.9.16.3.21', { kdf: 'hkdf', digest: 'sha512' }],
])

const ECCSharedInfo = sequence('ECC-CMS-SharedInfo', {
  keyInfo: AlgorithmIdentifier,
  entityUInfo: optional(explicit(0, OCTET_STRING)),
  suppPubInfo: explicit(2, OCTET_STRING),
})

/**
 * The key-encryption key of a key agreement.
 *
 * @param scheme keyEncryptionAlgorithm: the scheme, with the wrap as its parameters
 * @throws TrustError `unsupported`, `malformed`
 */
export function agreedKey(
  { algorithm, parameters }: AlgorithmIdentifier,
  sharedSecret: Uint8Array,
  ukm?: Uint8Array,
): { readonly wrap: Wrap; readonly kek: Uint8Array } {
  const derivation = agreements.get(algorithm)
  if (derivation === undefined) throw unsupported('key agreement', algorithm)
  if (parameters === undefined) throw badCMS('its key agreement names no key wrap')
  const keyInfo = decode(AlgorithmIdentifier, parameters)
  const wrap = identifyWrap(keyInfo)
  const bits = new Uint8Array(4)
  new DataView(bits.buffer).setUint32(0, wrap.octets * 8)
  const info = encode(ECCSharedInfo, { keyInfo, entityUInfo: ukm, suppPubInfo: bits })
  const { kdf, digest } = derivation
  if (kdf === 'x963') return { wrap, kek: deriveX963(digest, sharedSecret, info, wrap.octets) }
  if (ukm !== undefined) throw unsupported('key derivation', `${algorithm} with ukm`)
  return { wrap, kek: deriveHKDF(digest, sharedSecret, info, wrap.octets) }
}

/** SEC 1, 3.6.1. */
function deriveX963(digest: string, secret: Uint8Array, info: Uint8Array, octets: number): Uint8Array {
  const out: Uint8Array[] = []
  const counter = new DataView(new ArrayBuffer(4))
  for (let made = 0, i = 1; made < octets; i++) {
    counter.setUint32(0, i)
    const block = createHash(digest).update(secret).update(new Uint8Array(counter.buffer)).update(info).digest()
    out.push(block)
    made += block.length
  }
  return concat(out).subarray(0, octets)
}

const NO_SALT = new Uint8Array()
const deriveHKDF = (digest: string, secret: Uint8Array, info: Uint8Array, octets: number): Uint8Array =>
  new Uint8Array(hkdfSync(digest, secret, NO_SALT, info, octets))

// Key encapsulation

const HKDF_SHA256 = '1.2.840.113549.1.9.16.3.28'
/** What is written (RFC 9936, 2.2.1: every implementation has it). */
export const KEM_KDF: AlgorithmIdentifier = { algorithm: HKDF_SHA256 }

const kemDerivations: ReadonlyMap<string, string> = new Map([
  [HKDF_SHA256, 'sha256'],
  ['1.2.840.113549.1.9.16.3.29', 'sha384'],
  ['1.2.840.113549.1.9.16.3.30', 'sha512'],
])

const KEMOtherInfo = sequence('CMSORIforKEMOtherInfo', {
  wrap: AlgorithmIdentifier,
  kekLength: SMALL_INTEGER,
  ukm: optional(explicit(0, OCTET_STRING)),
})

export interface KEMDerivation {
  readonly kdf: AlgorithmIdentifier
  readonly wrap: AlgorithmIdentifier
  readonly kekLength: number
  readonly ukm?: Uint8Array | undefined
}

/** RFC 9629, 5. @throws TrustError `unsupported`, `malformed` */
export function encapsulatedKey({ kdf, wrap, kekLength, ukm }: KEMDerivation, sharedSecret: Uint8Array): Uint8Array {
  const digest = kemDerivations.get(kdf.algorithm)
  if (digest === undefined || kdf.parameters !== undefined) throw unsupported('key derivation', kdf.algorithm)
  if (identifyWrap(wrap).octets !== kekLength) throw badCMS('its key length is not that of its key wrap')
  return deriveHKDF(digest, sharedSecret, encode(KEMOtherInfo, { wrap, kekLength, ukm }), kekLength)
}

// Passwords

const PBKDF2 = '1.2.840.113549.1.5.12'
const PWRI_KEK = '1.2.840.113549.1.9.16.3.9'
const HMAC_SHA1: AlgorithmIdentifier = { algorithm: '1.2.840.113549.2.7', parameters: Uint8Array.of(5, 0) }
const HMAC_SHA256: AlgorithmIdentifier = { algorithm: '1.2.840.113549.2.9', parameters: Uint8Array.of(5, 0) }
const prfs: ReadonlyMap<string, string> = new Map([
  [HMAC_SHA1.algorithm, 'sha1'],
  [HMAC_SHA256.algorithm, 'sha256'],
  ['1.2.840.113549.2.10', 'sha384'],
  ['1.2.840.113549.2.11', 'sha512'],
])

/** Half a second of one core each; what a stranger may ask us to do. */
const ITERATIONS_MAX = 2_000_000
/** OWASP's figure of 2023 for HMAC-SHA-256. */
const ITERATIONS = 600_000
const SALT_OCTETS = 16
const SALT_MAX_OCTETS = 1024

const PBKDF2Parameters = sequence('PBKDF2-params', {
  salt: OCTET_STRING, // of the CHOICE, otherSource was never defined
  iterationCount: SMALL_INTEGER,
  keyLength: optional(SMALL_INTEGER),
  prf: withDefault(AlgorithmIdentifier, HMAC_SHA1),
})

const pwriCiphers = [
  { oid: '2.16.840.1.101.3.4.1.2', name: 'aes-128-cbc', octets: 16 },
  { oid: '2.16.840.1.101.3.4.1.22', name: 'aes-192-cbc', octets: 24 },
  { oid: '2.16.840.1.101.3.4.1.42', name: 'aes-256-cbc', octets: 32 },
] as const

const BLOCK_OCTETS = 16

const derive = promisify(pbkdf2)

export interface PasswordForm {
  readonly keyDerivationAlgorithm: AlgorithmIdentifier
  readonly keyEncryptionAlgorithm: AlgorithmIdentifier
  readonly encryptedKey: Uint8Array
}

/** RFC 3211, 2.3.1, with PBKDF2 and AES-256. */
export async function wrapWithPassword(
  password: Secret,
  key: Uint8Array,
  random: Random,
  iterationCount: number = ITERATIONS,
): Promise<PasswordForm> {
  const salt = random.octets(SALT_OCTETS)
  const iv = random.octets(BLOCK_OCTETS)
  const kek = await derive(password.reveal('derive a CMS key'), salt, iterationCount, 32, 'sha256')
  const inner = cbc('aes-256-cbc', kek, iv, padded(key, random), 'encrypt')
  const encryptedKey = cbc('aes-256-cbc', kek, inner.subarray(-BLOCK_OCTETS), inner, 'encrypt')
  const cipher = { algorithm: '2.16.840.1.101.3.4.1.42', parameters: encode(OCTET_STRING, iv) }
  return {
    keyDerivationAlgorithm: {
      algorithm: PBKDF2,
      parameters: encode(PBKDF2Parameters, { salt, iterationCount, prf: HMAC_SHA256 }),
    },
    keyEncryptionAlgorithm: { algorithm: PWRI_KEK, parameters: encode(AlgorithmIdentifier, cipher) },
    encryptedKey,
  }
}

/** Length, three check octets, the key, and chance up to at least two whole blocks. */
function padded(key: Uint8Array, random: Random): Uint8Array {
  const used = 4 + key.length
  const size = Math.max(2 * BLOCK_OCTETS, Math.ceil(used / BLOCK_OCTETS) * BLOCK_OCTETS)
  const check = Array.from(key.subarray(0, 3), (octet) => octet ^ 0xff)
  return concat([Uint8Array.of(key.length, ...check), key, random.octets(size - used)])
}

/** RFC 3211, 2.3.2. @throws TrustError `badProof`, `unsupported`, `malformed`, `tooLarge` */
export async function unwrapWithPassword(password: Secret, form: PasswordForm): Promise<Uint8Array> {
  const { keyDerivationAlgorithm: kdf, keyEncryptionAlgorithm: outer, encryptedKey } = form
  if (kdf.algorithm !== PBKDF2 || kdf.parameters === undefined) throw unsupported('key derivation', kdf.algorithm)
  if (outer.algorithm !== PWRI_KEK || outer.parameters === undefined) throw unsupported('key encryption', outer.algorithm)
  const cipher = decode(AlgorithmIdentifier, outer.parameters)
  const row = pwriCiphers.find(({ oid }) => oid === cipher.algorithm)
  if (row === undefined || cipher.parameters === undefined) throw unsupported('key encryption', cipher.algorithm)
  const iv = decode(OCTET_STRING, cipher.parameters)
  const { salt, iterationCount, keyLength = row.octets, prf } = decode(PBKDF2Parameters, kdf.parameters)
  const digest = prfs.get(prf.algorithm)
  if (digest === undefined || !isNullOrAbsent(prf.parameters)) throw unsupported('key derivation', prf.algorithm)
  if (iterationCount > ITERATIONS_MAX)
    throw new TrustError('tooLarge', 'cmsIterations', { facts: { found: iterationCount, limit: ITERATIONS_MAX } })
  const blocks = encryptedKey.length / BLOCK_OCTETS
  const fits = keyLength === row.octets && iterationCount > 0 && salt.length <= SALT_MAX_OCTETS && iv.length === BLOCK_OCTETS
  if (!fits || !Number.isInteger(blocks) || blocks < 2 || blocks > 8) throw badCMS('its password recipient is damaged')
  const kek = await derive(password.reveal('derive a CMS key'), salt, iterationCount, row.octets, digest)
  const { name } = row
  // the last block of the inner pass was the initialization vector of the outer one
  const last = cbc(
    name,
    kek,
    encryptedKey.subarray(-2 * BLOCK_OCTETS, -BLOCK_OCTETS),
    encryptedKey.subarray(-BLOCK_OCTETS),
    'decrypt',
  )
  const inner = concat([cbc(name, kek, last, encryptedKey.subarray(0, -BLOCK_OCTETS), 'decrypt'), last])
  const [length = 0, ...rest] = cbc(name, kek, iv, inner, 'decrypt')
  const key = Uint8Array.from(rest.slice(3, 3 + length))
  const good = length >= 3 && key.length === length && key.subarray(0, 3).every((octet, i) => (octet ^ (rest[i] ?? 0)) === 0xff)
  if (!good) throw notOpened()
  return key
}

function cbc(name: string, key: Uint8Array, iv: Uint8Array, octets: Uint8Array, way: 'encrypt' | 'decrypt'): Uint8Array {
  const cipher = way === 'encrypt' ? createCipheriv(name, key, iv) : createDecipheriv(name, key, iv)
  cipher.setAutoPadding(false)
  return concat([cipher.update(octets), cipher.final()])
}

// RSA

export const RSA_ENCRYPTION = '1.2.840.113549.1.1.1'
export const RSAES_OAEP = '1.2.840.113549.1.1.7'
const MGF1 = '1.2.840.113549.1.1.8'
const P_SPECIFIED = '1.2.840.113549.1.1.9'
const SHA1: AlgorithmIdentifier = { algorithm: '1.3.14.3.2.26', parameters: Uint8Array.of(5, 0) }
const SHA256: AlgorithmIdentifier = { algorithm: '2.16.840.1.101.3.4.2.1', parameters: Uint8Array.of(5, 0) }

/** SHA-1 is read: OAEP does not rest on its collisions, and it is the default of RFC 4055. */
const oaepDigests: ReadonlyMap<string, OAEPDigest> = new Map([
  [SHA1.algorithm, 'sha1'],
  [SHA256.algorithm, 'sha256'],
  ['2.16.840.1.101.3.4.2.2', 'sha384'],
  ['2.16.840.1.101.3.4.2.3', 'sha512'],
])
export type OAEPDigest = 'sha1' | 'sha256' | 'sha384' | 'sha512'

const OAEPParameters = sequence('RSAES-OAEP-params', {
  hashFunc: withDefault(explicit(0, AlgorithmIdentifier), SHA1),
  maskGenFunc: withDefault(explicit(1, AlgorithmIdentifier), { algorithm: MGF1, parameters: encode(AlgorithmIdentifier, SHA1) }),
  pSourceFunc: optional(explicit(2, sequence('pSourceFunc', { algorithm: ANY, parameters: optional(ANY) }))),
})

/** SHA-256 for digest and mask, no label. */
export const OAEP_SHA256: AlgorithmIdentifier = {
  algorithm: RSAES_OAEP,
  parameters: encode(OAEPParameters, {
    hashFunc: SHA256,
    maskGenFunc: { algorithm: MGF1, parameters: encode(AlgorithmIdentifier, SHA256) },
  }),
}

/** @throws TrustError `unsupported`, `malformed` */
export function identifyOAEP(parameters: Uint8Array | undefined): OAEPDigest {
  if (parameters === undefined) throw badCMS('its RSAES-OAEP has no parameters')
  const { hashFunc, maskGenFunc, pSourceFunc } = decode(OAEPParameters, parameters)
  const digest = oaepDigests.get(hashFunc.algorithm)
  const mask = maskGenFunc.parameters === undefined ? undefined : decode(AlgorithmIdentifier, maskGenFunc.parameters)
  const plain = isNullOrAbsent(hashFunc.parameters) && isNullOrAbsent(mask?.parameters)
  if (digest === undefined || !plain || maskGenFunc.algorithm !== MGF1 || mask?.algorithm !== hashFunc.algorithm)
    throw unsupported('key transport', `RSAES-OAEP with ${hashFunc.algorithm}`)
  if (pSourceFunc !== undefined) throw unsupported('key transport', `RSAES-OAEP with a label (${P_SPECIFIED})`)
  return digest
}
