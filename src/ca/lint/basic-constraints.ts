/** Only authorities are authorities: cA, pathLenConstraint and keyCertSign agree with the profile and with each other. @module */
import { extensionOf } from '#x509/certificate.ts'
import { basicConstraints as basicConstraintsType } from '#x509/extensions/basic-constraints.ts'
import { keyUsage } from '#x509/extensions/key-usage.ts'
import type { LintRule } from './rule.ts'

export const basicConstraints: LintRule = {
  id: 'basic-constraints',
  source: 'RFC 5280, 4.2.1.9 and 4.2.1.3',
  scope: 'template',
  check({ certificate, profile }) {
    const found = extensionOf(certificate, basicConstraintsType)
    const cA = found?.value.cA ?? false
    if (cA !== (profile.holder === 'authority'))
      return cA ? 'it is an authority and its profile is not' : 'its profile is for authorities and it is not one'
    if (cA && found?.critical !== true) return 'basicConstraints of an authority is not critical'
    if (!cA && found?.value.pathLenConstraint !== undefined)
      return 'pathLenConstraint stands in a certificate that is no authority'
    const signsCertificates = extensionOf(certificate, keyUsage)?.value.includes('keyCertSign') ?? false
    return signsCertificates === cA ? undefined : 'keyCertSign and cA do not agree'
  },
}
