/**
 * What a node proves of its machine: not what it says, but what a TPM signed.
 *
 * Statements alone show no more than some TPM, which may be one that its host keeps (NV). That it is a part of a known maker
 * (N1) shows by the answer to a challenge (`endorsement.ts`).
 *
 * @module
 */
import type { PublicKey } from '#algorithms/public-key.ts'
import { equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { checkCertified, checkNVCertified, counterValue, trustedAttestationKey } from '#tpm2/attestation.ts'
import { nvName } from '#tpm2/name.ts'
import { TPMS_NV_PUBLIC, TPMT_PUBLIC } from '#tpm2/structures.ts'
import { unmarshal } from '#tpm2/wire.ts'
import { parseCertificate } from '#x509/certificate.ts'
import type { Tier, TicketRequest } from './messages.ts'

/** @throws TrustError `badProof`, `policyRefused`, `malformed` for statements that do not hold */
export async function shownTier(
  { attestation, counters, nonce: hex, envelope }: TicketRequest,
  publicKey: PublicKey,
): Promise<Extract<Tier, 'N0' | 'NV'>> {
  if (attestation === undefined) {
    if (counters.starts.name !== 'file' || counters.blocks.name !== 'file')
      throw wrong('its counters are in a TPM that says nothing')
    return 'N0'
  }
  const nonce = Uint8Array.fromHex(hex)
  const octetsOf = (base64: string): Uint8Array => Uint8Array.fromBase64(base64)
  const key = trustedAttestationKey(unmarshal(TPMT_PUBLIC, octetsOf(attestation.attestationKey)))
  const [ofKey, ofStarts, ofBlocks, ofEnvelope] = attestation.certified.map(({ attest, signature }) => ({
    attest: octetsOf(attest),
    signature: octetsOf(signature),
  }))
  if (ofKey === undefined || ofStarts === undefined || ofBlocks === undefined) throw wrong('a statement is missing')
  const { publicKey: certified } = await checkCertified(ofKey, key, {
    certified: unmarshal(TPMT_PUBLIC, octetsOf(attestation.nodeKey)),
    nonce,
  })
  if (!equal(certified.spki, publicKey.spki)) throw wrong('another key is certified')
  if (envelope !== undefined) {
    if (ofEnvelope === undefined || attestation.envelopeKey === undefined) throw wrong('nothing is said of the key for images')
    const area = unmarshal(TPMT_PUBLIC, octetsOf(attestation.envelopeKey))
    const { publicKey: opening } = await checkCertified(ofEnvelope, key, { certified: area, nonce })
    if (!equal(opening.spki, parseCertificate(octetsOf(envelope)).subjectPublicKeyInfo))
      throw wrong('another key for images is certified')
  }
  for (const [said, area, { name, value }] of [
    [ofStarts, attestation.starts, counters.starts],
    [ofBlocks, attestation.blocks, counters.blocks],
  ] as const) {
    const index = unmarshal(TPMS_NV_PUBLIC, octetsOf(area))
    if (index.attributes.TPM_NT !== 'COUNTER') throw wrong('an index is no counter')
    if (nvName(index).toHex() !== name) throw wrong('another counter is certified')
    const { contents } = await checkNVCertified(said, key, { index, nonce })
    if (Number(counterValue(contents)) !== value) throw wrong('a counter has another value')
  }
  if (counters.starts.name === counters.blocks.name) throw wrong('both counters are one')
  return 'NV'
}

const wrong = (detail: string): TrustError => new TrustError('policyRefused', 'attestationWrong', { facts: { detail } })
