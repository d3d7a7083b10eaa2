/** Every extension is known, well formed, and as critical as its standard says. @module */
import { knownExtension } from '#x509/extensions/registry.ts'
import { extensionOf } from '#x509/certificate.ts'
import type { LintRule } from './rule.ts'

export const extensions: LintRule = {
  id: 'extensions',
  source: 'RFC 5280, 4.2',
  scope: 'template',
  check({ certificate }) {
    for (const { extnID, critical } of certificate.extensions) {
      const known = knownExtension(extnID)
      if (known === undefined) return `the extension ${extnID} is not known here`
      if (known.criticality === 'critical' && !critical) return `${known.id} is not critical`
      if (known.criticality === 'non-critical' && critical) return `${known.id} is critical`
      extensionOf(certificate, known)
    }
    return undefined
  },
}
