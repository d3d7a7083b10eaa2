/** Every kind of key store this build offers. Adding one: write its folder, add one line here. @module */
import { softwareKeyStore } from './software/index.ts'

export const keyStores = [
  { id: 'software', holds: 'keys wrapped by a key of this installation, in the database', make: softwareKeyStore },
] as const
