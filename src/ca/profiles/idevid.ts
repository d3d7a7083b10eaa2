/**
 * The birth certificate: an initial device identity that never expires.
 *
 * No extendedKeyUsage, since one identity serves many protocols; no subjectKeyIdentifier in a leaf.
 *
 * Source: IEEE 802.1AR-2018, 8; RFC 4108, 5 for hardwareModuleName.
 *
 * @module
 */
import type { Profile } from '../profile.ts'
import { HOLDER_KEYS } from './key-algorithms.ts'

export const idevid: Profile = {
  id: 'idevid',
  title: 'Device birth certificate (IDevID)',
  holder: 'device',
  keyAlgorithms: HOLDER_KEYS,
  validity: { noExpiry: true },
  keyUsage: ['digitalSignature'],
  extendedKeyUsage: [],
  subject: { serialNumber: 'required', CN: 'optional', O: 'optional', OU: 'optional', C: 'optional' },
  subjectAltName: { presence: 'required', hardwareModuleName: true, uniformResourceIdentifier: ['urn:device:{productSerial}'] },
  birth: true,
  revocationPointers: true,
  subjectKeyIdentifier: false,
}
