/** What the agent does again and again. @module */
import type { Device } from './device.ts'

export interface Part {
  readonly name: string
  /** Once, and harmless when there is nothing to do. @returns a line for whoever runs the agent */
  run(device: Device): Promise<string | undefined>
}
