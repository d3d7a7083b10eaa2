/**
 * RAUC, as it is on the device: it verifies the bundle again, compares `compatible`, writes the slots and switches between them.
 *
 * Source: RAUC 1.8, "Using RAUC" and "Manifest".
 *
 * @module
 */
import { open } from 'node:fs/promises'
import { TrustError } from '#base/errors.ts'
import { commandInstaller } from './command.ts'
import type { Installer } from './installer.ts'
import { type Call, runProgram } from '../program.ts'

export interface RAUCSettings {
  readonly program: string
  /** As the system's own configuration has it. */
  readonly compatible: string
  readonly options: readonly string[]
  readonly timeoutSeconds: number
}

/** As its configuration calls slots: `rootfs.0`. */
const PRIMARY = /"boot_primary" *: *"([\w.-]{1,100})"/

export function raucInstaller({ program, compatible, options, timeoutSeconds }: RAUCSettings, directory: string): Installer {
  const call = (...rest: readonly string[]): Call => [program, ...options, ...rest]
  const commands = commandInstaller(
    {
      install: call('install', '{file}'), // and makes the written slot the next one
      revert: call('status', 'mark-active', '{before}'),
      commit: call('status', 'mark-good', 'booted'),
      timeoutSeconds,
    },
    directory,
  )

  /** Which slot is booted next: where the way back leads, whatever is booted when it is gone. */
  async function primarySlot(): Promise<string> {
    const said = await runProgram(call('status', '--output-format=json'), { directory, values: {}, timeoutSeconds })
    const [, primary] = PRIMARY.exec(said) ?? []
    if (primary !== undefined) return primary
    throw new TrustError('unavailable', 'updateProgram', {
      facts: { program, detail: 'it does not say which slot is booted next' },
    })
  }

  return {
    ...commands,
    formats: ['rauc'],
    checkArtifact: (file) => checkCompatible(file, compatible),
    before: primarySlot,
    /** Done before a cut, it is not done again: started since then, RAUC would write over the slot that is the way back. */
    async install(installation) {
      if ((await primarySlot()) === installation.before) await commands.install(installation)
    },
  }
}

/** Of a verity bundle, whose signature holds its manifest; that of a plain one lies in the file system, where RAUC reads it. */
async function checkCompatible(path: string, compatible: string): Promise<void> {
  const { fileSource } = await import('#signing/artifact/blob.ts')
  const { rauc } = await import('#signing/formats/rauc.ts')
  const { parseKeyFile } = await import('#signing/artifact/key-file.ts')
  const file = await open(path)
  try {
    const { signatures } = await rauc.extract(fileSource(file, (await file.stat()).size))
    for (const { evidence } of signatures) {
      const content = evidence.type === 'cms' ? evidence.signedData.content : undefined
      if (content === undefined) continue
      const found = parseKeyFile(new TextDecoder().decode(content), 'RAUC').get('update')?.get('compatible')
      if (found === compatible) continue
      const detail = `it is for ${found ?? 'nothing'}, this is ${compatible}`
      throw new TrustError('policyRefused', 'updateArtifactModel', { facts: { detail } })
    }
  } finally {
    await file.close()
  }
}
