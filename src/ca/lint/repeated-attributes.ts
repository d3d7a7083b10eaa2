/** No attribute of the subject stands twice, but those that make levels: two readers would take different ones. @module */
import { attributeLabel, attributeTypes } from '#x509/name.ts'
import { subjectOf } from './_names.ts'
import type { LintRule } from './rule.ts'

/** Domains and departments lie within each other. */
const LEVELS: ReadonlySet<string> = new Set([attributeTypes.DC, attributeTypes.OU])

export const repeatedAttributes: LintRule = {
  id: 'repeated-attributes',
  source: 'CA/Browser Forum Baseline Requirements, 7.1.4.1; RFC 4519',
  scope: 'each',
  check({ certificate }) {
    const seen = new Set<string>()
    for (const rdn of subjectOf(certificate).name) {
      for (const { type } of rdn) {
        if (seen.has(type) && !LEVELS.has(type)) return `${attributeLabel(type)} stands twice`
        seen.add(type)
      }
    }
    return undefined
  },
}
