/** The database of an installation, for commands that only read it. @module */
import { existsSync } from 'node:fs'
import { TrustError } from '#base/errors.ts'
import type { Config } from '#config/config.ts'
import { readSecret } from '#config/secret-file.ts'
import type { Database } from '#store/database.ts'
import { openDatabase } from '#store/registry.ts'
import type { Context } from './command.ts'

/**
 * Makes nothing: no empty database where there is none, no newer schema where there is an older one.
 *
 * @throws TrustError `unavailable` before `init`
 */
export function openExistingDatabase({ store }: Config, { environment }: Context): Database {
  const { engine, location } = store.url
  if (engine === 'sqlite') {
    if (!existsSync(location)) throw new TrustError('unavailable', 'notInitialized')
    return openDatabase(`sqlite:${location}`)
  }
  if (store.password === undefined) return openDatabase(location)
  const url = new URL(location)
  const password = readSecret(store.password, environment).reveal('sign in to PostgreSQL')
  url.password = encodeURIComponent(new TextDecoder().decode(password))
  return openDatabase(url.href)
}
