/** Every built-in profile. Adding one: write its file, add one line here. @module */
import type { Profile } from '../profile.ts'
import { codeSigning } from './code-signing.ts'
import { gateway } from './gateway.ts'
import { idevid } from './idevid.ts'
import { issuing } from './issuing.ts'
import { ldevid } from './ldevid.ts'
import { ocspResponder } from './ocsp-responder.ts'
import { person } from './person.ts'
import { registrationAuthority } from './registration-authority.ts'
import { root } from './root.ts'
import { router } from './router.ts'
import { networkSwitch } from './switch.ts'
import { statementSigning } from './statement-signing.ts'
import { timeStamping } from './time-stamping.ts'
import { tlsClient } from './tls-client.ts'
import { tlsServer } from './tls-server.ts'

export const profiles = [
  root,
  issuing,
  idevid,
  ldevid,
  tlsServer,
  ocspResponder,
  registrationAuthority,
  person,
  tlsClient,
  router,
  networkSwitch,
  gateway,
  codeSigning,
  timeStamping,
  statementSigning,
] as const satisfies readonly Profile[]
