/**
 * Who signs what devices obey or believe: which version to install, licenses, commands. Devices list such certificates, or the
 * authority that issues nothing else, for each purpose in their trust list.
 *
 * Source: RFC 9336 (id-kp-documentSigning).
 *
 * @module
 */
import type { Profile } from '../profile.ts'
import { AUTHORITY_KEYS } from './key-algorithms.ts'

export const statementSigning: Profile = {
  id: 'statement-signing',
  title: 'Statement signing',
  holder: 'signer',
  keyAlgorithms: AUTHORITY_KEYS,
  validity: { days: 1096 },
  keyUsage: ['digitalSignature'],
  extendedKeyUsage: ['1.3.6.1.5.5.7.3.36'],
  extendedKeyUsageCritical: true,
  subject: { CN: 'required', O: 'required', OU: 'optional', C: 'optional' },
  subjectAltName: { presence: 'optional' },
  birth: false,
  revocationPointers: true,
  subjectKeyIdentifier: true,
}
