/**
 * A switch or access point that shows who it is to the network it joins: EAP-TLS in IEEE 802.1X.
 *
 * Source: RFC 5216, 5.3; RFC 9190, 2.2; IEEE 802.1X-2020.
 *
 * @module
 */
import type { Profile } from '../profile.ts'
import { HOLDER_KEYS } from './key-algorithms.ts'

export const networkSwitch: Profile = {
  id: 'switch',
  title: 'Switch, access point (EAP-TLS)',
  holder: 'device',
  keyAlgorithms: HOLDER_KEYS,
  validity: { days: 365 },
  keyUsage: ['digitalSignature'],
  extendedKeyUsage: ['1.3.6.1.5.5.7.3.2'],
  subject: { CN: 'required', serialNumber: 'optional', O: 'optional', OU: 'optional' },
  subjectAltName: { presence: 'optional', dNSName: 'any' },
  birth: false,
  revocationPointers: true,
  subjectKeyIdentifier: true,
}
