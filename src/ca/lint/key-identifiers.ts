/** A path can be built: the issuer's key is named, and an authority names its own. @module */
import { equal } from '#base/bytes.ts'
import { extensionOf } from '#x509/certificate.ts'
import { authorityKeyIdentifier } from '#x509/extensions/authority-key-identifier.ts'
import { subjectKeyIdentifier } from '#x509/extensions/subject-key-identifier.ts'
import type { LintRule } from './rule.ts'

export const keyIdentifiers: LintRule = {
  id: 'key-identifiers',
  source: 'RFC 5280, 4.2.1.1 and 4.2.1.2',
  scope: 'template',
  check({ certificate, profile, issuer }) {
    const own = extensionOf(certificate, subjectKeyIdentifier)
    if (profile.holder === 'authority' && own === undefined) return 'an authority has no subjectKeyIdentifier'
    if (certificate === issuer) return undefined
    const named = extensionOf(certificate, authorityKeyIdentifier)?.value.keyIdentifier
    if (named === undefined) return 'authorityKeyIdentifier is missing'
    const issuers = extensionOf(issuer, subjectKeyIdentifier)?.value
    return issuers !== undefined && equal(named, issuers) ? undefined : "authorityKeyIdentifier is not the issuer's"
  },
}
