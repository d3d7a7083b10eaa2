/**
 * What a verifier asks for beyond valid signatures, while programs and devices move to post-quantum ones.
 *
 * A signature counts as post-quantum when no classical one stands between it and a root that is trusted: whoever can forge
 * the signature of an authority can make the certificate of any key. The root's own signature counts for nothing.
 *
 * @module
 */
import { identifySignature } from '#algorithms/public-key.ts'
import { signatureAlgorithm, type SignatureAlgorithmId } from '#algorithms/table.ts'
import { TrustError } from '#base/errors.ts'
import type { SignatureReport } from './verify.ts'

export type Requirement =
  /** Every signature that is there or named is valid, a classical and a post-quantum one among them. */
  | { readonly type: 'both' }
  /** A valid post-quantum one is there. */
  | { readonly type: 'post-quantum' }
  /** From `until` on a valid post-quantum one is there. A time stamp does not help: it could be forged as well. */
  | { readonly type: 'classical-until'; readonly until: Date }

/**
 * @param at as of when the artifact is judged
 * @returns why the signatures do not do, undefined when they do
 */
export function shortOf(requirement: Requirement, signatures: readonly SignatureReport[], at: Date): TrustError | undefined {
  if (requirement.type === 'classical-until' && at < requirement.until) return undefined
  const valid = signatures.filter(({ verdict }) => verdict === 'valid')
  if (requirement.type === 'both') {
    if (valid.length < signatures.length) return new TrustError('policyRefused', 'requiredAll')
    if (!valid.some(isClassical)) return new TrustError('policyRefused', 'requiredClassical')
  }
  const quantum = valid.filter((one) => !isClassical(one))
  if (quantum.some(hasPostQuantumPath)) return undefined
  return new TrustError('policyRefused', quantum.length === 0 ? 'requiredPostQuantum' : 'requiredPostQuantumPath')
}

const POST_QUANTUM = /^(ml|slh)-dsa-/

const isPostQuantum = (id: SignatureAlgorithmId): boolean => POST_QUANTUM.test(signatureAlgorithm(id).family)
const isClassical = ({ signatureAlgorithm: id }: SignatureReport): boolean => id === undefined || !isPostQuantum(id)

function hasPostQuantumPath({ standing }: SignatureReport): boolean {
  const [anchor, ...below] = standing?.atSigning.path ?? []
  return (
    anchor !== undefined && below.every(({ certificate }) => isPostQuantum(identifySignature(certificate.signatureAlgorithm)))
  )
}
