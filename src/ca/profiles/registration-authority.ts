/**
 * A station or gateway that asks for certificates on behalf of devices.
 *
 * What it may ask for is not in the certificate but in the endpoint that lists it.
 *
 * Source: RFC 5280, 4.2.1.12 (clientAuth); RFC 6402, 2.10 (id-kp-cmcRA).
 *
 * @module
 */
import type { Profile } from '../profile.ts'
import { HOLDER_KEYS } from './key-algorithms.ts'

export const registrationAuthority: Profile = {
  id: 'ra',
  title: 'Registration authority (station, gateway)',
  holder: 'registration-authority',
  keyAlgorithms: HOLDER_KEYS,
  validity: { days: 365 },
  keyUsage: ['digitalSignature'],
  extendedKeyUsage: ['1.3.6.1.5.5.7.3.2', '1.3.6.1.5.5.7.3.28'],
  subject: { CN: 'required', O: 'optional', OU: 'optional' },
  subjectAltName: { presence: 'optional' },
  birth: false,
  revocationPointers: true,
  subjectKeyIdentifier: true,
}
