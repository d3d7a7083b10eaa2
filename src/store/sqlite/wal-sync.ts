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
  /** Called after each COMMIT. @returns when it is on disk @throws TrustError `unavailable`, for good once a sync has failed */
  sync(): Promise<void>
  /** When all that was committed by now is on disk; undefined when it is. */
  unsynced(): Promise<void> | undefined
  close(): void
}

const syncLater = promisify(fdatasync)

export function walSync(path: string): WalSync {
  let file: number | undefined
  let current: Promise<void> | undefined
  let following: Promise<void> | undefined

  // The system says once that writing failed and then forgets it, so that a later sync would prove nothing: after a
  // failure `current` stays rejected.
  async function syncNow(): Promise<void> {
    try {
      file ??= openLog(path)
      await syncLater(file)
    } catch (cause) {
      throw new TrustError('unavailable', 'commitUnknown', { cause, retryAfterSeconds: 5 })
    }
    current = following
    following = undefined
  }

  return {
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
