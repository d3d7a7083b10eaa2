/**
 * A machine or a service that opens TLS connections and never answers any.
 *
 * Source: RFC 5280, 4.2.1.12 (clientAuth).
 *
 * @module
 */
import type { Profile } from '../profile.ts'
import { HOLDER_KEYS } from './key-algorithms.ts'

export const tlsClient: Profile = {
  id: 'tls-client',
  title: 'TLS client (machine, service)',
  holder: 'server',
  keyAlgorithms: HOLDER_KEYS,
  validity: { days: 365 },
  keyUsage: ['digitalSignature'],
  extendedKeyUsage: ['1.3.6.1.5.5.7.3.2'],
  subject: { CN: 'required', O: 'optional', OU: 'optional' },
  subjectAltName: { presence: 'optional', dNSName: 'any', uniformResourceIdentifier: 'any' },
  birth: false,
  revocationPointers: true,
  subjectKeyIdentifier: true,
}
