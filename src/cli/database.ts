/** The database of an installation, for commands that only read it. @module */
import { existsSync } from 'node:fs'
import { TrustError } from '#base/errors.ts'
import type { Config } from '#config/config.ts'
import type { Database } from '#store/database.ts'
import { openDatabase } from '#store/registry.ts'

/** Never makes an empty one where there is none. @throws TrustError `unavailable` before `init` */
export function openExistingDatabase({ store }: Config): Database {
  const { engine, location } = store.url
  if (engine === 'sqlite' && !existsSync(location)) throw new TrustError('unavailable', 'notInitialized')
  return openDatabase(engine === 'sqlite' ? `sqlite:${location}` : location)
}
