import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { TrustError } from '#base/errors.ts'
import { databaseContract } from '../contract.ts'
import { openShared } from '../registry.ts'
import { sqlite } from './index.ts'

databaseContract('sqlite', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'sealworks-sqlite-'))
  let made = 0
  return {
    create: async () => {
      const path = join(directory, `${made++}.db`)
      return { open: (workMaxMilliseconds) => sqlite({ path, ...(workMaxMilliseconds && { workMaxMilliseconds }) }) }
    },
    remove: () => rm(directory, { recursive: true }),
  }
})

databaseContract('sqlite lent to another thread', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'sealworks-lent-'))
  let made = 0
  return {
    create: async () => {
      const path = join(directory, `${made++}.db`)
      return {
        open(workMaxMilliseconds) {
          const owner = sqlite({ path, ...(workMaxMilliseconds && { workMaxMilliseconds }) })
          const borrower = openShared(owner.share())
          return { ...borrower, close: () => borrower.close().then(() => owner.close()) }
        },
      }
    },
    remove: () => rm(directory, { recursive: true }),
  }
})

test('a path that cannot be opened is unavailable', () => {
  const nowhere = join(tmpdir(), 'sealworks-no-such-directory', 'a.db')
  assert.throws(
    () => sqlite({ path: nowhere }),
    (error) => error instanceof TrustError && error.code === 'unavailable',
  )
})

test('tables check the types of their columns', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'sealworks-sqlite-'))
  const db = sqlite({ path: join(directory, 'a.db') })
  t.after(async () => {
    await db.close()
    await rm(directory, { recursive: true })
  })
  await db.transaction((tx) => tx.query('CREATE TABLE t (n INTEGER)'))
  await assert.rejects(
    db.transaction((tx) => tx.query("INSERT INTO t (n) VALUES ('not a number')")),
    /cannot store TEXT/,
  )
})
