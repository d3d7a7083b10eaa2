/**
 * A router or firewall that speaks IKE: its name or address in subjectAltName is the identity that the peer compares.
 *
 * No extendedKeyUsage, which IKE implementations disagree about (RFC 4945, 5.1.3.12 says not to write one).
 *
 * Source: RFC 4945, 3.1 and 5.1.3.
 *
 * @module
 */
import type { Profile } from '../profile.ts'
import { HOLDER_KEYS } from './key-algorithms.ts'

export const router: Profile = {
  id: 'router',
  title: 'Router, firewall (IKE)',
  holder: 'server',
  keyAlgorithms: HOLDER_KEYS,
  validity: { days: 365 },
  keyUsage: ['digitalSignature'],
  extendedKeyUsage: [],
  subject: { CN: 'optional', O: 'optional', OU: 'optional', serialNumber: 'optional' },
  subjectAltName: { presence: 'required', dNSName: 'any', iPAddress: 'any' },
  birth: false,
  revocationPointers: true,
  subjectKeyIdentifier: true,
}
