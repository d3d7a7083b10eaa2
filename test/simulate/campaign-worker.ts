/**
 * A process that rolls out a release to devices which it plays itself, and kills itself at the point it is told, as a power
 * switch would. Started again, it goes on.
 *
 * Arguments: the database's file, how many devices, the point, and how often it is reached before. Each line that it prints is
 * a device whose report was acknowledged.
 *
 * @module
 */
import { asTrustError } from '#base/errors.ts'
import { systemWorld } from '#base/world.ts'
import { keep } from '#store/batch.ts'
import { sqlite } from '#store/sqlite/index.ts'
import { judgeCampaign, stepsOnReport } from '#updates/campaigns/advance.ts'
import { openCampaign, planCampaign, startCampaign } from '#updates/campaigns/campaigns.ts'
import { officer, type TestCampaigns, testCampaigns } from '#updates/campaigns/testing.ts'

/** Every seventh fails, whenever it is asked. */
export const isFailing = (deviceId: string): boolean => Number(deviceId.slice(1)) % 7 === 3

const done = { execution: 'closed', finished: 'success', code: undefined, details: [] } as const

async function openOrCreate(all: TestCampaigns) {
  try {
    return await openCampaign(all.context, 'press')
  } catch (thrown) {
    if (asTrustError(thrown).code !== 'notFound') throw thrown
    await all.create('press', { waves: [{ percent: 10 }, { percent: 30 }], gatePercent: 60, errors: { percent: 90, least: 5 } })
    return openCampaign(all.context, 'press')
  }
}

/** What the device does when it is asked now. */
async function play(all: TestCampaigns, deviceId: string): Promise<void> {
  const { context, door, release } = all
  const visitor = await door.authenticate('plant', deviceId, {
    chain: [new TextEncoder().encode(deviceId)],
    targetToken: undefined,
  })
  const answer = await door.poll(visitor)
  if (answer.deployment === undefined) return
  await door.deployment(visitor, answer.deployment)
  context.world.faults.reach('device told')
  await door.feedback(visitor, answer.deployment, { ...done, finished: isFailing(deviceId) ? 'failure' : 'success' })
  context.world.faults.reach('device heard')
  if (isFailing(deviceId)) return
  const components = [{ name: release.component, version: release.version, digest: release.artifacts[0]?.sha256 ?? '' }]
  await keep(context.db, await stepsOnReport(context, deviceId, components))
  console.log(deviceId)
  context.world.faults.reach('device reported')
}

if (import.meta.main) {
  const [path = '', devices = '', point = '', count = ''] = process.argv.slice(2)
  let left = Number(count)
  const reach = (reached: string): void => {
    if (reached === point && left-- === 0) process.kill(process.pid, 'SIGKILL')
  }
  const all = await testCampaigns({
    devices: Number(devices),
    db: sqlite({ path }),
    world: { ...systemWorld(), faults: { reach } },
  })
  const { id, state } = await openOrCreate(all)
  if (state === 'draft') await startCampaign(all.context, 'press', officer)
  else await planCampaign(all.context, id)
  for (;;) {
    while (await judgeCampaign(all.context, id));
    if ((await openCampaign(all.context, 'press')).state !== 'running') break
    for (const action of await all.actions()) {
      const isHis = action.said === 'success' && action.state === 'installing' // it was killed before it could report
      if (isHis) {
        const components = [
          { name: all.release.component, version: all.release.version, digest: all.release.artifacts[0]?.sha256 ?? '' },
        ]
        await keep(all.context.db, await stepsOnReport(all.context, action.deviceId, components))
        console.log(action.deviceId)
      } else if (action.state === 'offered') await play(all, action.deviceId)
    }
  }
  await all[Symbol.asyncDispose]()
}
