/** Every protocol of this build, each behind the one shape. Adding one: write its folder, add one line here. @module */
import { ddi } from './ddi/index.ts'
import { deviceMessages } from './device-messages/index.ts'
import { deviceState } from './device-state/index.ts'
import { est } from './est/index.ts'
import { ocsp } from './ocsp/index.ts'
import { certificateRepository, crlRepository } from './repository/index.ts'
import { tsp } from './tsp/index.ts'

export const protocols = { ddi, est, ocsp, crlRepository, certificateRepository, tsp, deviceState, deviceMessages } as const
