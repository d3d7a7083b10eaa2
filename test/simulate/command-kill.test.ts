/** R14: a process that counts commands is killed, again and again: no counter is given twice, and none is below one that was said. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'

const worker = join(import.meta.dirname, 'command-worker.ts')
/** Where it dies, and after how many; without a place at any moment. */
const ROUNDS = [
  ['command drafted', 0],
  ['command drafted', 3],
  ['', 12],
] as const

test('R14: counters only go up, whenever the process dies', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-command-kill-'))
  t.after(() => rmSync(directory, { recursive: true }))
  const said: number[] = []
  for (const [cutAt, after] of ROUNDS) {
    const child = spawn(process.execPath, [worker, join(directory, 'commands.db'), cutAt, String(after)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let text = ''
    let lines = 0
    child.stdout.on('data', (chunk: Uint8Array) => {
      text += new TextDecoder().decode(chunk)
      lines = text.split('\n').length - 1
      if (cutAt === '' && lines >= after) child.kill('SIGKILL')
    })
    const [, signal] = (await once(child, 'close')) as [unknown, NodeJS.Signals | null]
    assert.equal(signal, 'SIGKILL')
    assert.ok(lines >= after)
    said.push(...text.split('\n').slice(0, -1).map(Number))
  }
  assert.ok(said.length >= 15)
  assert.deepEqual(
    said,
    said.toSorted((a, b) => a - b),
  )
  assert.equal(new Set(said).size, said.length)
})
