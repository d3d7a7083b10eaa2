/**
 * A campaign over 100,000 devices, 3 % of which fail: how long it takes to list them, to open a wave, to judge, and to say who lags
 * behind; and how far it came when it stopped at its gate.
 *
 * `BENCH_CAMPAIGN_DEVICES` makes them fewer. The devices are played in this process, through the functions that stand behind the
 * protocol, and sign nothing: what is measured is the campaign, on SQLite.
 *
 * @module
 */
import { utf8 } from '#base/bytes.ts'
import { keep } from '#store/batch.ts'
import { judgeCampaign, stepsOnReport } from '#updates/campaigns/advance.ts'
import { openCampaign, startCampaign } from '#updates/campaigns/campaigns.ts'
import { laggardsOf, progressOf } from '#updates/campaigns/progress.ts'
import { officer, type TestCampaigns, testCampaigns } from '#updates/campaigns/testing.ts'
import type { Figure } from './figure.ts'

const DEVICES = Number(process.env['BENCH_CAMPAIGN_DEVICES'] ?? 100_000)
/** Devices that ask at the same time, so that their answers share commits. */
const AT_ONCE = 200
/** Of a hundred, by their numbers. */
const FAILING = 3
const LAGGARDS_PAGE = 500

const isFailing = (deviceId: string): boolean => Number(deviceId.slice(1)) % 100 < FAILING

const since = (begun: number): number => (performance.now() - begun) / 1000

export async function benchCampaign(): Promise<readonly Figure[]> {
  await using all = await testCampaigns({ devices: DEVICES })
  const { context } = all
  await all.create('press', {
    waves: [{ percent: 1 }, { percent: 10 }, { percent: 30 }],
    gatePercent: 95,
    errors: { percent: 2.5, least: Math.max(10, Math.round(DEVICES / 20)) },
  })
  const beforeStart = performance.now()
  await startCampaign(context, 'press', officer)
  const started = since(beforeStart)
  const { id } = await openCampaign(context, 'press')

  const judged: number[] = []
  const judge = async (): Promise<void> => {
    const begun = performance.now()
    await judgeCampaign(context, id)
    judged.push(since(begun) * 1000)
  }
  const beforeRun = performance.now()
  let asked = 0
  for (;;) {
    const open = await context.db.query<{ device_id: string }>(
      "SELECT device_id FROM campaign_action WHERE campaign_id = ? AND state = 'offered' ORDER BY number LIMIT ?",
      ...[id, AT_ONCE],
    )
    await Promise.all(open.map(({ device_id: deviceId }) => play(all, deviceId)))
    asked += open.length
    await judge()
    if ((await openCampaign(context, 'press')).state !== 'running') break
  }
  await all.work.settled()
  const ran = since(beforeRun)

  const campaign = await openCampaign(context, 'press')
  const { states } = await progressOf(context, campaign)
  const beforeList = performance.now()
  let listed = 0
  for (let after = 0; ;) {
    const some = await laggardsOf(context, campaign, { limit: LAGGARDS_PAGE, after })
    listed += some.length
    const last = some.at(-1)
    if (last === undefined) break
    after = last.action
  }
  const listing = since(beforeList)
  if (campaign.state !== 'stopped' || campaign.reason !== 'errorRate') throw new Error(`the campaign is ${campaign.state}`)
  const left = states.succeeded + states.failed + states.canceled
  if (left !== DEVICES) throw new Error(`${left} of ${DEVICES} devices are accounted for`)
  const told = `${states.succeeded} succeeded, ${states.failed} failed, ${states.canceled} were not asked any more`
  return [
    { name: 'campaign.start', value: started, unit: 's', note: `${DEVICES} devices listed and put into four waves` },
    { name: 'campaign.devices', value: asked / ran, unit: '/s', note: `poll, deployment, feedback, report: ${told}` },
    { name: 'campaign.judge.median', value: at(judged, 0.5), unit: 'ms', note: `over ${DEVICES} devices` },
    { name: 'campaign.judge.p99', value: at(judged, 0.99), unit: 'ms', note: 'with the waves that it opened, and its stop' },
    { name: 'campaign.laggards', value: listed / listing, unit: '/s', note: `${listed}, each with its reason` },
  ]
}

async function play(all: TestCampaigns, deviceId: string): Promise<void> {
  const { door, context, release } = all
  const visitor = await door.authenticate('plant', deviceId, { chain: [utf8(deviceId)], targetToken: undefined })
  const answer = await door.poll(visitor)
  if (answer.deployment === undefined) return // it was stopped meanwhile
  const { action } = await door.deployment(visitor, answer.deployment)
  const finished = isFailing(deviceId) ? 'failure' : 'success'
  await door.feedback(visitor, action, { execution: 'closed', finished, code: undefined, details: [] })
  if (finished === 'failure') return
  const components = [{ name: release.component, version: release.version, digest: release.artifacts[0]?.sha256 ?? '' }]
  await keep(context.db, await stepsOnReport(context, deviceId, components))
}

const at = (list: readonly number[], share: number): number =>
  list.toSorted((a, b) => a - b)[Math.floor(share * (list.length - 1))] ?? 0
