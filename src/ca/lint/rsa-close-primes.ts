/** The primes are far enough apart that Fermat's method does not find them. @module */
import { rsaOf } from './_rsa.ts'
import type { LintRule } from './rule.ts'

export const rsaClosePrimes: LintRule = {
  id: 'rsa-close-primes',
  source: 'CVE-2022-26320; CA/Browser Forum Baseline Requirements, 6.1.1.3',
  scope: 'each',
  check: ({ publicKey }) =>
    rsaOf(publicKey)?.weakness === 'close primes' ? "the primes are so close that Fermat's method finds them" : undefined,
}
