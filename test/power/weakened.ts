/**
 * Loaded before the server (`node --import`): changes how it waits for the disk, as SEALWORKS_TEST_DISK says.
 *
 * `often` copies the write-ahead log into the database every few commits, so that cuts meet checkpoints; `no-syncs`
 * waits for nothing; `no-log-syncs` waits where SQLite does and nowhere else. Who writes such a server is caught.
 *
 * @module
 */
import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { DatabaseSync } from 'node:sqlite'

const how = process.env['SEALWORKS_TEST_DISK']
const CHECKPOINT_PAGES = 60

const exec = DatabaseSync.prototype.exec
DatabaseSync.prototype.exec = function (this: DatabaseSync, sql: string) {
  if (!sql.includes('wal_autocheckpoint')) return exec.call(this, sql)
  let changed = sql.replace(/wal_autocheckpoint = \d+/, `wal_autocheckpoint = ${CHECKPOINT_PAGES}`)
  if (how === 'no-syncs') changed = changed.replace('synchronous = NORMAL', 'synchronous = OFF')
  const changes = how === 'no-syncs' ? 2 : 1
  if (changed.split(/; */).filter((part, i) => part !== sql.split(/; */)[i]).length !== changes)
    throw new Error(`not changed: ${sql}`)
  return exec.call(this, changed)
}

if (how !== 'often') {
  const fdatasync = (_: number, done: fs.NoParamCallback): void => void setImmediate(done, null)
  Object.assign(fs, { fdatasync, fsyncSync: () => {} })
  syncBuiltinESMExports()
}
