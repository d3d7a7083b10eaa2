/**
 * A file in two slots: `a/image` and `b/image`, and `current`, a symbolic link to the slot whose image is to run. The new image is
 * written into the other slot, and one `rename` makes it the current one.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { createReadStream, existsSync, mkdirSync, readlinkSync, renameSync, rmSync, symlinkSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { syncDirectory } from '#base/durable-file.ts'
import { TrustError } from '#base/errors.ts'
import type { Faults } from '#base/world.ts'
import type { Installation, Installer } from './installer.ts'

const SLOTS = ['a', 'b'] as const
type Slot = (typeof SLOTS)[number]
const IMAGE = 'image'
/** For owner and group: what runs it may be another account than the agent's. */
const IMAGE_MODE = 0o640

export function fileInstaller(directory: string, faults: Faults): Installer {
  const link = join(directory, 'current')

  function current(): Slot | undefined {
    if (!existsSync(link)) return undefined
    const target = readlinkSync(link)
    return SLOTS.find((slot) => slot === target)
  }
  /** The one that does not run. */
  const slotFor = ({ before }: Installation): Slot => (before === 'a' ? 'b' : 'a')

  function point(slot: Slot | undefined): void {
    const next = `${link}.new`
    rmSync(next, { force: true })
    if (slot === undefined) rmSync(link, { force: true })
    else {
      symlinkSync(slot, next)
      faults.reach('update slot linked')
      renameSync(next, link)
    }
    syncDirectory(directory)
  }

  return {
    before: async () => current() ?? '',
    async install(installation) {
      const place = join(directory, slotFor(installation))
      mkdirSync(place, { recursive: true })
      const image = join(place, IMAGE)
      rmSync(`${image}.new`, { force: true })
      const digest = await copy(installation.file, `${image}.new`)
      faults.reach('update slot written')
      if (digest !== installation.digest) {
        rmSync(`${image}.new`)
        throw new TrustError('badProof', 'updateArtifactOther', { facts: { name: installation.file } })
      }
      renameSync(`${image}.new`, image)
      syncDirectory(place)
      syncDirectory(directory)
    },
    async activate(installation) {
      point(slotFor(installation))
    },
    async revert({ before }) {
      point(SLOTS.find((slot) => slot === before))
      return true
    },
    commit: async () => {},
    async measure() {
      const slot = current()
      const image = slot && join(directory, slot, IMAGE)
      return image !== undefined && existsSync(image) ? digestOf(image) : ''
    },
  }
}

/** What was read is what is compared: nobody can change the file in between. @returns SHA-256, hexadecimal */
async function copy(from: string, to: string): Promise<string> {
  const hash = createHash('sha256')
  const file = await open(to, 'wx', IMAGE_MODE)
  try {
    for await (const chunk of createReadStream(from) as AsyncIterable<Uint8Array>) {
      hash.update(chunk)
      await file.writeFile(chunk) // appends where the one before ended
    }
    await file.sync()
  } finally {
    await file.close()
  }
  return hash.digest('hex')
}

/** SHA-256, hexadecimal. */
export async function digestOf(path: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path) as AsyncIterable<Uint8Array>) hash.update(chunk)
  return hash.digest('hex')
}
