/**
 * What was read from the database lately, so that a request does not read again what seldom changes.
 *
 * A change that this process makes counts at once; one of another process on the same database counts within
 * {@link LATELY_MILLISECONDS}.
 *
 * @module
 */
import type { Database } from '#store/database.ts'
import type { CAContext } from './context.ts'

/** How long another process may go on with what was before. */
export const LATELY_MILLISECONDS = 1000

/** More than an installation has of one kind; names that peers make up are never kept. */
const KEPT_MAX = 1024

interface Kept<T> {
  readonly value: T
  readonly readAt: number
}

export interface Lately<T> {
  /** @returns what was read under this key a moment ago, or what `read` finds now; refusals are not kept */
  get(context: Pick<CAContext, 'db' | 'world'>, key: string, read: () => Promise<T>): Promise<T>
  /** After a change was committed. */
  forget(db: Database): void
}

/** Of each database, what was read lately by each who asked for it. */
const readings = new WeakMap<Database, Map<object, Map<string, Kept<unknown>>>>()

/** After another thread of this process has changed something. */
export const forgetLately = (db: Database): void => void readings.delete(db)

export function lately<T>(): Lately<T> {
  const self: Lately<T> = {
    async get({ db, world }, key, read) {
      // A read that began before a change ends in the map of before, which nobody looks at any more.
      const all = readings.get(db) ?? new Map<object, Map<string, Kept<unknown>>>()
      readings.set(db, all)
      const kept = all.get(self) ?? new Map<string, Kept<unknown>>()
      all.set(self, kept)
      const now = world.clock.now()
      const known = kept.get(key)
      if (known !== undefined && Math.abs(now - known.readAt) < LATELY_MILLISECONDS) return known.value as T
      const value = await read()
      if (kept.size >= KEPT_MAX) kept.clear()
      kept.set(key, { value, readAt: now })
      return value
    },
    forget: (db) => void readings.get(db)?.delete(self),
  }
  return self
}
