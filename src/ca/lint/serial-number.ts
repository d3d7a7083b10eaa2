/** Serial numbers are positive, at most 20 octets, and too long to be guessed or to repeat. @module */
import type { LintRule } from './rule.ts'

/** 64 random bits after a sign bit: what the CA/Browser Forum asks (BR 7.1), and enough that a restored backup cannot repeat one. */
const OCTETS_MIN = 9
const OCTETS_MAX = 20

export const serialNumber: LintRule = {
  id: 'serial-number',
  source: 'RFC 5280, 4.1.2.2',
  scope: 'each',
  check({ certificate: { serialNumber: octets } }) {
    if ((octets[0] as number) >= 0x80) return 'the serial number is negative'
    if (octets.length > OCTETS_MAX) return `the serial number has ${octets.length} octets, more than ${OCTETS_MAX}`
    return octets.length < OCTETS_MIN ? `the serial number has ${octets.length} octets, too few to be unpredictable` : undefined
  },
}
