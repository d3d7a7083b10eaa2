/** Programs of the device's own: whatever its loader is. @module */
import type { Installation, Installer } from './installer.ts'
import { type Call, runProgram } from '../program.ts'

export interface Commands {
  readonly install: Call
  readonly activate?: Call
  readonly revert?: Call
  readonly commit?: Call
  readonly timeoutSeconds: number
}

export function commandInstaller({ install, activate, revert, commit, timeoutSeconds }: Commands, directory: string): Installer {
  const run = async (call: Call | undefined, { component, version, file, digest, before }: Installation): Promise<void> => {
    if (call !== undefined)
      await runProgram(call, { directory, timeoutSeconds, values: { component, version, file, digest, before } })
  }
  return {
    before: async () => '',
    install: (installation) => run(install, installation),
    activate: (installation) => run(activate, installation),
    async revert(installation) {
      await run(revert, installation)
      return revert !== undefined
    },
    commit: (installation) => run(commit, installation),
  }
}
