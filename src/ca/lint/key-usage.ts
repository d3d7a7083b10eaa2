/** keyUsage is there and critical, and says what the profile says and what the key can do. @module */
import { keyAlgorithm } from '#algorithms/table.ts'
import { extensionOf } from '#x509/certificate.ts'
import { keyUsage as keyUsageType } from '#x509/extensions/key-usage.ts'
import type { LintRule } from './rule.ts'

export const keyUsage: LintRule = {
  id: 'key-usage',
  source: 'RFC 5280, 4.2.1.3; RFC 8813, 3; RFC 8410, 5; RFC 9881, 5; RFC 9909, 5 (only RSA keys encipher)',
  scope: 'template',
  check({ certificate, profile, publicKey }) {
    const found = extensionOf(certificate, keyUsageType)
    if (found === undefined) return 'keyUsage is missing'
    if (!found.critical) return 'keyUsage is not critical'
    const foreign = found.value.find((name) => !(profile.keyUsage as readonly string[]).includes(name))
    if (foreign !== undefined) return `keyUsage ${foreign} is not in the profile`
    const enciphers = found.value.find((name) => name === 'keyEncipherment' || name === 'dataEncipherment')
    return enciphers !== undefined && keyAlgorithm(publicKey.algorithm).family !== 'rsa'
      ? `a key of ${publicKey.algorithm} cannot be used for ${enciphers}`
      : undefined
  },
}
