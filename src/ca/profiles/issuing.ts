/** An authority below a root that issues to devices, servers and stations, and to no other authority. @module */
import type { Profile } from '../profile.ts'

export const issuing: Profile = {
  id: 'issuing',
  title: 'Issuing authority',
  holder: 'authority',
  keyAlgorithms: ['ecdsa-p256', 'ecdsa-p384', 'rsa-3072'],
  validity: { days: 3653 },
  keyUsage: ['keyCertSign', 'cRLSign'],
  extendedKeyUsage: [],
  pathLenConstraint: 0,
  subject: { CN: 'required', O: 'optional', OU: 'optional', C: 'optional' },
  subjectAltName: { presence: 'optional' },
  birth: false,
  revocationPointers: true,
  subjectKeyIdentifier: true,
}
