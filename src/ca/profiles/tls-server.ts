/** A server's certificate for TLS. Names stand in subjectAltName only (RFC 9525, 2). @module */
import type { Profile } from '../profile.ts'
import { HOLDER_KEYS } from './key-algorithms.ts'

export const tlsServer: Profile = {
  id: 'tls-server',
  title: 'TLS server',
  holder: 'server',
  keyAlgorithms: HOLDER_KEYS,
  validity: { days: 90 },
  keyUsage: ['digitalSignature'],
  extendedKeyUsage: ['1.3.6.1.5.5.7.3.1'],
  subject: { CN: 'optional', O: 'optional', OU: 'optional' },
  subjectAltName: { presence: 'required', dNSName: 'any', iPAddress: 'any' },
  birth: false,
  revocationPointers: true,
  subjectKeyIdentifier: true,
}
