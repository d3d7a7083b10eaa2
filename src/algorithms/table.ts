/**
 * Every algorithm of the platform, one row each. A new one is a row here and, where its encoding or its pre-hash
 * differs, a codec beside.
 *
 * Keys and signatures are separate tables because one key can sign with several digests.
 *
 * Source: RFC 5480 (EC keys), RFC 5758 (ECDSA with SHA-2), RFC 4055 and 8017 (RSA), NIST SP 800-57 part 1 (strength).
 *
 * @module
 */

/** `deprecated` may be verified and is reported; `refused` is neither made nor accepted. */
export type Standing = 'allowed' | 'deprecated' | 'refused'

export interface KeyAlgorithm {
  /** The name in commands, settings and records. */
  readonly id: string
  readonly family: 'ec' | 'rsa'
  /** Algorithm identifier of the SubjectPublicKeyInfo, whole DER, hex. */
  readonly identifier: string
  /** Curve as Node.js names it, or the modulus length. */
  readonly parameters: { readonly curve: string; readonly pointOctets: number } | { readonly modulusBits: number }
  readonly strengthBits: number
  /** What a certificate authority with such a key signs with. */
  readonly signsWith: string
  /** Slower than the event loop can bear: signing and verifying go to the thread pool. */
  readonly slow: boolean
  readonly standing: Standing
}

export interface SignatureAlgorithm {
  readonly id: string
  readonly family: KeyAlgorithm['family']
  /** AlgorithmIdentifier, whole DER, hex: an exact match, since DER has one form. */
  readonly identifier: string
  /** Digest by Node.js name. */
  readonly digest: 'sha256' | 'sha384' | 'sha512'
  readonly standing: Standing
}

const RSA_ENCRYPTION = '300d06092a864886f70d0101010500'

export const keyAlgorithms = [
  {
    id: 'ecdsa-p256',
    family: 'ec',
    identifier: '301306072a8648ce3d020106082a8648ce3d030107',
    parameters: { curve: 'P-256', pointOctets: 65 },
    strengthBits: 128,
    signsWith: 'ecdsa-sha256',
    slow: false,
    standing: 'allowed',
  },
  {
    id: 'ecdsa-p384',
    family: 'ec',
    identifier: '301006072a8648ce3d020106052b81040022',
    parameters: { curve: 'P-384', pointOctets: 97 },
    strengthBits: 192,
    signsWith: 'ecdsa-sha384',
    slow: true,
    standing: 'allowed',
  },
  {
    id: 'rsa-2048',
    family: 'rsa',
    identifier: RSA_ENCRYPTION,
    parameters: { modulusBits: 2048 },
    strengthBits: 112,
    signsWith: 'rsa-sha256',
    slow: true,
    standing: 'allowed',
  },
  {
    id: 'rsa-3072',
    family: 'rsa',
    identifier: RSA_ENCRYPTION,
    parameters: { modulusBits: 3072 },
    strengthBits: 128,
    signsWith: 'rsa-sha256',
    slow: true,
    standing: 'allowed',
  },
] as const satisfies readonly KeyAlgorithm[]

export const signatureAlgorithms = [
  { id: 'ecdsa-sha256', family: 'ec', identifier: '300a06082a8648ce3d040302', digest: 'sha256', standing: 'allowed' },
  { id: 'ecdsa-sha384', family: 'ec', identifier: '300a06082a8648ce3d040303', digest: 'sha384', standing: 'allowed' },
  { id: 'ecdsa-sha512', family: 'ec', identifier: '300a06082a8648ce3d040304', digest: 'sha512', standing: 'allowed' },
  { id: 'rsa-sha256', family: 'rsa', identifier: '300d06092a864886f70d01010b0500', digest: 'sha256', standing: 'allowed' },
  { id: 'rsa-sha384', family: 'rsa', identifier: '300d06092a864886f70d01010c0500', digest: 'sha384', standing: 'allowed' },
  { id: 'rsa-sha512', family: 'rsa', identifier: '300d06092a864886f70d01010d0500', digest: 'sha512', standing: 'allowed' },
] as const satisfies readonly SignatureAlgorithm[]

export type KeyAlgorithmId = (typeof keyAlgorithms)[number]['id']
export type SignatureAlgorithmId = (typeof signatureAlgorithms)[number]['id']

const keyRows = new Map<string, KeyAlgorithm>(keyAlgorithms.map((row) => [row.id, row]))
const signatureRows = new Map<string, SignatureAlgorithm>(signatureAlgorithms.map((row) => [row.id, row]))

export const keyAlgorithm = (id: KeyAlgorithmId): KeyAlgorithm => keyRows.get(id) as KeyAlgorithm
export const signatureAlgorithm = (id: SignatureAlgorithmId): SignatureAlgorithm => signatureRows.get(id) as SignatureAlgorithm
export const isKeyAlgorithmId = (id: string): id is KeyAlgorithmId => keyRows.has(id)
/** What a key of this algorithm signs certificates with. */
export const certificateSignatureOf = (id: KeyAlgorithmId): SignatureAlgorithmId =>
  keyAlgorithm(id).signsWith as SignatureAlgorithmId
