/** A self-signed authority: the anchor that relying parties are given by hand. @module */
import type { Profile } from '../profile.ts'
import { AUTHORITY_KEYS } from './key-algorithms.ts'

export const root: Profile = {
  id: 'root',
  title: 'Root authority',
  holder: 'authority',
  keyAlgorithms: AUTHORITY_KEYS,
  validity: { days: 7305 },
  keyUsage: ['keyCertSign', 'cRLSign'],
  extendedKeyUsage: [],
  subject: { CN: 'required', O: 'optional', OU: 'optional', C: 'optional' },
  subjectAltName: { presence: 'optional' },
  birth: false,
  revocationPointers: false,
  subjectKeyIdentifier: true,
}
