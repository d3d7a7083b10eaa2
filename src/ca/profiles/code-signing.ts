/**
 * Who signs programs and firmware. Signatures outlive it by their time stamps.
 *
 * Source: RFC 5280, 4.2.1.12 (codeSigning).
 *
 * @module
 */
import type { Profile } from '../profile.ts'
import { AUTHORITY_KEYS } from './key-algorithms.ts'

export const codeSigning: Profile = {
  id: 'code-signing',
  title: 'Code signing',
  holder: 'signer',
  keyAlgorithms: AUTHORITY_KEYS,
  validity: { days: 1096 },
  keyUsage: ['digitalSignature'],
  extendedKeyUsage: ['1.3.6.1.5.5.7.3.3'],
  subject: { CN: 'required', O: 'required', OU: 'optional', C: 'optional' },
  subjectAltName: { presence: 'optional' },
  birth: false,
  revocationPointers: true,
  subjectKeyIdentifier: true,
}
