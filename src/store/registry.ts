/** The engines, by the scheme of the database's URL. @module */
import { TrustError } from '#base/errors.ts'
import type { Database } from './database.ts'
import { postgres } from './postgres/index.ts'
import { sqlite } from './sqlite/index.ts'

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
