import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { TrustError } from '#base/errors.ts'
import { openDatabase } from './registry.ts'

test('the scheme of the URL chooses the engine', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'sealworks-registry-'))
  const db = openDatabase(`sqlite:${join(directory, 'a.db')}`)
  assert.equal(db.id, 'sqlite')
  await db.close()
  await rm(directory, { recursive: true })
  const other = openDatabase('postgres://nobody@localhost:1/none') // connects when first asked
  assert.equal(other.id, 'postgres')
  await assert.rejects(other.query('SELECT 1'), (error) => error instanceof TrustError && error.code === 'unavailable')
  await other.close()
  for (const url of ['', 'sqlite:', 'mysql://host/name', 'constructor:x', '/data/a.db']) {
    assert.throws(
      () => openDatabase(url),
      (error) => error instanceof TrustError && error.reason === 'databaseURL',
    )
  }
})
