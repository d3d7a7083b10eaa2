/** A certificate begins before it ends, and does not outlive its issuer. @module */
import type { LintRule } from './rule.ts'

export const validity: LintRule = {
  id: 'validity',
  source: 'RFC 5280, 4.1.2.5 and 6.1.3 (a)(2)',
  scope: 'each',
  check({ certificate, issuer }) {
    if (certificate.notAfter <= certificate.notBefore) return 'it ends before it begins'
    if (certificate.notAfter > issuer.notAfter) return "it outlives its issuer's certificate"
    return undefined
  },
}
