/** The issuer field is the issuer's subject, octet by octet, and not empty. @module */
import { equal } from '#base/bytes.ts'
import type { LintRule } from './rule.ts'

const EMPTY_NAME_OCTETS = 2

export const issuerName: LintRule = {
  id: 'issuer-name',
  source: 'RFC 5280, 4.1.2.4',
  scope: 'template',
  check({ certificate, issuer }) {
    if (certificate.issuer.length <= EMPTY_NAME_OCTETS) return 'the issuer name is empty'
    return equal(certificate.issuer, issuer.subject) ? undefined : "the issuer name is not the issuing authority's subject"
  },
}
