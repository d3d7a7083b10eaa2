/** Every built-in profile. Adding one: write its file, add one line here. @module */
import type { Profile } from '../profile.ts'
import { idevid } from './idevid.ts'
import { issuing } from './issuing.ts'
import { ldevid } from './ldevid.ts'
import { ocspResponder } from './ocsp-responder.ts'
import { registrationAuthority } from './registration-authority.ts'
import { root } from './root.ts'
import { tlsServer } from './tls-server.ts'

export const profiles = [
  root,
  issuing,
  idevid,
  ldevid,
  tlsServer,
  ocspResponder,
  registrationAuthority,
] as const satisfies readonly Profile[]
