/** Every kind of key store this build offers. Adding one: write its folder, add one line here. @module */
import { lookAtTokens, pkcs11KeyStore } from './pkcs11/index.ts'
import { softwareKeyStore } from './software/index.ts'

export const keyStores = [
  { id: 'software', holds: 'keys wrapped by a key of this installation, in the database', make: softwareKeyStore },
  {
    id: 'pkcs11',
    holds: 'keys in hardware security modules and other PKCS #11 tokens',
    make: pkcs11KeyStore,
    look: lookAtTokens,
  },
] as const
