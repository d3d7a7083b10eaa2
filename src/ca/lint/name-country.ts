/** A country is two capital letters. @module */
import { findingOf } from './_names.ts'
import type { LintRule } from './rule.ts'

export const nameCountry: LintRule = {
  id: 'name-country',
  source: 'ISO 3166-1; X.520, 6.3.1',
  scope: 'each',
  check: ({ certificate }) => findingOf(certificate, 'country'),
}
