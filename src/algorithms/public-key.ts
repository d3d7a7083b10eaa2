/**
 * Public keys and signatures as X.509 carries them: recognized by the table, checked before they are used.
 *
 * Source: RFC 5280, 4.1.1.2 and 4.1.2.7; RFC 5480, 2 (named curves only, uncompressed points); RFC 8017, A.1.1;
 * RFC 8410, 4; RFC 9881, 4; RFC 9909, 4.
 *
 * @module
 */
import { constants, createPublicKey, type KeyObject, verify as verifyNow } from 'node:crypto'
import { promisify } from 'node:util'
import { decode, type Infer, sequence } from '#asn1/codec.ts'
import { ANY } from '#asn1/any.ts'
import { BIT_STRING_OCTETS, INTEGER } from '#asn1/types.ts'
import { TrustError } from '#base/errors.ts'
import { staysInTurn } from '#base/turn.ts'
import { isUsablePoint } from './edwards.ts'
import {
  type KeyAlgorithm,
  keyAlgorithm,
  type KeyAlgorithmId,
  keyAlgorithms,
  type SignatureAlgorithm,
  signatureAlgorithm,
  type SignatureAlgorithmId,
  signatureAlgorithms,
} from './table.ts'
import { rsaWeakness } from './weak-rsa.ts'

export const SubjectPublicKeyInfo = sequence('SubjectPublicKeyInfo', {
  algorithm: ANY,
  subjectPublicKey: BIT_STRING_OCTETS,
})
export type SubjectPublicKeyInfo = Infer<typeof SubjectPublicKeyInfo>

/** Inside the key of an RSA key (RFC 8017, A.1.1). */
export const RSAPublicKey = sequence('RSAPublicKey', { modulus: INTEGER, publicExponent: INTEGER })

const MODULUS_MIN_BITS = 2048
const EXPONENT_MIN = 65537n
const EXPONENT_END = 2n ** 256n

/** NIST SP 800-56B, 6.2: small ones have been the door to many attacks, long ones make verification as slow as signing. */
export const isUsableExponent = (exponent: bigint): boolean =>
  exponent >= EXPONENT_MIN && exponent < EXPONENT_END && exponent % 2n === 1n

const signaturesByIdentifier = new Map<string, SignatureAlgorithmId>(
  signatureAlgorithms.map(({ identifier, id }) => [identifier, id]),
)
const keysByIdentifier = new Map<string, (typeof keyAlgorithms)[number]>(
  keyAlgorithms.filter(({ family }) => family !== 'rsa').map((row) => [row.identifier, row]),
)
const rsaIdentifier = keyAlgorithm('rsa-3072').identifier

/** A public key that this platform can use, ready to verify with. */
export interface PublicKey {
  readonly algorithm: KeyAlgorithmId
  /** The whole DER SubjectPublicKeyInfo. */
  readonly spki: Uint8Array
  /** The octets inside: what key identifiers are made of (RFC 5280, 4.2.1.2). */
  readonly subjectPublicKey: Uint8Array
  readonly key: KeyObject
}

/**
 * @param spki DER SubjectPublicKeyInfo
 * @throws TrustError `malformed`; `unsupported` for an algorithm or size not in the table; `policyRefused` for a weak key
 */
export function importPublicKey(spki: Uint8Array): PublicKey {
  const { algorithm: identifier, subjectPublicKey } = decode(SubjectPublicKeyInfo, spki)
  const algorithm = identify(identifier.toHex(), subjectPublicKey)
  try {
    // OpenSSL checks here that the point lies on its curve, which is most of the time this takes: raw and JWK import
    // were measured and are not quicker
    const key = createPublicKey({ key: Buffer.from(spki.buffer, spki.byteOffset, spki.length), format: 'der', type: 'spki' })
    return { algorithm, spki, subjectPublicKey, key }
  } catch (cause) {
    throw new TrustError('malformed', 'keyUnusable', { cause })
  }
}

function identify(identifier: string, subjectPublicKey: Uint8Array): KeyAlgorithmId {
  const known = keysByIdentifier.get(identifier)
  if (known !== undefined) {
    const { id, parameters } = known
    if ('pointOctets' in parameters) {
      const { pointOctets } = parameters
      if (subjectPublicKey.length !== pointOctets || subjectPublicKey[0] !== 0x04)
        throw new TrustError('unsupported', 'pointForm')
      return id
    }
    if ('publicKeyOctets' in parameters) checkOctets(id, parameters.publicKeyOctets, subjectPublicKey)
    return id
  }
  if (identifier !== rsaIdentifier) throw new TrustError('unsupported', 'keyAlgorithm')
  const { modulus, publicExponent } = decode(RSAPublicKey, subjectPublicKey)
  if (modulus <= 0n || publicExponent <= 0n) throw new TrustError('malformed', 'keyUnusable')
  const bits = modulus.toString(2).length
  if (bits < MODULUS_MIN_BITS) throw new TrustError('policyRefused', 'keyTooShort', { facts: { bits, least: MODULUS_MIN_BITS } })
  const row = keyAlgorithms.find(({ parameters }) => 'modulusBits' in parameters && parameters.modulusBits === bits)
  if (row === undefined) throw new TrustError('unsupported', 'keyAlgorithm')
  if (!isUsableExponent(publicExponent)) throw new TrustError('policyRefused', 'keyExponent')
  const weakness = rsaWeakness(modulus)
  if (weakness !== undefined) throw new TrustError('policyRefused', 'keyWeak', { facts: { weakness } })
  return row.id
}

/** Every string of an ML-DSA or SLH-DSA key's length is such a key; not so with points on a curve. */
function checkOctets(id: KeyAlgorithmId, publicKeyOctets: number, subjectPublicKey: Uint8Array): void {
  const usable =
    subjectPublicKey.length === publicKeyOctets && ((id !== 'ed25519' && id !== 'ed448') || isUsablePoint(id, subjectPublicKey))
  if (!usable) throw new TrustError('malformed', 'keyUnusable')
}

/** @param identifier DER AlgorithmIdentifier @throws TrustError `unsupported` */
export function identifySignature(identifier: Uint8Array): SignatureAlgorithmId {
  const id = signaturesByIdentifier.get(identifier.toHex())
  if (id === undefined) throw new TrustError('unsupported', 'signatureAlgorithm')
  return id
}

/** A key as node:crypto takes it for this signature. */
export const paddedKey = ({ saltOctets }: SignatureAlgorithm, key: KeyObject) =>
  saltOctets === undefined ? key : { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: saltOctets }

const verifyLater = promisify(verifyNow)

/**
 * Whether the signature is this key's over this message. Fast algorithms answer at once, slow ones and the many of a
 * busy turn from the thread pool: await the result.
 *
 * A key of another family than the signature's verifies nothing. An ECDSA signature that is not DER verifies nothing:
 * OpenSSL encodes what it parsed again and compares.
 */
export function verifySignature(
  signature: { readonly algorithm: SignatureAlgorithmId; readonly octets: Uint8Array },
  { algorithm, key }: PublicKey,
  message: Uint8Array,
): boolean | Promise<boolean> {
  const scheme = signatureAlgorithm(signature.algorithm)
  const row: KeyAlgorithm = keyAlgorithm(algorithm)
  if (row.family !== scheme.family) return false
  const { digest } = scheme
  const { octets } = signature
  const input = paddedKey(scheme, key)
  return row.slow || !staysInTurn() ? verifyLater(digest, message, input, octets) : verifyNow(digest, message, input, octets)
}
