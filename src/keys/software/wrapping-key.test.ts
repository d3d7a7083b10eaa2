/** The wrapping-key file: made once, for its owner alone. @module */
import assert from 'node:assert/strict'
import { chmod, mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { systemWorld } from '#base/world.ts'
import { makeWrappingKey, readWrappingKey } from './wrapping-key.ts'

const { random } = systemWorld()

async function inDirectory(body: (path: string) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'sealworks-wrapping-'))
  try {
    await body(join(directory, 'wrapping.key'))
  } finally {
    await rm(directory, { recursive: true })
  }
}

test('what is made is what is read, and its owner alone can read it', () =>
  inDirectory(async (path) => {
    const umask = process.umask(0)
    const made = await makeWrappingKey(path, random).finally(() => process.umask(umask))
    assert.equal((await stat(path)).mode & 0o777, 0o600)
    const read = (await readWrappingKey(path)).reveal('compare')
    assert.equal(read.length, 32)
    assert.deepEqual(read, Uint8Array.from(made.reveal('compare')))
  }))

test('two wrapping keys differ', () =>
  inDirectory(async (path) => {
    const [one, two] = [await makeWrappingKey(path, random), await makeWrappingKey(`${path}2`, random)]
    assert.notDeepEqual(one.reveal('compare'), two.reveal('compare'))
  }))

test('an existing file is never overwritten', () =>
  inDirectory(async (path) => {
    await writeFile(path, 'precious', { mode: 0o600 })
    await assert.rejects(makeWrappingKey(path, random), { code: 'conflict', reason: 'wrappingKeyExists' })
    assert.equal(await readFile(path, 'utf8'), 'precious')
    await symlink(`${path}.elsewhere`, `${path}.link`)
    await assert.rejects(makeWrappingKey(`${path}.link`, random), { code: 'conflict' })
  }))

for (const mode of [0o640, 0o604, 0o620, 0o601]) {
  test(`refuses mode ${mode.toString(8)} and says what to run`, () =>
    inDirectory(async (path) => {
      await makeWrappingKey(path, random)
      await chmod(path, mode)
      await assert.rejects(readWrappingKey(path), { code: 'unavailable', reason: 'wrappingKeyReadable', message: /chmod 600/ })
    }))
}

for (const size of [0, 31, 33, 64]) {
  test(`refuses ${size} octets`, () =>
    inDirectory(async (path) => {
      await writeFile(path, new Uint8Array(size), { mode: 0o600 })
      await assert.rejects(readWrappingKey(path), {
        code: 'unavailable',
        reason: 'wrappingKeySize',
        message: new RegExp(`${size} octets`),
      })
    }))
}

test('a missing file is unavailable, and nothing is made', () =>
  inDirectory(async (path) => {
    await assert.rejects(readWrappingKey(path), { code: 'unavailable', reason: 'wrappingKeyMissing', message: /sealworks init/ })
    await assert.rejects(stat(path), { code: 'ENOENT' })
  }))

test('a directory that does not exist is named', () =>
  inDirectory(async (path) => {
    await assert.rejects(makeWrappingKey(join(path, 'nowhere', 'wrapping.key'), random), {
      code: 'unavailable',
      message: /nowhere/,
    })
  }))
