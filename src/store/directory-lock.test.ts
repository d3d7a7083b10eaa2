import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { TrustError } from '#base/errors.ts'
import { lockDirectory } from './directory-lock.ts'

async function directoryOf(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'sealworks-lock-'))
  t.after(() => rm(directory, { recursive: true }))
  return directory
}

const heldBy = (pid: number, holder: string) => (error: unknown) =>
  error instanceof TrustError &&
  error.reason === 'directoryLocked' &&
  error.facts['pid'] === pid &&
  error.facts['holder'] === holder

test('a second lock is refused and names the first, until it is released', async (t) => {
  const directory = await directoryOf(t)
  const lock = lockDirectory(directory, 'sealworks serve')
  assert.throws(() => lockDirectory(directory, 'sealworks ca list'), heldBy(process.pid, 'sealworks serve'))
  lock.release()
  lockDirectory(directory, 'sealworks ca list').release()
})

test('the lock of a killed process is free at once', async (t) => {
  const directory = await directoryOf(t)
  const program = `
    import { lockDirectory } from '${new URL('directory-lock.ts', import.meta.url).href}'
    lockDirectory(process.argv[1], 'sealworks serve')
    console.log('locked')
    setInterval(() => {}, 1000)`
  const child = spawn(process.execPath, ['--input-type=module', '--eval', program, directory], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const exited = new Promise((resolve) => child.once('exit', resolve))
  await new Promise((resolve) => child.stdout.once('data', resolve))
  assert.throws(() => lockDirectory(directory, 'another'), heldBy(child.pid ?? 0, 'sealworks serve'))
  child.kill('SIGKILL')
  await exited
  lockDirectory(directory, 'another').release()
})
