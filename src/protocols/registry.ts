/** Every protocol of this build, each behind the one shape. Adding one: write its folder, add one line here. @module */
import { est } from './est/index.ts'

export const protocols = [est] as const
