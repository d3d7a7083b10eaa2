/**
 * One process at a time on a data directory.
 *
 * The lock is SQLite's on a small file: the operating system frees it when the process ends, however it ends, so
 * there is no stale file to clear away.
 *
 * @module
 */
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { TrustError } from '#base/errors.ts'

/**
 * Never open this file by other means in a process that holds the lock, not even to copy it: closing it again frees
 * the lock (POSIX fcntl). Backups leave it out.
 */
export const LOCK_FILE = 'lock.db'

export interface DirectoryLock {
  release(): void
}

/**
 * @param command what to call the holder in the refusal of the next one, such as `sealworks serve`
 * @throws TrustError `conflict` that names the process which holds the directory
 */
export function lockDirectory(directory: string, command: string): DirectoryLock {
  const file = new DatabaseSync(join(directory, LOCK_FILE), { timeout: 0 })
  try {
    // Others may read beside a RESERVED lock, so they can name the holder; only one can have it.
    file.exec(
      'PRAGMA journal_mode = DELETE; BEGIN IMMEDIATE; CREATE TABLE IF NOT EXISTS holder (pid INTEGER, command TEXT) STRICT',
    )
    file.exec('DELETE FROM holder')
    file.prepare('INSERT INTO holder (pid, command) VALUES (?, ?)').run(process.pid, command)
    file.exec('COMMIT; BEGIN IMMEDIATE') // who comes in between the two has the lock instead
  } catch (error) {
    const holder = isBusy(error) ? holderOf(file) : undefined
    file.close()
    if (!isBusy(error)) throw error
    throw new TrustError('conflict', 'directoryLocked', {
      cause: error,
      facts: { pid: holder?.pid ?? 'unknown', holder: holder?.command ?? 'another process' },
    })
  }
  return { release: () => file.close() }
}

const SQLITE_BUSY = 5

const isBusy = (error: unknown): boolean => error instanceof Error && 'errcode' in error && error.errcode === SQLITE_BUSY

/** @returns undefined in the moment in which the other has the lock and has not yet said who it is */
function holderOf(file: DatabaseSync): { readonly pid: number; readonly command: string } | undefined {
  try {
    const row = file.prepare('SELECT pid, command FROM holder').get()
    return row === undefined ? undefined : { pid: Number(row['pid']), command: String(row['command']) }
  } catch {
    return undefined
  }
}
