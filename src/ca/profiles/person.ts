/**
 * A person, who signs in with a certificate: a card, a browser, a mail program that shows who it is.
 *
 * Source: RFC 5280, 4.2.1.12 (clientAuth) and 4.2.1.6 (rfc822Name: addresses stand there, not in the subject).
 *
 * @module
 */
import type { Profile } from '../profile.ts'
import { HOLDER_KEYS } from './key-algorithms.ts'

export const person: Profile = {
  id: 'person',
  title: 'Person (client authentication)',
  holder: 'person',
  keyAlgorithms: HOLDER_KEYS,
  validity: { days: 365 },
  keyUsage: ['digitalSignature'],
  extendedKeyUsage: ['1.3.6.1.5.5.7.3.2'],
  subject: { CN: 'required', GN: 'optional', SN: 'optional', O: 'optional', OU: 'optional', C: 'optional' },
  subjectAltName: { presence: 'optional', rfc822Name: 'any' },
  birth: false,
  revocationPointers: true,
  subjectKeyIdentifier: true,
}
