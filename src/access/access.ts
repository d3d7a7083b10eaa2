/** People and services, and how they prove who they are: this room's whole face to the server. @module */
import type { AccessOptions } from './context.ts'
import { type Principals, principals } from './principals.ts'
import { type Sessions, sessions } from './sessions.ts'
import { type Tokens, tokens } from './tokens.ts'

export interface Access extends Principals, Tokens, Sessions {}

export const openAccess = (options: AccessOptions): Access => ({
  ...principals(options),
  ...tokens(options),
  ...sessions(options),
})
