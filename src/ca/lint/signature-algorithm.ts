/** A signature algorithm is one that the platform stands behind today. @module */
import { identifySignature } from '#algorithms/public-key.ts'
import { signatureAlgorithm } from '#algorithms/table.ts'
import type { LintRule } from './rule.ts'

export const signatureAlgorithmAllowed: LintRule = {
  id: 'signature-algorithm',
  source: 'RFC 5280, 4.1.1.2; NIST SP 800-131A',
  scope: 'template',
  check({ certificate }) {
    const { id, standing } = signatureAlgorithm(identifySignature(certificate.signatureAlgorithm))
    return standing === 'allowed' ? undefined : `${id} is ${standing}`
  },
}
