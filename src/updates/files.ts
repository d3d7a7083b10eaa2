/**
 * Where the artifacts of releases lie, and their bills of materials: each once, under its SHA-256, in a directory that all nodes
 * of an installation share.
 *
 * An artifact comes in beside, is on the disk, and is looked at there; only what was found good moves to its place.
 *
 * @module
 */
import { createReadStream, existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs'
import { open, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { syncDirectory } from '#base/durable-file.ts'
import { TrustError } from '#base/errors.ts'
import { uuidv7, type World } from '#base/world.ts'
import { fileSource } from '#signing/artifact/blob.ts'
import type { BlobSource } from '#signing/format.ts'
import { openSpool, type Spool } from '#signing/upload/spool.ts'

export interface Stored {
  readonly octets: number
  /** SHA-256, hexadecimal. */
  readonly digest: string
}

export interface ReleaseFiles {
  readonly artifactMaxOctets: number
  /**
   * Takes a file in, and keeps it if `look` says nothing against it.
   *
   * @throws TrustError `rateLimited` or `unavailable` when there is no room, and whatever `look` throws: nothing is left then
   */
  take<T>(
    pieces: AsyncIterable<Uint8Array>,
    expected: number | undefined,
    look: (file: BlobSource) => Promise<T>,
  ): Promise<Stored & { readonly seen: T }>
  /** @throws TrustError `notFound` */
  withFile<T>(digest: string, work: (file: BlobSource) => Promise<T>): Promise<T>
  /** Octets from `start` to before `end`. @throws TrustError `notFound` */
  read(digest: string, start: number, end: number): AsyncIterable<Uint8Array>
}

export interface ReleaseFilesOptions {
  readonly directory: string
  readonly artifactMaxOctets: number
  /** Of what comes in at once. */
  readonly incomingMaxOctets: number
  readonly world: World
}

/** No upload that still comes in is as old. */
const CUT_MILLISECONDS = 86_400_000

export function openReleaseFiles({ directory, artifactMaxOctets, incomingMaxOctets, world }: ReleaseFilesOptions): ReleaseFiles {
  const placeOf = (digest: string): string => join(directory, digest.slice(0, 2), digest)
  let incoming: Spool | undefined
  /** Made when something comes: most installations release nothing. */
  function spool(): Spool {
    if (incoming !== undefined) return incoming
    incoming = openSpool(join(directory, 'incoming'), incomingMaxOctets, world)
    removeCut(incoming.directory)
    return incoming
  }

  /** What a crash cut counts against what may come in. Another node may be at what is new. */
  function removeCut(place: string): void {
    for (const name of readdirSync(place)) {
      if (!name.endsWith('.artifact')) continue
      const { mtimeMs = Infinity } = statSync(join(place, name), { throwIfNoEntry: false }) ?? {}
      if (world.clock.now() - mtimeMs > CUT_MILLISECONDS) rmSync(join(place, name), { force: true })
    }
  }

  const found = (digest: string): string => {
    const place = placeOf(digest)
    if (!existsSync(place)) throw new TrustError('notFound', 'releaseFileMissing', { facts: { digest } })
    return place
  }

  async function withPath<T>(path: string, work: (file: BlobSource) => Promise<T>): Promise<T> {
    const handle = await open(path)
    try {
      return await work(fileSource(handle, (await handle.stat()).size))
    } finally {
      await handle.close()
    }
  }

  async function settle(path: string, digest: string): Promise<void> {
    const place = placeOf(digest)
    mkdirSync(dirname(place), { recursive: true, mode: 0o700 })
    await rename(path, place)
    syncDirectory(dirname(place))
    syncDirectory(directory)
  }

  return {
    artifactMaxOctets,
    async take(pieces, expected, look) {
      const id = uuidv7(world)
      const stored = await spool().take(id, pieces, expected)
      const path = spool().artifactOf(id)
      try {
        const seen = await withPath(path, look)
        await settle(path, stored.digest)
        return { ...stored, seen }
      } finally {
        await rm(path, { force: true })
      }
    },
    withFile: (digest, work) => withPath(found(digest), work),
    async *read(digest, start, end) {
      if (start < end) yield* createReadStream(found(digest), { start, end: end - 1 })
    },
  }
}
