/**
 * The device's key: in a file for its owner only, or in a TPM that never gives it away.
 *
 * A key in a TPM is written as the PEM that TPM programs share (`TSS2 PRIVATE KEY`): public and private area, the latter
 * wrapped by the TPM's own storage key, so a copy of the file is worth nothing on another machine.
 *
 * Source: RFC 5958; ASN.1 Specification for TPM 2.0 Key Files (`TPMKey`).
 *
 * @module
 */
import { createPrivateKey, createPublicKey } from 'node:crypto'
import { generateKey, signMessage } from '#algorithms/private-key.ts'
import { importPublicKey } from '#algorithms/public-key.ts'
import {
  certificateSignatureOf,
  keyAlgorithm,
  type KeyAlgorithmId,
  signatureAlgorithm,
  type SignatureAlgorithmId,
} from '#algorithms/table.ts'
import { encodePEM, parsePEM } from '#asn1/pem.ts'
import { TrustError } from '#base/errors.ts'
import { type Secret, secret } from '#base/secret.ts'
import type { TPMAccess } from './tpm-access.ts'

export interface DeviceKey {
  readonly keyAlgorithm: KeyAlgorithmId
  /** DER SubjectPublicKeyInfo. */
  readonly publicKey: Uint8Array
  readonly signatureAlgorithm: SignatureAlgorithmId
  sign(message: Uint8Array): Promise<Uint8Array>
  /** DER PKCS #8, where it can be had: what Node's TLS needs. */
  readonly privateKey?: Secret
}

/** Where keys of this device come from. */
export interface KeyMaker {
  /** How its TPM is reached, where it has one. */
  readonly tpm?: TPMAccess
}

const SOFTWARE_ALGORITHM = 'ecdsa-p256'

/** @returns PEM */
export async function makeKey(keys: 'software' | 'tpm', { tpm }: KeyMaker): Promise<string> {
  if (keys === 'tpm') return (tpm ?? absent()).makeKey('signing')
  const { privateKey } = await generateKey(SOFTWARE_ALGORITHM)
  return encodePEM('PRIVATE KEY', new Uint8Array(privateKey.export({ type: 'pkcs8', format: 'der' })))
}

const absent = (): never => {
  throw new TrustError('unavailable', 'agentNoTPM')
}

/** @param pem as {@link makeKey} or a birth wrote it @throws TrustError `malformed`; `badProof` for a key of another TPM, when it signs */
export function openKey(pem: string, { tpm }: KeyMaker): DeviceKey {
  const block = parsePEM(pem).find(({ label }) => label.endsWith('PRIVATE KEY'))
  if (block === undefined) throw new TrustError('malformed', 'agentKeyFile')
  if (block.label === 'TSS2 PRIVATE KEY') return (tpm ?? absent()).keyOf(block.der)
  return softwareKey(block.der, block.label)
}

function softwareKey(der: Uint8Array, label: string): DeviceKey {
  const type = ({ 'PRIVATE KEY': 'pkcs8', 'EC PRIVATE KEY': 'sec1', 'RSA PRIVATE KEY': 'pkcs1' } as const)[label]
  if (type === undefined) throw new TrustError('malformed', 'agentKeyFile')
  const key = createPrivateKey({ key: Buffer.from(der), format: 'der', type })
  const { algorithm, spki } = importPublicKey(new Uint8Array(createPublicKey(key).export({ type: 'spki', format: 'der' })))
  const id = certificateSignatureOf(algorithm)
  const { slow } = keyAlgorithm(algorithm)
  return {
    keyAlgorithm: algorithm,
    publicKey: spki,
    signatureAlgorithm: id,
    sign: async (message) => signMessage(message, signatureAlgorithm(id), key, slow),
    privateKey: secret(new Uint8Array(key.export({ type: 'pkcs8', format: 'der' }))),
  }
}
