/**
 * How much work one answer may cost. Certificates come from strangers, and a few hundred of them that all sign each
 * other have more paths than there is time.
 *
 * @module
 */
import type { AlgorithmId } from '#algorithms/policy.ts'
import { identifySignature, verifySignature } from '#algorithms/public-key.ts'
import { TrustError } from '#base/errors.ts'
import type { Link } from './link.ts'
import { PathRefusal } from './reasons.ts'

/** Certificates between the anchor and the end. Plants have 2 to 4, the deepest PKITS path has 6. */
export const DEPTH_MAX = 16
/** Certificates that a stranger may bring; a bridge of many plants has some dozens. */
export const CANDIDATES_MAX = 1024
/** Signatures checked for one answer, those of CRLs and OCSP included: about 50 ms of RSA, and a bridge takes some dozens. */
export const SIGNATURES_MAX = 256
/** Complete paths that are looked at; the best ones come first, so the right one is among the first few. */
export const PATHS_MAX = 64
/** Steps of the search, which cost next to nothing each. */
export const STEPS_MAX = 10_000
/** Comparisons of names with subtrees in one path. */
export const NAME_COMPARISONS_MAX = 250_000
/** Revocation lists that are looked at for one answer. */
export const LISTS_MAX = 512

const limits = {
  signatures: SIGNATURES_MAX,
  paths: PATHS_MAX,
  steps: STEPS_MAX,
  comparisons: NAME_COMPARISONS_MAX,
  lists: LISTS_MAX,
} as const
export type Work = keyof typeof limits

/** One answer's work. Every signature is checked once, however many paths lead over it. */
export class Budget {
  readonly #spent: Record<Work, number> = { signatures: 0, paths: 0, steps: 0, comparisons: 0, lists: 0 }
  readonly #verdicts = new Map<string, Promise<boolean>>()
  readonly #accept: (algorithm: AlgorithmId) => unknown

  /** @param accept throws for an algorithm that may not be used; without it those of the table may */
  constructor(accept: (algorithm: AlgorithmId) => unknown = () => {}) {
    this.#accept = accept
  }

  /** @throws PathRefusal `pathTooMuchWork` */
  spend(what: Work, label: string, amount = 1): void {
    this.#spent[what] += amount
    if (this.#spent[what] > limits[what]) throw new PathRefusal('pathTooMuchWork', label, { limit: limits[what], what })
  }

  /**
   * Whether the key of `by` signed this.
   *
   * @param label of what is signed, for the refusal
   * @throws PathRefusal for an algorithm or a key that is not in the table, or that the policy refuses
   */
  async signed(
    signed: { readonly signatureAlgorithm: Uint8Array; readonly signature: Uint8Array; readonly message: Uint8Array },
    by: Link,
    label: string,
    /** Tells one signed thing from another. */
    id: string,
  ): Promise<boolean> {
    const pair = `${id} ${by.certificate.subjectPublicKeyInfo.toHex()}`
    const known = this.#verdicts.get(pair)
    if (known !== undefined) return known
    const algorithm = algorithmOf(signed.signatureAlgorithm, label)
    const key = by.key()
    try {
      this.#accept(algorithm)
      this.#accept(key.algorithm)
    } catch {
      throw new PathRefusal('pathAlgorithm', label)
    }
    this.spend('signatures', label)
    const verdict = (async () => verifySignature({ algorithm, octets: signed.signature }, key, signed.message))()
    this.#verdicts.set(pair, verdict)
    return verdict
  }

  /** Whether the key of `issuer` signed the certificate. @throws PathRefusal */
  signedCertificate({ certificate, label, fingerprint }: Link, issuer: Link): Promise<boolean> {
    const { signatureAlgorithm, signatureValue: signature, tbsCertificate: message } = certificate
    return this.signed({ signatureAlgorithm, signature, message }, issuer, label, fingerprint)
  }
}

function algorithmOf(identifier: Uint8Array, label: string): ReturnType<typeof identifySignature> {
  try {
    return identifySignature(identifier)
  } catch (error) {
    if (!(error instanceof TrustError)) throw error
    throw new PathRefusal('pathAlgorithm', label)
  }
}
