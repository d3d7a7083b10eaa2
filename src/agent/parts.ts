/**
 * What the agent does in one round, in this order. To add one: write its file, add one line here.
 *
 * What a part needs only when there is something to do, it imports then: a device is small (tools/closures/agent.txt).
 *
 * @module
 */
import { certificate } from './certificate.ts'
import { commands } from './command-part.ts'
import { trustList } from './follow-trust.ts'
import { licenses } from './license-part.ts'
import type { Part } from './part.ts'
import { report } from './report-part.ts'
import { updates } from './update-part.ts'
import { usage } from './usage-part.ts'

export const parts: readonly Part[] = [
  certificate,
  trustList,
  licenses,
  usage,
  commands,
  updates,
  // what changes the device goes before what tells of it
  report,
]
