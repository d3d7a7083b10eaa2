/** `sealworks version`. @module */
import { command } from '../command.ts'
import packageFile from '../../../package.json' with { type: 'json' }

export const commands = [
  command({
    noun: 'version',
    summary: 'Which version this is, and on what it runs',
    example: 'sealworks version --json',
    async run() {
      const value = {
        product: 'Sealworks',
        version: packageFile.version,
        node: process.version,
        platform: `${process.platform} ${process.arch}`,
      }
      return { value, text: `Sealworks ${value.version} (Node.js ${value.node}, ${value.platform})\n` }
    },
  }),
]
