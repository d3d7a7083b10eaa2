/** No NUL or other control character stands in a name: what reads only to it takes one host for another. @module */
import { extensionOf } from '#x509/certificate.ts'
import { subjectAltName } from '#x509/extensions/subject-alternative-name.ts'
import { attributeLabel } from '#x509/name.ts'
import { subjectOf } from './_names.ts'
import type { LintRule } from './rule.ts'

// oxlint-disable-next-line no-control-regex -- control characters are what is looked for
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/

export const stringsControl: LintRule = {
  id: 'strings-control',
  source: 'CVE-2009-2408; RFC 5280, 7.2',
  scope: 'each',
  check({ certificate }) {
    for (const rdn of subjectOf(certificate).name)
      for (const { type, value } of rdn) if (CONTROL.test(value)) return `${attributeLabel(type)} has a control character`
    for (const name of extensionOf(certificate, subjectAltName)?.value ?? [])
      if (typeof name.value === 'string' && CONTROL.test(name.value)) return `${name.type} has a control character`
    return undefined
  },
}
