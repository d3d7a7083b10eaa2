/** The engines, by the scheme of the database's URL. @module */
import { TrustError } from '#base/errors.ts'
import type { Database, SharedDatabase } from './database.ts'
import { postgres } from './postgres/index.ts'
export { settingsOff } from './postgres/durability.ts'
import { sqlite } from './sqlite/index.ts'
import { borrow } from './sqlite/lent.ts'

const engines: Readonly<Record<string, (url: string) => Database>> = {
  sqlite: (url) => sqlite({ path: url.slice('sqlite:'.length) }),
  postgres: (url) => postgres({ url }),
  postgresql: (url) => postgres({ url }),
}

/** @param url `sqlite:PATH`, relative to the working directory, or `postgres://…` @throws TrustError `unsupported` */
export function openDatabase(url: string): Database {
  const scheme = /^([a-z]+):./.exec(url)?.[1] ?? ''
  const engine = Object.hasOwn(engines, scheme) ? engines[scheme] : undefined
  if (engine === undefined) throw new TrustError('unsupported', 'databaseURL')
  return engine(url)
}

/** In another thread of the process that called `share`. */
export const openShared = (shared: SharedDatabase): Database => (shared.engine === 'sqlite' ? borrow(shared) : postgres(shared))
