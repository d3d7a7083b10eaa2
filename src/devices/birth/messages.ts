/**
 * What stations and devices send for a birth, and the receipt of who destroyed a key.
 *
 * Structures of TPMs stand as tpm2-tools write them to files: public areas with their size in front, challenges and
 * statements as the commands give them.
 *
 * @module
 */
import { fromMessageSignature, toMessageSignature } from '#algorithms/ecdsa.ts'
import { messageNames, namedSignature } from '#algorithms/message-names.ts'
import { importPublicKey, type PublicKey, verifySignature } from '#algorithms/public-key.ts'
import { certificateSignatureOf, type KeyAlgorithmId, type SignatureAlgorithmId } from '#algorithms/table.ts'
import { concat, equal, utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { toBase64url } from '#jose/base64url.ts'
import { type JSONObject, parseJSONObject } from '#jose/json.ts'
import {
  checkCritical,
  encodeHeader,
  encodeJWS,
  encodeSigningInputHead,
  type JWS,
  parseJWS,
  payloadOf,
  thumbprintOf,
} from '#jose/jws.ts'
import { fingerprint, parseCertificate } from '#x509/certificate.ts'

export interface ChallengeRequest {
  readonly productSerial: string
  /** TPM2B_PUBLIC */
  readonly endorsementKey: Uint8Array
  /** DER; left out where the key is on a list. */
  readonly endorsementCertificate?: Uint8Array
  /** DER: what may stand between it and a trusted authority. */
  readonly intermediates?: readonly Uint8Array[]
  /** TPM2B_PUBLIC */
  readonly attestationKey: Uint8Array
}

export interface IssuedChallenge {
  readonly id: string
  /** TPM2B_ID_OBJECT */
  readonly credentialBlob: Uint8Array
  /** TPM2B_ENCRYPTED_SECRET */
  readonly secret: Uint8Array
  /** The qualifyingData of the statement. */
  readonly nonce: Uint8Array
  readonly expiresAt: number
}

export interface TPMEvidence {
  readonly type: 'tpm'
  /** Id of the challenge. */
  readonly challenge: string
  /** What TPM2_ActivateCredential told. */
  readonly credential: Uint8Array
  /** TPM2B_PUBLIC of the device's key. */
  readonly key: Uint8Array
  /** TPMS_ATTEST of TPM2_Certify, or of TPM2_CertifyCreation. */
  readonly attest: Uint8Array
  /** TPMT_SIGNATURE */
  readonly signature: Uint8Array
  /** TPM2B_CREATION_DATA, with TPM2_CertifyCreation. */
  readonly creationData?: Uint8Array
  /** PKCS #10 of the same key; without it the certificate names the product serial and nothing else. */
  readonly request?: Uint8Array
}

export type BirthEvidence =
  | TPMEvidence
  | { readonly type: 'secure-element'; readonly request: Uint8Array }
  /** `vouched`: the key is not in the device, somebody speaks for it. */
  | { readonly type: 'software'; readonly request: Uint8Array; readonly vouched?: boolean }
  /** The unit made the key and wrote it into the device. */
  | { readonly type: 'external'; readonly request: Uint8Array; readonly unit: string }

/** A unit's word that a key is in its device, and no longer anywhere else. */
export interface DestructionReceipt {
  /** SHA-256 of the birth certificate, in hexadecimal digits. */
  readonly certificate: string
  readonly productSerial: string
  /** Milliseconds. */
  readonly destroyedAt: number
}

const RECEIPT_TYPE = 'sealworks-key-destroyed+jwt'
/** With a signature of the largest scheme some 20 KiB. */
const RECEIPT_MAX_OCTETS = 64 << 10

/** Signs with the key of this certificate. */
export interface ReceiptSigner {
  /** DER */
  readonly certificate: Uint8Array
  sign(message: Uint8Array, algorithm: SignatureAlgorithmId): Promise<Uint8Array> | Uint8Array
}

/** @returns a JWS in the compact form @throws TrustError `unsupported` for a key that JOSE has no name for */
export async function signReceipt(receipt: DestructionReceipt, { certificate, sign }: ReceiptSigner): Promise<Uint8Array> {
  const { algorithm } = importPublicKey(parseCertificate(certificate).subjectPublicKeyInfo)
  const scheme = certificateSignatureOf(algorithm)
  const header = encodeHeader({
    typ: RECEIPT_TYPE,
    alg: messageNames(scheme, algorithm).jose.usual,
    'x5t#S256': toBase64url(fingerprint(certificate)),
  })
  const payload = toBase64url(utf8(JSON.stringify(receipt)))
  const signature = await sign(concat([encodeSigningInputHead(header), utf8(payload)]), scheme)
  return encodeJWS({
    serialization: 'compact',
    encodedPayload: payload,
    signatures: [{ encodedHeader: header, signature: toJOSE(signature, algorithm) }],
  })
}

const isElliptic = (algorithm: KeyAlgorithmId): boolean => algorithm.startsWith('ecdsa-')
const toJOSE = (signature: Uint8Array, key: KeyAlgorithmId): Uint8Array =>
  isElliptic(key) ? toMessageSignature(signature, key) : signature
const fromJOSE = (signature: Uint8Array, key: KeyAlgorithmId): Uint8Array =>
  isElliptic(key) ? fromMessageSignature(signature, key) : signature

/**
 * @param certificate of the unit, DER, from our records
 * @throws TrustError `badProof` when the unit did not sign it, `malformed` when it says something else, `unsupported`
 */
export async function checkReceipt(octets: Uint8Array, certificate: Uint8Array): Promise<DestructionReceipt> {
  const jws = parseJWS(octets, RECEIPT_MAX_OCTETS)
  const publicKey = importPublicKey(parseCertificate(certificate).subjectPublicKeyInfo)
  const { typ } = onlySignature(jws).protectedHeader
  if (typ !== RECEIPT_TYPE) throw malformed('its typ is another')
  const payload = await verifiedPayload(jws, publicKey, certificate)
  const { certificate: of, productSerial, destroyedAt } = payload
  if (typeof of !== 'string' || typeof productSerial !== 'string' || typeof destroyedAt !== 'number')
    throw malformed('it does not name certificate, productSerial and destroyedAt')
  return { certificate: of, productSerial, destroyedAt }
}

const malformed = (detail: string): TrustError => new TrustError('malformed', 'birthReceipt', { facts: { detail } })

/** @throws TrustError `malformed` */
export function onlySignature({ signatures }: JWS): JWS['signatures'][number] {
  const [signature, another] = signatures
  if (signature === undefined || another !== undefined)
    throw new TrustError('malformed', 'notJWS', { facts: { detail: 'it has not one signature' } })
  return signature
}

/**
 * What one known key signed.
 *
 * @param certificate that a thumbprint, where there is one, has to name
 * @throws TrustError `badProof`, `malformed`, `unsupported`
 */
export async function verifiedPayload(jws: JWS, publicKey: PublicKey, certificate: Uint8Array): Promise<JSONObject> {
  const signature = onlySignature(jws)
  const { encodedPayload } = jws
  checkCritical(signature, [])
  if (encodedPayload === undefined || !jws.isEncoded)
    throw new TrustError('malformed', 'notJWS', { facts: { detail: 'its payload is not in it' } })
  const thumbprint = thumbprintOf(signature)
  if (thumbprint !== undefined && !equal(thumbprint, fingerprint(certificate))) throw new TrustError('badProof', 'birthSignature')
  const algorithm = namedSignature(signature.algorithm, publicKey.algorithm)
  const message = concat([encodeSigningInputHead(signature.encodedHeader), utf8(encodedPayload)])
  const octets = fromJOSE(signature.signature, publicKey.algorithm)
  if (!(await verifySignature({ algorithm, octets }, publicKey, message))) throw new TrustError('badProof', 'birthSignature')
  return parseJSONObject(payloadOf(jws, encodedPayload))
}
