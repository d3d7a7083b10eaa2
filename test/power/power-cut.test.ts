/** Power cuts while a plant works: a few of those that `power-cut.long.test.ts` and `power-cut.ts` make for long. */
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { httpsTransport, RemoteRefusal, restClient } from '#server/rest/client.ts'
import { kill, startedServer } from '../simulate/server-kill.ts'
import { install } from '../simulate/server-process.ts'
import { type Disk, diskMissing, makeDisk } from './disk.ts'
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

async function diskOf(t: TestContext, seed: number): Promise<Disk> {
  const directory = await mkdtemp(join(tmpdir(), 'sealworks-power-'))
  const disk = await makeDisk(directory, seed)
  t.after(async () => {
    await disk.remove()
    await rm(directory, { recursive: true })
  })
  return disk
}

test('what init made is whole when the power fails as it ends', { skip }, async (t) => {
  const disk = await diskOf(t, 43)
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
  await kill(await startedServer(installation))
})

test('decision 4: a server whose disk has failed refuses, and says that it is not ready', { skip }, async (t) => {
  const disk = await diskOf(t, 44)
  const installation = await install(disk.folder)
  const { origin, publicOrigin, tlsRootPEM, token } = installation
  const server = await startedServer(installation)
  const admin = restClient({ transport: httpsTransport({ server: origin, trust: { rootsPEM: tlsRootPEM } }), token })
  const ready = async (): Promise<number> => (await fetch(`${publicOrigin}/health/ready`)).status
  try {
    assert.equal(await ready(), 200)
    disk.cut()
    await disk.gone
    const body = { slug: 'root', name: 'CN=Root,O=Example', noExpiry: true }
    await assert.rejects(
      admin.call('createAuthority', { body }),
      (error) => error instanceof RemoteRefusal && error.code === 'unavailable',
    )
    await delay(1100) // a report is kept for a second
    assert.equal(await ready(), 503)
  } finally {
    admin.close()
    await kill(server)
  }
})
