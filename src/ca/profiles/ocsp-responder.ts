/**
 * A delegated OCSP responder: it answers for the authority that issued it, and lives too short to need checking.
 *
 * Source: RFC 6960, 4.2.2.2 and 4.2.2.2.1.
 *
 * @module
 */
import type { Profile } from '../profile.ts'
import { AUTHORITY_KEYS } from './key-algorithms.ts'

export const ocspResponder: Profile = {
  id: 'ocsp-responder',
  title: 'OCSP responder',
  holder: 'responder',
  keyAlgorithms: AUTHORITY_KEYS,
  validity: { days: 30 },
  keyUsage: ['digitalSignature'],
  extendedKeyUsage: ['1.3.6.1.5.5.7.3.9'],
  subject: { CN: 'required', O: 'optional' },
  subjectAltName: { presence: 'optional' },
  birth: false,
  revocationPointers: false,
  subjectKeyIdentifier: true,
  ocspNocheck: true,
}
