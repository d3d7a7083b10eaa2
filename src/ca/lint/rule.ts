/**
 * A lint rule looks at a rehearsed certificate before the real key signs it, and says what is wrong with it.
 *
 * @module
 */
import type { PublicKey } from '#algorithms/public-key.ts'
import type { TBSCertificate } from '#x509/certificate.ts'
import type { Profile } from '../profile.ts'

export interface Rehearsal {
  /** The certificate as it will be signed, parsed again from its own bytes. */
  readonly certificate: TBSCertificate
  readonly publicKey: PublicKey
  readonly profile: Profile
  /** The issuing authority's own certificate; the rehearsed one itself when it is self-signed. */
  readonly issuer: TBSCertificate
  /** Keys that are known to others, by the hashes of `weak-keys.ts`. */
  readonly weakKeys: ReadonlySet<string>
}

export interface LintRule {
  readonly id: string
  /** Where the standard says so. */
  readonly source: string
  /**
   * `each` certificate is looked at; `template`: the verdict follows from the profile, the issuer and the kind of key
   * alone, so that it is found once for all certificates that share these.
   */
  readonly scope: 'each' | 'template'
  /** @returns what is wrong, in one clause, or undefined */
  check(rehearsal: Rehearsal): string | undefined
}
