/**
 * The owner's certificate for a device: a locally significant identity, renewed by the device itself.
 *
 * Source: IEEE 802.1AR-2018, 3 and 8.
 *
 * @module
 */
import type { Profile } from '../profile.ts'
import { HOLDER_KEYS } from './key-algorithms.ts'

export const ldevid: Profile = {
  id: 'ldevid',
  title: "Owner's device certificate (LDevID)",
  holder: 'device',
  keyAlgorithms: HOLDER_KEYS,
  validity: { days: 365 },
  keyUsage: ['digitalSignature'],
  extendedKeyUsage: ['1.3.6.1.5.5.7.3.2', '1.3.6.1.5.5.7.3.1'],
  subject: { serialNumber: 'required', CN: 'optional', O: 'optional', OU: 'optional', C: 'optional' },
  subjectAltName: {
    presence: 'optional',
    uniformResourceIdentifier: ['urn:device:{productSerial}'],
    dNSName: ['{productSerial}'],
  },
  birth: false,
  revocationPointers: true,
  subjectKeyIdentifier: true,
}
