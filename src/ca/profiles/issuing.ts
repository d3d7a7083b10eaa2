/** An authority below a root that issues to devices, servers and stations, and to no other authority. @module */
import type { Profile } from '../profile.ts'
import { AUTHORITY_KEYS } from './key-algorithms.ts'

export const issuing: Profile = {
  id: 'issuing',
  title: 'Issuing authority',
  holder: 'authority',
  keyAlgorithms: AUTHORITY_KEYS,
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
