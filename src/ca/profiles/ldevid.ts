/**
 * The owner's certificate for a device: a locally significant identity, renewed by the device itself.
 *
 * Source: IEEE 802.1AR-2018, 3 and 8.
 *
 * @module
 */
import type { Profile } from '../profile.ts'

export const ldevid: Profile = {
  id: 'ldevid',
  title: "Owner's device certificate (LDevID)",
  holder: 'device',
  keyAlgorithms: ['ecdsa-p256', 'ecdsa-p384', 'rsa-2048', 'rsa-3072'],
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
