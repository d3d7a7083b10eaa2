/** Publication into a directory that some web server serves. @module */
import { mkdirSync, rmSync } from 'node:fs'
import { open, rename } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { TrustError } from '#base/errors.ts'
import { uuidv7, type World } from '#base/world.ts'
import type { PublicationTarget } from './target.ts'

/** Written beside and moved into place, once it is on the disk. */
export const directoryTarget = (directory: string, world: Pick<World, 'clock' | 'random'>): PublicationTarget => ({
  id: `directory ${directory}`,
  async put(path, octets) {
    const to = join(directory, path)
    const beside = join(dirname(to), `.${uuidv7(world)}.part`)
    try {
      mkdirSync(dirname(to), { recursive: true, mode: 0o755 })
      const file = await open(beside, 'wx', 0o644)
      try {
        await file.writeFile(octets)
        await file.sync()
      } finally {
        await file.close()
      }
      await rename(beside, to)
    } catch (cause) {
      rmSync(beside, { force: true })
      const problem = cause instanceof Error && 'code' in cause ? String(cause.code) : 'it cannot be used'
      throw new TrustError('unavailable', 'publicationFile', { facts: { path: to, problem }, cause })
    }
  },
})
