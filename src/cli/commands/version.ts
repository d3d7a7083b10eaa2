/** `sealworks version`. @module */
import { VERSION } from '#server/version.ts'
import { command } from '../command.ts'

export const commands = [
  command({
    noun: 'version',
    summary: 'Which version this is, and on what it runs',
    example: 'sealworks version --json',
    async run() {
      const value = {
        product: 'Sealworks',
        version: VERSION,
        node: process.version,
        platform: `${process.platform} ${process.arch}`,
      }
      return { value, text: `Sealworks ${value.version} (Node.js ${value.node}, ${value.platform})\n` }
    },
  }),
]
