/**
 * The device's side of a birth from a TPM, for agents and for stations that reach the TPM of what they make.
 *
 * The attestation key is a primary key: the same TPM makes the same one again, so that nothing has to be kept between the
 * steps but the challenge.
 *
 * @module
 */
import { activateCredential, certify, createPrimary, type LoadedKey } from '#tpm2/keys.ts'
import { readEndorsement } from '#tpm2/platform.ts'
import { TPM2B_ENCRYPTED_SECRET, TPM2B_ID_OBJECT, TPM2B_PUBLIC } from '#tpm2/structures.ts'
import { attestationKey, type EndorsementTemplate } from '#tpm2/templates.ts'
import { hierarchies, type TPM } from '#tpm2/tpm.ts'
import { marshal, unmarshal } from '#tpm2/wire.ts'
import type { ChallengeRequest, IssuedChallenge, TPMEvidence } from './messages.ts'

/** What a TPM says of itself to get a challenge. @throws TrustError `notFound` when it has no endorsement certificate */
export async function introduceTPM(
  tpm: TPM,
  templates?: readonly EndorsementTemplate[],
): Promise<Required<Pick<ChallengeRequest, 'endorsementKey' | 'endorsementCertificate' | 'attestationKey'>>> {
  const { key, certificate } = await readEndorsement(tpm, templates)
  return tpm.using(key, async () => ({
    endorsementKey: marshal(TPM2B_PUBLIC, key.publicArea),
    endorsementCertificate: certificate,
    attestationKey: await withAttestationKey(tpm, async ({ publicArea }) => marshal(TPM2B_PUBLIC, publicArea)),
  }))
}

/**
 * Reads the challenge, and has the TPM certify the device's key.
 *
 * @param withKey loads the key for as long as it is needed
 * @throws TrustError `badProof` when the challenge was made for another TPM
 */
export async function answerWithTPM(
  tpm: TPM,
  { id, credentialBlob, secret, nonce }: IssuedChallenge,
  withKey: <T>(work: (key: LoadedKey) => Promise<T>) => Promise<T>,
  templates?: readonly EndorsementTemplate[],
): Promise<TPMEvidence> {
  const sealed = {
    credentialBlob: unmarshal(TPM2B_ID_OBJECT, credentialBlob),
    secret: unmarshal(TPM2B_ENCRYPTED_SECRET, secret),
  }
  return withAttestationKey(tpm, async (object) => {
    const { key: endorsementKey } = await readEndorsement(tpm, templates)
    const told = await tpm.using(endorsementKey, () => activateCredential(tpm, { object, endorsementKey }, sealed))
    return withKey(async (key) => ({
      type: 'tpm',
      challenge: id,
      credential: told.reveal('answer the challenge of a birth'),
      key: marshal(TPM2B_PUBLIC, key.publicArea),
      ...(await certify(tpm, { object: key, by: object, nonce })),
    }))
  })
}

async function withAttestationKey<T>(tpm: TPM, work: (key: LoadedKey) => Promise<T>): Promise<T> {
  const key = await createPrimary(tpm, hierarchies.endorsement, { template: attestationKey() })
  return tpm.using(key, () => work(key))
}
