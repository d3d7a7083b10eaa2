/**
 * Public areas as SubjectPublicKeyInfo and back, and a TPM's signatures as X.509 carries them.
 *
 * Source: TCG TPM 2.0 Library, Part 2, 11.2 and 12.2; RFC 5480, 2; RFC 8017, A.1.1; RFC 3279, 2.2.3.
 *
 * @module
 */
import { constants, verify as verifyNow } from 'node:crypto'
import { importPublicKey, type PublicKey, RSAPublicKey, SubjectPublicKeyInfo, verifySignature } from '#algorithms/public-key.ts'
import { keyAlgorithm, type SignatureAlgorithmId } from '#algorithms/table.ts'
import { decode, encode, sequence } from '#asn1/codec.ts'
import { UNSIGNED_INTEGER } from '#asn1/types.ts'
import { concat } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import type { Hash } from './hash.ts'
import { hashes } from './hash.ts'
import type { TPMS_ECC_POINT, TPMT_PUBLIC, TPMT_SIGNATURE } from './structures.ts'
import { malformed } from './wire.ts'

export const curves = {
  NIST_P256: { algorithm: 'ecdsa-p256', octets: 32 },
  NIST_P384: { algorithm: 'ecdsa-p384', octets: 48 },
  NIST_P521: { algorithm: 'ecdsa-p521', octets: 66 },
} as const
export type Curve = keyof typeof curves

const RSA_IDENTIFIER = Uint8Array.fromHex(keyAlgorithm('rsa-2048').identifier)
/** A TPM writes its usual exponent as zero (Part 2, 12.2.3.5). */
const RSA_EXPONENT = 65537

/**
 * @returns DER SubjectPublicKeyInfo
 * @throws TrustError `unsupported` for an area without a public key, `malformed` for coordinates or a modulus of another length
 */
export function subjectPublicKeyInfoOf(publicArea: TPMT_PUBLIC): Uint8Array {
  if (publicArea.type === 'ECC') {
    const { curveID } = publicArea.parameters
    const identifier = Uint8Array.fromHex(keyAlgorithm(curves[curveID].algorithm).identifier)
    return encode(SubjectPublicKeyInfo, { algorithm: identifier, subjectPublicKey: uncompressed(curveID, publicArea.unique) })
  }
  if (publicArea.type !== 'RSA')
    throw new TrustError('unsupported', 'tpmUnsupported', { facts: { what: `a key of type ${publicArea.type}` } })
  const { keyBits, exponent } = publicArea.parameters
  const { unique } = publicArea
  if (8 * unique.length !== keyBits || (unique[0] ?? 0) < 0x80) throw malformed('the modulus has not keyBits bits')
  const subjectPublicKey = encode(RSAPublicKey, {
    modulus: BigInt(`0x${unique.toHex()}`),
    publicExponent: BigInt(exponent === 0 ? RSA_EXPONENT : exponent),
  })
  return encode(SubjectPublicKeyInfo, { algorithm: RSA_IDENTIFIER, subjectPublicKey })
}

/** @throws TrustError as {@link subjectPublicKeyInfoOf} and `importPublicKey` do: also for weak keys and points off their curve */
export const publicKeyOf = (publicArea: TPMT_PUBLIC): PublicKey => importPublicKey(subjectPublicKeyInfoOf(publicArea))

/** What a public area says of a key that is known by its SubjectPublicKeyInfo. */
export type KeyPart =
  | { readonly type: 'ECC'; readonly curveID: Curve; readonly unique: TPMS_ECC_POINT }
  | { readonly type: 'RSA'; readonly keyBits: number; readonly exponent: number; readonly unique: Uint8Array }

/** @throws TrustError `unsupported` for a key that no TPM has */
export function keyPartOf({ algorithm, subjectPublicKey }: PublicKey): KeyPart {
  const curveID = (Object.keys(curves) as Curve[]).find((name) => curves[name].algorithm === algorithm)
  if (curveID !== undefined) {
    const { octets } = curves[curveID]
    const [x, y] = [subjectPublicKey.subarray(1, 1 + octets), subjectPublicKey.subarray(1 + octets)]
    return { type: 'ECC', curveID, unique: { x, y } }
  }
  if (keyAlgorithm(algorithm).family !== 'rsa')
    throw new TrustError('unsupported', 'tpmUnsupported', { facts: { what: `a key ${algorithm}` } })
  const { modulus, publicExponent } = decode(RSAPublicKey, subjectPublicKey)
  const hex = modulus.toString(16)
  const exponent = publicExponent === BigInt(RSA_EXPONENT) ? 0 : Number(publicExponent)
  if (exponent >= 2 ** 32) throw new TrustError('unsupported', 'tpmUnsupported', { facts: { what: 'a long exponent' } })
  return { type: 'RSA', keyBits: 4 * hex.length, exponent, unique: Uint8Array.fromHex(hex) }
}

/** A TPM may leave leading zeros of a coordinate away (Part 1, C.8). */
export function coordinate(curve: Curve, octets: Uint8Array): Uint8Array {
  const { octets: length } = curves[curve]
  if (octets.length === length) return octets
  if (octets.length > length) throw malformed('a coordinate is longer than its field')
  return concat([new Uint8Array(length - octets.length), octets])
}

const UNCOMPRESSED = Uint8Array.of(4)
export const uncompressed = (curve: Curve, { x, y }: TPMS_ECC_POINT): Uint8Array =>
  concat([UNCOMPRESSED, coordinate(curve, x), coordinate(curve, y)])

const EcdsaSigValue = sequence('Ecdsa-Sig-Value', { r: UNSIGNED_INTEGER, s: UNSIGNED_INTEGER })

/** SHA-1 and the hashes that X.509 here does not know make no signature that counts. */
const digestOf = (hash: Hash): 'sha256' | 'sha384' | 'sha512' => {
  const { digest } = hashes[hash]
  if (digest === 'sha256' || digest === 'sha384' || digest === 'sha512') return digest
  throw new TrustError('unsupported', 'tpmUnsupported', { facts: { what: `a signature with ${hash}` } })
}

/** @returns the octets of a certificate's signatureValue @throws TrustError `unsupported` */
export function signatureValueOf(signature: TPMT_SIGNATURE): Uint8Array {
  if (signature.sigAlg !== 'ECDSA') return signature.signature.sig
  const { signatureR, signatureS } = signature.signature
  const integer = (octets: Uint8Array): bigint => BigInt(`0x0${octets.toHex()}`)
  return encode(EcdsaSigValue, { r: integer(signatureR), s: integer(signatureS) })
}

/**
 * Whether this key signed the message. Await the result.
 *
 * @throws TrustError `unsupported` for a weak or unknown hash
 */
export function verifyTPMSignature(
  publicKey: PublicKey,
  signature: TPMT_SIGNATURE,
  message: Uint8Array,
): boolean | Promise<boolean> {
  const digest = digestOf(signature.signature.hash)
  const octets = signatureValueOf(signature)
  if (signature.sigAlg === 'RSAPSS') {
    if (keyAlgorithm(publicKey.algorithm).family !== 'rsa') return false
    // a TPM takes the longest salt that fits, or one as long as the digest where FIPS 186 is kept (Part 1, B.7)
    const padding = constants.RSA_PKCS1_PSS_PADDING
    return verifyNow(digest, message, { key: publicKey.key, padding, saltLength: constants.RSA_PSS_SALTLEN_AUTO }, octets)
  }
  const algorithm: SignatureAlgorithmId = `${signature.sigAlg === 'ECDSA' ? 'ecdsa' : 'rsa'}-${digest}`
  return verifySignature({ algorithm, octets }, publicKey, message)
}
