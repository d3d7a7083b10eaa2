/** `kill -9` while a backup is made or restored: there is a whole one or none, and the next try succeeds. R22, R23. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { makeRecoveryKey, parseRecoveryKey } from '#backup/recipients.ts'
import { logVerifierKey } from '#audit/note-key.ts'
import { atWork, makePlant, type Plant, removeAll, sourceOf } from '#server/backup-testing.ts'
import { rehearseBackup } from '#server/restore.ts'

after(removeAll)

/** @returns the signal that ended it, or how many points it reached */
async function play(plant: Plant, what: 'backup' | 'restore', points: number, file = ''): Promise<string | number> {
  const key = logVerifierKey(plant.verifierKey.name, plant.verifierKey.publicKey)
  const script = join(import.meta.dirname, 'backup-kill.ts')
  const child = spawn(process.execPath, [script, what, plant.directory, key, String(points), file], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const printed = Array.fromAsync(child.stdout as AsyncIterable<Buffer>)
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null]
  if (signal !== null) return signal
  assert.equal(code, 0)
  return Number(Buffer.concat(await printed).toString())
}

/** With a recovery key in a file, for the process that restores. */
async function plantWithKey(): Promise<Plant> {
  const plant = await makePlant('sqlite:sealworks.db')
  const { key, certificate } = await makeRecoveryKey({ algorithm: 'x25519', name: 'Kill' }, plant.world)
  writeFileSync(join(plant.directory, 'recovery.key'), key.reveal('for another process'), { mode: 0o600 })
  writeFileSync(join(plant.directory, 'recovery.pem'), certificate)
  return { ...plant, recoveryKey: parseRecoveryKey(key) }
}

/** First, last, and some in between. */
const some = (total: number): readonly number[] => [...new Set([1, Math.ceil(total / 3), Math.ceil(total / 2), total])]

suite('a process that is killed', () => {
  test('while it makes a backup leaves no file of that name', async () => {
    const plant = await plantWithKey()
    const directory = join(plant.dataDirectory, 'backups')
    const total = Number(await play(plant, 'backup', 1_000_000))
    assert.ok(total >= 2)
    rmSync(directory, { recursive: true })
    for (const points of some(total)) {
      assert.equal(await play(plant, 'backup', points), 'SIGKILL')
      for (const name of readdirSync(directory)) assert.match(name, /\.part$/)
    }
    const file = await atWork(plant, ({ backUp }) => backUp())
    assert.deepEqual((await rehearseBackup(sourceOf(plant, file))).audit.problems, [])
    assert.equal(readdirSync(directory).length, 1)
  })

  test('while it restores leaves no directory of that name, or a whole one', async () => {
    const plant = await plantWithKey()
    const file = await atWork(plant, async ({ issue, backUp }) => {
      await issue('one')
      return backUp()
    })
    const target = join(plant.directory, 'restored')
    const total = Number(await play(plant, 'restore', 1_000_000, file))
    assert.ok(total >= 5)
    rmSync(target, { recursive: true })
    for (const points of some(total)) {
      assert.equal(await play(plant, 'restore', points, file), 'SIGKILL')
      assert.ok(!existsSync(target), `after ${points} of ${total}`)
    }
    await play(plant, 'restore', 1_000_000, file)
    assert.ok(!existsSync(`${target}.restoring`))
    await atWork({ ...plant, dataDirectory: target }, async ({ foundation, issue }) => {
      assert.equal((await foundation.db.query("SELECT id FROM certificate WHERE profile = 'tls-client'")).length, 1)
      await assert.rejects(issue('none'), { reason: 'issuanceClosed' })
    })
  })
})
