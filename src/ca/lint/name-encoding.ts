/** Attributes are written in the string types that a CA writes: UTF8String or PrintableString, and the one type where there is only one. @module */
import { findingOf } from './_names.ts'
import type { LintRule } from './rule.ts'

export const nameEncoding: LintRule = {
  id: 'name-encoding',
  source: 'RFC 5280, 4.1.2.4 and A.1',
  scope: 'each',
  check: ({ certificate }) => findingOf(certificate, 'encoding'),
}
