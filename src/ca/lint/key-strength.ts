/** The key is of a kind that the profile lists and the platform stands behind today. @module */
import { keyAlgorithm } from '#algorithms/table.ts'
import { allowsKey } from '../profile.ts'
import type { LintRule } from './rule.ts'

/** NIST SP 800-57 part 1, table 4: acceptable through 2030; births that live longer are for stronger keys or a renewed fleet. */
const STRENGTH_MIN_BITS = 112

export const keyStrength: LintRule = {
  id: 'key-strength',
  source: 'NIST SP 800-57 part 1, 5.6.2',
  scope: 'template',
  check({ publicKey: { algorithm }, profile }) {
    const { strengthBits, standing } = keyAlgorithm(algorithm)
    if (standing !== 'allowed') return `${algorithm} is ${standing}`
    if (strengthBits < STRENGTH_MIN_BITS)
      return `${algorithm} has ${strengthBits} bits of strength, fewer than ${STRENGTH_MIN_BITS}`
    return allowsKey(profile, algorithm) ? undefined : `the profile ${profile.id} does not offer ${algorithm}`
  },
}
