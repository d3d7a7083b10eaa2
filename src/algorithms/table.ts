/**
 * Every algorithm of the platform, one row each. A new one is a row here and, where its encoding or its pre-hash
 * differs, a codec beside.
 *
 * Keys and signatures are separate tables because one elliptic curve or RSA key can sign with several digests. The
 * algorithms that take the message itself have one identifier for both and are written once.
 *
 * Source: RFC 5480 (EC keys), RFC 5758 (ECDSA with SHA-2), RFC 4055 and 8017 (RSA), RFC 8410 (Ed25519, Ed448), RFC 9881
 * (ML-DSA, pure), RFC 9909 (SLH-DSA, pure), NIST SP 800-57 part 1 and FIPS 204, 205 (strength).
 *
 * @module
 */

/** `deprecated` may be verified and is reported; `refused` is neither made nor accepted. */
export const STANDINGS = ['allowed', 'deprecated', 'refused'] as const
export type Standing = (typeof STANDINGS)[number]

export interface KeyAlgorithm {
  /** The name in commands, settings and records. */
  readonly id: string
  /** A key and a signature go together if, and only if, their families are the same. */
  readonly family: Family
  /** Algorithm identifier of the SubjectPublicKeyInfo, whole DER, hex. */
  readonly identifier: string
  /** Curve as Node.js names it, the modulus length, or for the others the one length that a public key has. */
  readonly parameters:
    | { readonly curve: string; readonly pointOctets: number }
    | { readonly modulusBits: number }
    | { readonly type: MessageAlgorithmId; readonly publicKeyOctets: number }
  readonly strengthBits: number
  /** What a certificate authority with such a key signs with. */
  readonly signsWith: string
  /** Slower than the event loop can bear: signing and verifying go to the thread pool. */
  readonly slow: boolean
  readonly standing: Standing
}

export interface SignatureAlgorithm {
  readonly id: string
  readonly family: Family
  /** AlgorithmIdentifier, whole DER, hex: an exact match, since DER has one form. */
  readonly identifier: string
  /** Digest by Node.js name; null where the algorithm takes the message itself. */
  readonly digest: 'sha256' | 'sha384' | 'sha512' | null
  /** RSASSA-PSS with a salt this long, MGF1 with the same digest; an RSA row without it is PKCS #1 v1.5. */
  readonly saltOctets?: number
  readonly standing: Standing
}

type Family = 'ec' | 'rsa' | MessageAlgorithmId
type MessageAlgorithmId = (typeof messageAlgorithms)[number]['id']

/**
 * One identifier without parameters for key and signature, one public key length, no choice of digest. The ids are the
 * key types of Node.js.
 */
const messageAlgorithms = [
  { id: 'ed25519', identifier: '300506032b6570', publicKeyOctets: 32, strengthBits: 128, slow: false },
  { id: 'ed448', identifier: '300506032b6571', publicKeyOctets: 57, strengthBits: 224, slow: false },
  { id: 'ml-dsa-44', identifier: '300b0609608648016503040311', publicKeyOctets: 1312, strengthBits: 128, slow: true },
  { id: 'ml-dsa-65', identifier: '300b0609608648016503040312', publicKeyOctets: 1952, strengthBits: 192, slow: true },
  { id: 'ml-dsa-87', identifier: '300b0609608648016503040313', publicKeyOctets: 2592, strengthBits: 256, slow: true },
  { id: 'slh-dsa-sha2-128s', identifier: '300b0609608648016503040314', publicKeyOctets: 32, strengthBits: 128, slow: true },
  { id: 'slh-dsa-sha2-192s', identifier: '300b0609608648016503040316', publicKeyOctets: 48, strengthBits: 192, slow: true },
  { id: 'slh-dsa-sha2-256s', identifier: '300b0609608648016503040318', publicKeyOctets: 64, strengthBits: 256, slow: true },
] as const

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
    id: 'ecdsa-p521',
    family: 'ec',
    identifier: '301006072a8648ce3d020106052b81040023',
    parameters: { curve: 'P-521', pointOctets: 133 },
    strengthBits: 256,
    signsWith: 'ecdsa-sha512',
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
  {
    id: 'rsa-4096',
    family: 'rsa',
    identifier: RSA_ENCRYPTION,
    parameters: { modulusBits: 4096 },
    strengthBits: 152,
    signsWith: 'rsa-sha384',
    slow: true,
    standing: 'allowed',
  },
  ...messageAlgorithms.map(({ id, identifier, publicKeyOctets, strengthBits, slow }) => ({
    id,
    family: id,
    identifier,
    parameters: { type: id, publicKeyOctets },
    strengthBits,
    signsWith: id,
    slow,
    standing: 'allowed' as const,
  })),
] as const satisfies readonly KeyAlgorithm[]

export const signatureAlgorithms = [
  { id: 'ecdsa-sha256', family: 'ec', identifier: '300a06082a8648ce3d040302', digest: 'sha256', standing: 'allowed' },
  { id: 'ecdsa-sha384', family: 'ec', identifier: '300a06082a8648ce3d040303', digest: 'sha384', standing: 'allowed' },
  { id: 'ecdsa-sha512', family: 'ec', identifier: '300a06082a8648ce3d040304', digest: 'sha512', standing: 'allowed' },
  { id: 'rsa-sha256', family: 'rsa', identifier: '300d06092a864886f70d01010b0500', digest: 'sha256', standing: 'allowed' },
  { id: 'rsa-sha384', family: 'rsa', identifier: '300d06092a864886f70d01010c0500', digest: 'sha384', standing: 'allowed' },
  { id: 'rsa-sha512', family: 'rsa', identifier: '300d06092a864886f70d01010d0500', digest: 'sha512', standing: 'allowed' },
  // RFC 4055, 3.1: digest and MGF1 with NULL parameters, the salt as long as the digest, trailerField left to its default
  {
    id: 'rsa-pss-sha256',
    family: 'rsa',
    identifier:
      '304106092a864886f70d01010a3034a00f300d06096086480165030402010500a11c301a06092a864886f70d010108300d06096086480165030402010500a203020120',
    digest: 'sha256',
    saltOctets: 32,
    standing: 'allowed',
  },
  {
    id: 'rsa-pss-sha384',
    family: 'rsa',
    identifier:
      '304106092a864886f70d01010a3034a00f300d06096086480165030402020500a11c301a06092a864886f70d010108300d06096086480165030402020500a203020130',
    digest: 'sha384',
    saltOctets: 48,
    standing: 'allowed',
  },
  {
    id: 'rsa-pss-sha512',
    family: 'rsa',
    identifier:
      '304106092a864886f70d01010a3034a00f300d06096086480165030402030500a11c301a06092a864886f70d010108300d06096086480165030402030500a203020140',
    digest: 'sha512',
    saltOctets: 64,
    standing: 'allowed',
  },
  ...messageAlgorithms.map(({ id, identifier }) => ({
    id,
    family: id,
    identifier,
    digest: null,
    standing: 'allowed' as const,
  })),
] as const satisfies readonly SignatureAlgorithm[]

export type KeyAlgorithmId = (typeof keyAlgorithms)[number]['id']
export type SignatureAlgorithmId = (typeof signatureAlgorithms)[number]['id']

const keyRows = new Map<string, KeyAlgorithm>(keyAlgorithms.map((row) => [row.id, row]))
const signatureRows = new Map<string, SignatureAlgorithm>(signatureAlgorithms.map((row) => [row.id, row]))
const signaturesByFamily = Map.groupBy<Family, SignatureAlgorithm>(signatureAlgorithms, ({ family }) => family)

export const keyAlgorithm = (id: KeyAlgorithmId): KeyAlgorithm => keyRows.get(id) as KeyAlgorithm
export const signatureAlgorithm = (id: SignatureAlgorithmId): SignatureAlgorithm => signatureRows.get(id) as SignatureAlgorithm
export const isKeyAlgorithmId = (id: string): id is KeyAlgorithmId => keyRows.has(id)
/** What a key of this algorithm signs certificates with. */
export const certificateSignatureOf = (id: KeyAlgorithmId): SignatureAlgorithmId =>
  keyAlgorithm(id).signsWith as SignatureAlgorithmId
/** Every signature that a key of this algorithm can make and check; for RSA both paddings. */
export const signaturesOf = (id: KeyAlgorithmId): readonly SignatureAlgorithm[] =>
  signaturesByFamily.get(keyAlgorithm(id).family) ?? []
