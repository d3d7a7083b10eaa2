/** The database of an installation, for commands that only read it. @module */
import { existsSync } from 'node:fs'
import { TrustError } from '#base/errors.ts'
import type { Config } from '#config/config.ts'
import { databaseURLOf } from '#server/database-url.ts'
import type { Database } from '#store/database.ts'
import { openDatabase } from '#store/registry.ts'
import type { Context } from './command.ts'

/**
 * Makes nothing: no empty database where there is none, no newer schema where there is an older one.
 *
 * @throws TrustError `unavailable` before `init`
 */
export function openExistingDatabase(config: Config, { environment }: Context): Database {
  const { engine, location } = config.store.url
  if (engine === 'sqlite' && !existsSync(location)) throw new TrustError('unavailable', 'notInitialized')
  return openDatabase(databaseURLOf(config, environment))
}
