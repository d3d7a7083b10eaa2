/** Firmware and keys of every kind that MCUboot takes, for whoever reads what is signed. @module */
import type { SignatureAlgorithmId } from '#algorithms/table.ts'
import { type TrialSigner, trialSigner } from '#signing/artifact/testing.ts'

type TrialKey = Parameters<typeof trialSigner>[0]

export const firmware = Uint8Array.from({ length: 4099 }, (_, i) => (i * i) >>> 3)
export const options = { version: '2.7.1+9', headerSize: '0x200', securityCounter: 'auto', loadAddress: '0x20000000' }

/** A key, its signature, and further options. */
export const cases: readonly (readonly [TrialKey, SignatureAlgorithmId, Readonly<Record<string, string>>])[] = [
  ['rsa-2048', 'rsa-pss-sha256', {}],
  ['rsa-3072', 'rsa-pss-sha256', {}],
  ['ecdsa-p256', 'ecdsa-sha256', {}],
  ['ecdsa-p384', 'ecdsa-sha384', {}],
  ['ed25519', 'ed25519', {}],
  ['ed25519', 'ed25519', { digest: 'sha512' }],
]

export async function signerFor(id: TrialKey, signatureAlgorithm: SignatureAlgorithmId): Promise<TrialSigner> {
  const made = await trialSigner(id)
  return { ...made, answering: { ...made.answering, signatureAlgorithm } }
}
