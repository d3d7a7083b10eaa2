/** The public exponent is odd, at least 65537 and below 2^256. @module */
import { isUsableExponent } from '#algorithms/public-key.ts'
import { rsaOf } from './_rsa.ts'
import type { LintRule } from './rule.ts'

export const rsaExponent: LintRule = {
  id: 'rsa-exponent',
  source: 'NIST SP 800-56B, 6.2',
  scope: 'each',
  check({ publicKey }) {
    const rsa = rsaOf(publicKey)
    return rsa === undefined || isUsableExponent(rsa.publicExponent) ? undefined : `the public exponent is ${rsa.publicExponent}`
  },
}
