/**
 * A gateway: client to what is above it, server to what is below.
 *
 * Source: RFC 5280, 4.2.1.12 (serverAuth and clientAuth); RFC 9525, 2.
 *
 * @module
 */
import type { Profile } from '../profile.ts'
import { HOLDER_KEYS } from './key-algorithms.ts'

export const gateway: Profile = {
  id: 'gateway',
  title: 'Gateway (TLS server and client)',
  holder: 'server',
  keyAlgorithms: HOLDER_KEYS,
  validity: { days: 365 },
  keyUsage: ['digitalSignature'],
  extendedKeyUsage: ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2'],
  subject: { CN: 'optional', O: 'optional', OU: 'optional', serialNumber: 'optional' },
  subjectAltName: { presence: 'required', dNSName: 'any', iPAddress: 'any', uniformResourceIdentifier: 'any' },
  birth: false,
  revocationPointers: true,
  subjectKeyIdentifier: true,
}
