/**
 * Waits for the disk after a COMMIT, in the thread pool: the event loop goes on with the next group meanwhile.
 *
 * SQLite with `synchronous = NORMAL` writes a COMMIT into the write-ahead log and leaves it to the system when it
 * reaches the disk; it waits by itself only where it copies the log into the database. What a COMMIT wrote is safe
 * once the log has been synced after it, and until then nobody is told: neither the one who wrote, nor a reader.
 *
 * The log may be opened beside SQLite: its locks lie on the other two files, and it stays the same file for as long
 * as a connection is open.
 *
 * Source: sqlite.org/pragma.html#pragma_synchronous; sqlite.org/walformat.html.
 *
 * @module
 */
import { closeSync, fdatasync, fsyncSync, openSync } from 'node:fs'
import { dirname } from 'node:path'
import { promisify } from 'node:util'
import { TrustError } from '#base/errors.ts'

export interface WalSync {
  /** Called before each COMMIT: a thread that sees what it wrote must know that it is not yet on disk. */
  committing(): void
  /** Called after each COMMIT, also one that failed. @returns when it is on disk @throws TrustError `unavailable`, for good once a sync has failed */
  sync(): Promise<void>
  /** When all that was committed by now is on disk; undefined when it is. */
  unsynced(): Promise<void> | undefined
  close(): void
}

/**
 * How many commits there were, how many of them are on disk, and whether a sync has failed: three counts in memory that
 * threads share, so that a thread which reads beside the writer knows when it may tell what it read.
 */
export type CommitState = Int32Array<SharedArrayBuffer>
const COMMITTED = 0
const ON_DISK = 1
const FAILED = 2

export const newCommitState = (): CommitState => new Int32Array(new SharedArrayBuffer(12))

/** @returns when all that was committed by now is on disk; undefined when it is @throws TrustError `unavailable` once a sync has failed */
export function unsyncedElsewhere(state: CommitState): Promise<void> | undefined {
  const committed = Atomics.load(state, COMMITTED)
  const waits = (onDisk: number): boolean => ((committed - onDisk) | 0) > 0 // the counts go round after 2^32
  if (!waits(Atomics.load(state, ON_DISK))) return undefined
  return (async () => {
    for (;;) {
      const onDisk = Atomics.load(state, ON_DISK)
      if (!waits(onDisk)) return
      if (Atomics.load(state, FAILED) !== 0) throw commitUnknown(undefined)
      await Atomics.waitAsync(state, ON_DISK, onDisk, FAILURE_LOOK_MILLISECONDS).value
    }
  })()
}

/** A sync that fails wakes nobody whose count did not change. */
const FAILURE_LOOK_MILLISECONDS = 1000

const commitUnknown = (cause: unknown): TrustError =>
  new TrustError('unavailable', 'commitUnknown', { cause, retryAfterSeconds: 5 })

const syncLater = promisify(fdatasync)

export function walSync(path: string, state: CommitState = newCommitState()): WalSync {
  let file: number | undefined
  let current: Promise<void> | undefined
  let following: Promise<void> | undefined

  // The system says once that writing failed and then forgets it, so that a later sync would prove nothing: after a
  // failure `current` stays rejected.
  async function syncNow(): Promise<void> {
    const committed = Atomics.load(state, COMMITTED)
    try {
      file ??= openLog(path)
      await syncLater(file)
    } catch (cause) {
      Atomics.store(state, FAILED, 1)
      throw commitUnknown(cause)
    }
    Atomics.store(state, ON_DISK, committed)
    Atomics.notify(state, ON_DISK)
    current = following
    following = undefined
  }

  return {
    committing: () => void Atomics.add(state, COMMITTED, 1),
    sync() {
      if (current === undefined) return (current = syncNow())
      return (following ??= current.then(syncNow)) // one serves all that was committed before it began
    },
    unsynced: () => following ?? current,
    close() {
      if (file !== undefined) closeSync(file)
    },
  }
}

/** With its name in the directory, which is written apart from the file. */
function openLog(path: string): number {
  const file = openSync(`${path}-wal`, 'r+')
  const directory = openSync(dirname(path), 'r')
  fsyncSync(directory)
  closeSync(directory)
  return file
}
