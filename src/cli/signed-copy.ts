/**
 * A signed artifact whose octets mostly stay where they were: the system copies the file, as a clone where the file system
 * can, while the artifact is still being hashed and the server still asked. What signing changed is then written into the
 * copy. The disk is told to begin at once, so that at the end little is left to wait for.
 *
 * @module
 */
import { constants } from 'node:fs'
import { chmod, copyFile, type FileHandle, open, rm, stat } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { TrustError } from '#base/errors.ts'
import { uuidv7, type World } from '#base/world.ts'
import { chunksOf } from '#signing/artifact/blob.ts'
import type { BlobSource, Piece } from '#signing/format.ts'
import { moveIntoPlace, refusalToWrite } from './files.ts'

export interface SignedCopy {
  /** Only now does it have its name, and is on the disk. @throws TrustError `conflict`, `unavailable` */
  finish(artifact: BlobSource, pieces: readonly Piece[]): Promise<void>
  /** Takes away what is not finished. */
  close(): Promise<void>
}

/** Begins to copy, and does not wait for it. */
export function beginSignedCopy(
  { directory, world }: { readonly directory: string; readonly world: World },
  { file, out, force }: { readonly file: string; readonly out: string; readonly force: boolean },
): SignedCopy {
  const path = resolve(directory, out)
  const beside = join(dirname(path), `.${uuidv7(world)}.part`)
  const copying = copied(resolve(directory, file), beside)
  const flushing = copying.then((handle) => handle.datasync())
  flushing.catch(() => {}) // said by `finish`, if it comes to that
  return {
    async finish(artifact, pieces) {
      try {
        const handle = await copying
        const { size } = await handle.stat()
        if (size !== artifact.size) throw new TrustError('conflict', 'artifactCut')
        await change(handle, artifact, pieces)
        await flushing
        await handle.sync()
        moveIntoPlace(beside, path, force)
      } catch (cause) {
        throw refusalToWrite(cause, out)
      }
    },
    async close() {
      await flushing.catch(() => {})
      await copying.then((handle) => handle.close()).catch(() => {})
      await rm(beside, { force: true })
    },
  }
}

async function copied(from: string, to: string): Promise<FileHandle> {
  await copyFile(from, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE)
  await chmod(to, ((await stat(to)).mode & 0o777) | 0o600) // the copy of what nobody may write is written too
  return open(to, 'r+')
}

/** What lies where it lay is there already. */
async function change(handle: FileHandle, artifact: BlobSource, pieces: readonly Piece[]): Promise<void> {
  let at = 0
  for (const piece of pieces) {
    if (piece instanceof Uint8Array) await write(handle, piece, at)
    else if (piece.offset !== at) {
      let to = at
      for await (const chunk of chunksOf(artifact, piece)) {
        await write(handle, chunk, to)
        to += chunk.length
      }
    }
    at += piece.length
  }
  if (at < artifact.size) await handle.truncate(at)
}

async function write(handle: FileHandle, octets: Uint8Array, at: number): Promise<void> {
  for (let done = 0; done < octets.length;)
    done += (await handle.write(octets, done, octets.length - done, at + done)).bytesWritten
}
