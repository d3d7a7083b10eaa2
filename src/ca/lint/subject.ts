/** Something names the holder: a subject, or a critical subjectAltName. Authorities always have a subject. @module */
import { extensionOf } from '#x509/certificate.ts'
import { subjectAltName } from '#x509/extensions/subject-alternative-name.ts'
import { subjectOf } from './_names.ts'
import type { LintRule } from './rule.ts'

export const subject: LintRule = {
  id: 'subject',
  source: 'RFC 5280, 4.1.2.6, 4.2.1.6',
  scope: 'each',
  check({ certificate, profile }) {
    const { name } = subjectOf(certificate)
    if (name.length === 0) {
      if (profile.holder === 'authority') return 'an authority has no subject'
      const found = extensionOf(certificate, subjectAltName)
      if (found === undefined) return 'nothing names the holder'
      if (!found.critical) return 'the subject is empty and subjectAltName is not critical'
    }
    return undefined
  },
}
