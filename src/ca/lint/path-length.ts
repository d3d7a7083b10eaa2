/** An authority lies within the depth that those above it allow: a verifier refuses everything below it otherwise. @module */
import { equal } from '#base/bytes.ts'
import { extensionOf } from '#x509/certificate.ts'
import { basicConstraints } from '#x509/extensions/basic-constraints.ts'
import type { LintRule } from './rule.ts'

export const pathLength: LintRule = {
  id: 'path-length',
  source: 'RFC 5280, 4.2.1.9',
  scope: 'template',
  check({ certificate, issuer }) {
    if (issuer === certificate) return undefined // a root: nothing stands above it
    if (equal(certificate.subject, certificate.issuer)) return undefined // a link between generations does not count (6.1.4 l)
    const own = extensionOf(certificate, basicConstraints)?.value
    const above = extensionOf(issuer, basicConstraints)?.value.pathLenConstraint
    if (own?.cA !== true || above === undefined) return undefined
    if (above === 0) return 'its issuer may have no authority below it'
    // each level says less than the one above, so that looking at the issuer alone is enough
    return own.pathLenConstraint !== undefined && own.pathLenConstraint < above
      ? undefined
      : `its pathLenConstraint must be below ${above}, its issuer's`
  },
}
