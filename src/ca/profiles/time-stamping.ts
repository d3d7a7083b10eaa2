/**
 * A time-stamping authority: its one purpose, and critical, so that nothing else takes the certificate.
 *
 * Source: RFC 3161, 2.3.
 *
 * @module
 */
import type { Profile } from '../profile.ts'
import { AUTHORITY_KEYS } from './key-algorithms.ts'

export const timeStamping: Profile = {
  id: 'time-stamping',
  title: 'Time-stamping authority',
  holder: 'signer',
  keyAlgorithms: AUTHORITY_KEYS,
  validity: { days: 2192 }, // well within the ten years of an issuing authority, which it may not outlive
  keyUsage: ['digitalSignature'],
  extendedKeyUsage: ['1.3.6.1.5.5.7.3.8'],
  extendedKeyUsageCritical: true,
  subject: { CN: 'required', O: 'required', C: 'optional' },
  subjectAltName: { presence: 'optional' },
  birth: false,
  revocationPointers: true,
  subjectKeyIdentifier: true,
}
