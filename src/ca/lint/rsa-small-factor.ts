/** The modulus has no factor that anyone finds by dividing. @module */
import { rsaOf } from './_rsa.ts'
import type { LintRule } from './rule.ts'

export const rsaSmallFactor: LintRule = {
  id: 'rsa-small-factor',
  source: 'NIST SP 800-89, 5.3.3',
  scope: 'each',
  check: ({ publicKey }) => (rsaOf(publicKey)?.weakness === 'small factor' ? 'the modulus has a small factor' : undefined),
}
