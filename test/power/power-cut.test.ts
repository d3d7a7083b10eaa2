/** Power cuts while a plant works: a few of those that `power-cut.long.test.ts` and `power-cut.ts` make for long. */
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { install, startServer } from '../simulate/server-process.ts'
import { diskMissing, makeDisk } from './disk.ts'
import { assertCaught, powerCuts } from './power-cut.ts'

const skip = diskMissing()

test('decision 4: what was answered survives power cuts, checkpoints and starts among them', { skip }, async () => {
  const outcome = await powerCuts({ cuts: 3, seed: 41, lines: 16, waits: 'often' })
  assert.deepEqual(outcome.problems, [])
  assert.ok(outcome.certificates > 0 && outcome.lost > 0, 'nobody was disturbed at work')
  assert.equal(outcome.kills, 3)
  assert.ok(outcome.checkpoints > 3, 'there were no checkpoints')
})

test('a server that answers before the disk has it is caught by one power cut', { skip }, () => assertCaught('no-syncs'))

test('what init made is whole when the power fails as it ends', { skip }, async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'sealworks-power-'))
  const disk = await makeDisk(directory, 43)
  t.after(async () => {
    await disk.remove()
    await rm(directory, { recursive: true })
  })
  const installation = await install(disk.folder)
  const { dataDirectory, tlsRootPEM, token } = installation
  const settingsFile = join(dataDirectory, 'sealworks.toml')
  const settings = readFileSync(settingsFile) // which nobody synced
  disk.cut()
  await disk.gone
  await disk.restore()
  assert.equal(readFileSync(join(dataDirectory, 'tls-root.pem'), 'utf8'), tlsRootPEM)
  const tokenKept = readFileSync(join(dataDirectory, 'administrator.token'))
  assert.deepEqual(tokenKept, Buffer.from(token.reveal('compare')))
  writeFileSync(settingsFile, settings)
  const server = startServer(installation)
  await Promise.race([server.ready, server.ended.then(({ complaint }) => assert.fail(complaint))])
  server.process.kill('SIGKILL')
  await server.ended
})
