/**
 * What else the subject, or the issuer, is called.
 *
 * Source: RFC 5280, 4.2.1.6 and 4.2.1.7.
 *
 * @module
 */
import { extensionType } from './extension.ts'
import { GeneralNames } from './general-name.ts'

export const subjectAltName = extensionType<GeneralNames>({
  oid: '2.5.29.17',
  id: 'subjectAltName',
  codec: GeneralNames,
  criticality: 'either', // must be critical where the subject is empty
  places: ['certificate'],
  source: 'RFC 5280, 4.2.1.6',
})

export const issuerAltName = extensionType<GeneralNames>({
  oid: '2.5.29.18',
  id: 'issuerAltName',
  codec: GeneralNames,
  criticality: 'non-critical',
  places: ['certificate', 'crl'],
  source: 'RFC 5280, 4.2.1.7',
})
