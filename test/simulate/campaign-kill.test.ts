/** `kill -9` while a release is rolled out: no device is lost, none is counted twice, and what was acknowledged stays. R12, R22. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import { sqlite } from '#store/sqlite/index.ts'
import { openCampaign } from '#updates/campaigns/campaigns.ts'
import { progressOf } from '#updates/campaigns/progress.ts'
import { testCampaigns } from '#updates/campaigns/testing.ts'
import { isFailing } from './campaign-worker.ts'

const DEVICES = 40
/** Each is a place to die at, after it was passed so often. */
const KILLS = [
  ['campaign devices listed', 0],
  ['campaign wave opened', 0],
  ['device heard', 3],
  ['device reported', 1],
  ['campaign judged', 0],
] as const

async function run(
  path: string,
  point: string,
  count: number,
): Promise<{ signal: string | null; code: number | null; acknowledged: string[] }> {
  const worker = join(import.meta.dirname, 'campaign-worker.ts')
  const child = spawn(process.execPath, [worker, path, String(DEVICES), point, String(count)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [said, [code, signal]] = await Promise.all([
    text(child.stdout),
    once(child, 'close') as Promise<[number | null, string | null]>,
  ])
  return { signal, code, acknowledged: said.split('\n').filter((line) => line !== '') }
}

test('a campaign that is killed again and again ends as if it had not been', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-campaign-kill-'))
  t.after(() => rmSync(directory, { recursive: true }))
  const path = join(directory, 'sealworks.db')
  const acknowledged: string[] = []
  for (const [point, count] of KILLS) {
    const { signal, acknowledged: more } = await run(path, point, count)
    assert.equal(signal, 'SIGKILL', `it reached "${point}"`)
    acknowledged.push(...more)
    const db = sqlite({ path })
    const known = await db.query<{ device_id: string; state: string }>('SELECT device_id, state FROM campaign_action')
    assert.equal(new Set(known.map(({ device_id: id }) => id)).size, known.length)
    for (const id of acknowledged)
      assert.equal(known.find((one) => one.device_id === id)?.state, 'succeeded', `${id} after "${point}"`)
    await db.close()
  }
  const last = await run(path, 'none', 0)
  assert.equal(last.code, 0)
  acknowledged.push(...last.acknowledged)
  assert.equal(new Set(acknowledged).size, acknowledged.length, 'nobody is asked again who was acknowledged')

  await using all = await testCampaigns({ devices: DEVICES, db: sqlite({ path }) })
  const campaign = await openCampaign(all.context, 'press')
  const { states, waves } = await progressOf(all.context, campaign)
  const failing = (await all.actions()).filter(({ deviceId }) => isFailing(deviceId)).length
  assert.deepEqual(
    [campaign.state, campaign.size, states.failed, states.succeeded],
    ['finished', DEVICES, failing, DEVICES - failing],
  )
  assert.deepEqual(
    waves.map(({ size }) => size),
    [4, 12, 24],
  )
  for (const [act, count] of [
    ['campaign.device-succeeded', DEVICES - failing],
    ['campaign.device-failed', failing],
    ['campaign.open-wave', 3],
    ['campaign.finish', 1],
    ['campaign.start', 1],
  ] as const)
    assert.equal(await all.audited(act), count, act)
})
