/** The key of a request, of an algorithm that may be used today, and held by whoever asks. @module */
import { importPublicKey, type PublicKey } from '#algorithms/public-key.ts'
import { checkProofOfPossession, type CertificationRequest } from '#x509/certification-request.ts'
import type { CAContext } from './context.ts'

/** @throws TrustError `malformed`, `unsupported`, `policyRefused` for the key or its algorithm; `badProof` */
export async function provenKey(
  { policy, world }: Pick<CAContext, 'policy' | 'world'>,
  request: CertificationRequest,
): Promise<PublicKey> {
  const publicKey = importPublicKey(request.subjectPublicKeyInfo)
  const now = world.clock.now()
  policy.check(publicKey.algorithm, now)
  await checkProofOfPossession(request, publicKey, (algorithm) => policy.check(algorithm, now))
  return publicKey
}
