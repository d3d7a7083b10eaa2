/** The primes are not those of Infineon's broken generator (ROCA). @module */
import { rsaOf } from './_rsa.ts'
import type { LintRule } from './rule.ts'

export const rsaROCA: LintRule = {
  id: 'rsa-roca',
  source: 'CVE-2017-15361',
  scope: 'each',
  check: ({ publicKey }) =>
    rsaOf(publicKey)?.weakness === 'predictable primes' ? 'the primes come from a generator that is broken (ROCA)' : undefined,
}
