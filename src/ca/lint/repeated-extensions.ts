/** No extension stands twice. @module */
import type { LintRule } from './rule.ts'

export const repeatedExtensions: LintRule = {
  id: 'repeated-extensions',
  source: 'RFC 5280, 4.2',
  scope: 'each',
  check({ certificate: { extensions } }) {
    const repeated = extensions.find(({ extnID }, at) =>
      extensions.some((other, before) => before < at && other.extnID === extnID),
    )
    return repeated === undefined ? undefined : `the extension ${repeated.extnID} stands twice`
  },
}
