/**
 * What the platform asks of anything that holds private keys: a database of wrapped blobs, a PKCS#11 token, a TPM, a KMS.
 *
 * A key never leaves its store. Callers hold a {@link Signer}, which can sign and nothing else.
 *
 * @module
 */
import type { KeyAlgorithmId, SignatureAlgorithmId } from '#algorithms/table.ts'
import type { Secret } from '#base/secret.ts'

export interface Signer {
  readonly label: string
  readonly keyAlgorithm: KeyAlgorithmId
  /** DER SubjectPublicKeyInfo (RFC 5280, 4.1.2.7). */
  readonly publicKey: Uint8Array
  /**
   * @param message the bytes to sign, not their digest
   * @returns the signature as X.509 carries it (for ECDSA: DER `Ecdsa-Sig-Value`, RFC 3279, 2.2.3)
   * @throws TrustError `unavailable` when the store cannot be reached, `unsupported` for another family's algorithm
   */
  sign(message: Uint8Array, algorithm: SignatureAlgorithmId): Promise<Uint8Array>
  /**
   * The same from the message's digest, so that the message need not be here. Absent where the store cannot.
   *
   * @throws TrustError `unsupported` for an algorithm that takes the message itself, `malformed` for a digest of another length
   */
  readonly signDigest?: (digest: Uint8Array, algorithm: SignatureAlgorithmId) => Promise<Uint8Array>
}

export interface KeyEntry {
  readonly label: string
  readonly keyAlgorithm: KeyAlgorithmId
  readonly publicKey: Uint8Array
  readonly createdAt: Date
}

export interface KeyStore {
  readonly id: string
  /** Algorithms this store can generate. */
  readonly algorithms: readonly KeyAlgorithmId[]
  /** @throws TrustError `conflict` when `label` is taken, `unsupported` for an algorithm not listed */
  generate(label: string, algorithm: KeyAlgorithmId): Promise<Signer>
  /** @throws TrustError `notFound` */
  open(label: string): Promise<Signer>
  list(): Promise<readonly KeyEntry[]>
  /** Makes the key unusable for good. @throws TrustError `notFound` */
  destroy(label: string): Promise<void>
  /** Absent where the store takes no keys made elsewhere. @param pkcs8 DER PrivateKeyInfo @throws TrustError `conflict`, `malformed`, `unsupported` */
  readonly import?: (label: string, pkcs8: Secret) => Promise<Signer>
}
