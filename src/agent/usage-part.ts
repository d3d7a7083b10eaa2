/** Sends what was counted; what that needs is loaded on devices that count. @module */
import { join } from 'node:path'
import { existsSync } from 'node:fs'
import type { Part } from './part.ts'

export const usage: Part = {
  name: 'usage',
  async run(device) {
    if (!existsSync(join(device.directory.path, 'usage.db'))) return undefined
    const { sendUsage } = await import('./usage.ts')
    return sendUsage(device)
  },
}
