/** The key is on none of the lists of known keys that the installation was given, such as Debian's of CVE-2008-0166. @module */
import { weakKeyHash } from '../weak-keys.ts'
import { rsaOf } from './_rsa.ts'
import type { LintRule } from './rule.ts'

export const weakKeyList: LintRule = {
  id: 'weak-key-list',
  source: 'CVE-2008-0166; CA/Browser Forum Baseline Requirements, 6.1.1.3',
  scope: 'each',
  check({ publicKey, weakKeys }) {
    const rsa = weakKeys.size === 0 ? undefined : rsaOf(publicKey)
    return rsa !== undefined && weakKeys.has(weakKeyHash(rsa.modulus))
      ? 'the key is on a list of keys that others have too'
      : undefined
  },
}
