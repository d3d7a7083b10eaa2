/**
 * Where artifacts lie while they are signed here: files that only the server's own user can read, in its data directory.
 *
 * An artifact is on the disk before anybody is told that it was taken, so that a crash loses none that was; what belongs to
 * no job any more goes when the server starts.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { syncDirectory, writeDurably } from '#base/durable-file.ts'
import { TrustError } from '#base/errors.ts'
import { uuidv7, type World } from '#base/world.ts'

export interface Spool {
  /** Which data directory this is: others on the same database do not have its files. */
  readonly node: string
  readonly directory: string
  artifactOf(job: string): string
  signedOf(job: string): string
  /** @throws TrustError `rateLimited` when the spool is full, `unavailable` when the disk is, and whatever `pieces` throws; nothing is left then */
  take(job: string, pieces: AsyncIterable<Uint8Array>, expected: number | undefined): Promise<Spooled>
  /** An artifact once it is signed, or both. */
  drop(job: string, what: 'artifact' | 'all'): Promise<void>
  /** Removes all but the files of open jobs and the results of those that are done. @returns how many files went */
  sweep(open: ReadonlySet<string>, done: ReadonlySet<string>): Promise<number>
}

export interface Spooled {
  readonly octets: number
  /** SHA-256, hexadecimal. */
  readonly digest: string
}

/** Written at once: small writes cost a turn of a thread each. */
const WRITE_OCTETS = 1 << 20
/** An artifact and what comes of it lie side by side for a moment. */
const COPIES = 2
/** What was signed before makes room within minutes. */
const RETRY_SECONDS = 60

export function openSpool(directory: string, maxOctets: number, world: World): Spool {
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const node = nodeOf(directory, world)
  const artifactOf = (job: string): string => join(directory, `${job}.artifact`)
  const signedOf = (job: string): string => join(directory, `${job}.signed`)
  const held = (): number => filesIn(directory).reduce((sum, file) => sum + sizeOf(join(directory, file)), 0)
  /** Of artifacts that are still coming in. */
  let coming = 0

  const checkRoom = (more: number): void => {
    if (held() + (coming + more) * COPIES > maxOctets)
      throw new TrustError('rateLimited', 'spoolFull', { retryAfterSeconds: RETRY_SECONDS, facts: { limit: maxOctets } })
  }

  const write = async (file: string, pieces: AsyncIterable<Uint8Array>, reserve: (octets: number) => void): Promise<Spooled> => {
    const handle = await open(file, 'wx', 0o600)
    try {
      const hash = createHash('sha256')
      let octets = 0
      let waiting: Uint8Array[] = []
      let waitingOctets = 0
      const flush = async (): Promise<void> => {
        if (waitingOctets === 0) return
        const { bytesWritten } = await handle.writev(waiting)
        if (bytesWritten !== waitingOctets) throw Object.assign(new Error('the disk took only a part'), { code: 'ENOSPC' })
        waiting = []
        waitingOctets = 0
      }
      for await (const piece of pieces) {
        octets += piece.length
        reserve(octets)
        hash.update(piece)
        waiting.push(piece)
        waitingOctets += piece.length
        if (waitingOctets >= WRITE_OCTETS) await flush()
      }
      await flush()
      await handle.sync()
      return { octets, digest: hash.digest('hex') }
    } finally {
      await handle.close()
    }
  }

  return {
    node,
    directory,
    artifactOf,
    signedOf,
    async take(job, pieces, expected) {
      let reserved = expected ?? 0
      checkRoom(reserved)
      coming += reserved
      const reserve = (octets: number): void => {
        if (octets <= reserved) return
        const more = Math.max(octets - reserved, WRITE_OCTETS)
        checkRoom(more)
        coming += more
        reserved += more
      }
      try {
        const spooled = await write(artifactOf(job), pieces, reserve)
        syncDirectory(directory)
        return spooled
      } catch (thrown) {
        await rm(artifactOf(job), { force: true })
        throw asRefusal(thrown)
      } finally {
        coming -= reserved
      }
    },
    async drop(job, what) {
      await rm(artifactOf(job), { force: true })
      if (what === 'all') await rm(signedOf(job), { force: true })
    },
    async sweep(jobs, done) {
      const gone = filesIn(directory).filter((file) => {
        const [job = '', kind] = file.split('.')
        return !jobs.has(job) && !(kind === 'signed' && done.has(job))
      })
      for (const file of gone) await rm(join(directory, file), { force: true })
      return gone.length
    },
  }
}

const NODE_FILE = 'node'

function nodeOf(directory: string, world: World): string {
  const file = join(directory, NODE_FILE)
  if (!existsSync(file)) writeDurably(file, uuidv7(world), 0o600)
  return readFileSync(file, 'utf8')
}

const filesIn = (directory: string): readonly string[] => readdirSync(directory).filter((file) => file !== NODE_FILE)

const sizeOf = (file: string): number => statSync(file, { throwIfNoEntry: false })?.size ?? 0

/** What the disk says is not the client's fault. */
function asRefusal(thrown: unknown): unknown {
  const isSystem = thrown instanceof Error && 'syscall' in thrown
  const isFull = thrown instanceof Error && 'code' in thrown && thrown.code === 'ENOSPC'
  return isSystem || isFull ? new TrustError('unavailable', 'spoolUnwritable', { cause: thrown }) : thrown
}
