/** What the agent does again and again. @module */
import type { Device } from './device.ts'

export interface Part {
  readonly name: string
  /**
   * Once, and harmless when there is nothing to do.
   *
   * @param signal its time is over: what takes long and can go on later ends with `agentLater`
   * @returns a line for whoever runs the agent
   */
  run(device: Device, signal?: AbortSignal): Promise<string | undefined>
}
