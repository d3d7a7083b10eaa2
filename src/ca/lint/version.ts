/** Certificates with extensions are version 3. @module */
import type { LintRule } from './rule.ts'

export const version: LintRule = {
  id: 'version',
  source: 'RFC 5280, 4.1.2.1',
  scope: 'template',
  check: ({ certificate }) => (certificate.version === 3 ? undefined : `the version is ${certificate.version}, not 3`),
}
