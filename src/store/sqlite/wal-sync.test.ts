import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { TrustError } from '#base/errors.ts'
import { walSync } from './wal-sync.ts'

function pathFor(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-wal-'))
  t.after(() => rmSync(directory, { recursive: true }))
  return join(directory, 'a.db')
}

const isUnknown = (error: unknown): boolean => error instanceof TrustError && error.reason === 'commitUnknown'

test('until a sync has ended its commit is not safe, and then it is', async (t) => {
  const path = pathFor(t)
  writeFileSync(`${path}-wal`, 'frames')
  const disk = walSync(path)
  t.after(() => disk.close())
  assert.equal(disk.unsynced(), undefined)
  const first = disk.sync()
  assert.equal(disk.unsynced(), first)
  const second = disk.sync()
  const third = disk.sync()
  assert.equal(second, third, 'what is committed while one sync runs shares the next')
  assert.notEqual(second, first, 'a sync that began before a commit says nothing of it')
  assert.equal(disk.unsynced(), second)
  await first
  assert.equal(disk.unsynced(), second)
  await second
  assert.equal(disk.unsynced(), undefined)
})

test('after a sync that failed nothing is safe any more', async (t) => {
  const path = pathFor(t)
  symlinkSync('/dev/full', `${path}-wal`) // a device that cannot be synced
  const disk = walSync(path)
  t.after(() => disk.close())
  const waiting = [disk.sync(), disk.sync()]
  for (const { status, reason } of (await Promise.allSettled(waiting)) as PromiseRejectedResult[])
    assert.deepEqual([status, isUnknown(reason)], ['rejected', true])
  await assert.rejects(disk.sync(), isUnknown)
  await assert.rejects(async () => disk.unsynced(), isUnknown)
})

test('without a log nothing is safe', async (t) => {
  await assert.rejects(walSync(pathFor(t)).sync(), isUnknown)
})
