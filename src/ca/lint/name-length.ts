/** No attribute of the subject is longer than its upper bound. @module */
import { findingOf } from './_names.ts'
import type { LintRule } from './rule.ts'

export const nameLength: LintRule = {
  id: 'name-length',
  source: 'RFC 5280, A.1 (ub-…)',
  scope: 'each',
  check: ({ certificate }) => findingOf(certificate, 'length'),
}
