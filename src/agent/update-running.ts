/** What updates brought to this device, measured where that can be done: a record alone says nothing of what runs. @module */
import type { Component } from '#devices/state/messages.ts'
import type { Device } from './device.ts'
import { factsOf } from './facts.ts'
import { installerOf, updateSettings } from './update-settings.ts'
import { readUpdateState } from './update-state.ts'

/** Of something that is not there, or that no update of this agent brought. */
const UNKNOWN = 'unknown'

export async function runningComponents(device: Device): Promise<readonly Component[]> {
  const { installed } = readUpdateState(device.directory)
  const components: Component[] = []
  for (const [name, settings] of updateSettings(device)?.components ?? []) {
    const installer = await installerOf(settings, { device, facts: await factsOf(device) })
    const noted = installed[name]
    const digest = (await installer.measure?.()) ?? noted?.digest
    if (digest === undefined || digest === '') continue // nothing of it is here
    const { version, counter } = noted?.digest === digest ? noted : { version: UNKNOWN }
    components.push({ name, version, digest, ...(counter !== undefined && { counter }) })
  }
  return components
}
