/** No attribute of the subject is empty. @module */
import { findingOf } from './_names.ts'
import type { LintRule } from './rule.ts'

export const nameEmpty: LintRule = {
  id: 'name-empty',
  source: 'RFC 5280, A.1 (SIZE (1..ub-…))',
  scope: 'each',
  check: ({ certificate }) => findingOf(certificate, 'empty'),
}
