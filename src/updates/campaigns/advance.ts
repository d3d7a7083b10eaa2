/**
 * What makes campaigns go on by themselves: waves that open at their gates, errors that stop them, and the signed reports by which it
 * is known what runs.
 *
 * @module
 */
import { asTrustError } from '#base/errors.ts'
import { keep, type Step } from '#store/batch.ts'
import type { Queries, Row } from '#store/database.ts'
import { type ActionChange, openActionOf, stepsToMove } from './actions.ts'
import {
  ACTOR,
  type Campaign,
  campaignById,
  notes,
  planCampaign,
  stepsToOffer,
  stepsToOpen,
  stepsToStop,
  stepToChange,
} from './campaigns.ts'
import type { CampaignsContext } from './context.ts'
import { type WaveProgress, wavesOf } from './progress.ts'
import { OPEN_STATES, openStates } from './states.ts'

/** A component that runs, as a device's signed report has it. */
interface RunningComponent {
  readonly name: string
  readonly version: string
  /** SHA-256 of what it was installed from, hexadecimal. */
  readonly digest: string
}

interface CampaignRow extends Row {
  readonly component: string
  readonly release_version: string
  readonly release_id: string
}

/** Reports that say otherwise before it counts as failed: one may have been under way while the device installed. */
const CONTRADICTIONS_MAX = 2

/**
 * What a signed report of a device means for its campaign, to be kept with the report. This alone makes an action succeed.
 *
 * @param components of a report whose signature and continuity were checked
 */
export async function stepsOnReport(
  context: Pick<CampaignsContext, 'db' | 'world' | 'audit'>,
  deviceId: string,
  components: readonly RunningComponent[],
): Promise<readonly Step[]> {
  const action = await openActionOf(context.db, deviceId)
  if (action === undefined) return []
  const [campaign] = await context.db.query<CampaignRow>(
    'SELECT component, release_version, release_id FROM campaign WHERE id = ?',
    action.campaignId,
  )
  const { component, release_version: version, release_id: releaseId } = campaign as CampaignRow // a reference holds it
  const running = components.find(({ name }) => name === component)
  if (running?.version === version && (await isOfRelease(context.db, releaseId, running)))
    return stepsToMove(context, action, { state: 'succeeded' }, `device:${deviceId}`)
  if (action.said !== 'success') return []
  const contradictions = action.contradictions + 1
  const end: ActionChange =
    contradictions < CONTRADICTIONS_MAX
      ? { contradictions }
      : {
          contradictions,
          state: 'failed',
          reason: 'otherVersionRuns',
          detail: `it runs ${running?.version ?? 'nothing of that name'}`,
        }
  return stepsToMove(context, action, end, `device:${deviceId}`)
}

/** A version is a word; what it was installed from is what was released. */
async function isOfRelease(db: Queries, releaseId: string, { digest }: RunningComponent): Promise<boolean> {
  const [artifact] = await db.query('SELECT name FROM campaign_artifact WHERE release_id = ? AND sha256 = ?', releaseId, digest)
  return artifact !== undefined
}

/** Looks at a campaign and does what is due. @returns whether there was something to do */
export async function judgeCampaign(context: CampaignsContext, id: string): Promise<boolean> {
  const campaign = await campaignById(context.db, id)
  if (campaign.state === 'planning') {
    await planCampaign(context, id)
    return true
  }
  if (campaign.state !== 'running') return false
  const steps = await stepsDue(context, campaign, await wavesOf(context.db, campaign))
  if (steps.length === 0) return false
  await keep(context.db, steps)
  context.world.faults.reach('campaign judged')
  return true
}

async function stepsDue(context: CampaignsContext, campaign: Campaign, waves: readonly WaveProgress[]): Promise<readonly Step[]> {
  const { terms, wave } = campaign
  const bad = waves.find((one) => isOverLimit(one, terms.errors))
  if (bad !== undefined) {
    const { failed, succeeded } = bad.states
    return stepsToStop(context, campaign, { reason: 'errorRate', actor: ACTOR, facts: { wave: bad.wave + 1, failed, succeeded } })
  }
  const left = waves.reduce(
    (sum, { states }) => sum + states.planned + openStates.reduce((open, state) => open + states[state], 0),
    0,
  )
  if (left === 0) {
    const succeeded = waves.reduce((sum, { states }) => sum + states.succeeded, 0)
    return [
      stepToChange(campaign, { state: 'finished', endedAt: context.world.clock.now() }),
      ...notes(context, campaign, 'finish', ACTOR, { devices: campaign.size, succeeded }),
    ]
  }
  const current = waves.find((one) => one.wave === wave)
  if (current !== undefined && wave + 1 < waves.length && isGateOpen(current, terms.gatePercent))
    return stepsToOpen(context, campaign, ACTOR)
  const areWaiting = waves.some((one) => one.wave <= wave && one.states.planned > 0)
  return areWaiting && (await isAnyFree(context, campaign)) ? stepsToOffer(context, campaign, wave) : []
}

/** Whether another campaign let go of a device that waits here. */
async function isAnyFree({ db }: CampaignsContext, { id, wave }: Campaign): Promise<boolean> {
  const [free] = await db.query(
    `SELECT number FROM campaign_action WHERE campaign_id = ? AND wave <= ? AND state = 'planned'
      AND NOT EXISTS (SELECT 1 FROM campaign_action AS other WHERE other.device_id = campaign_action.device_id
        AND other.state IN (${OPEN_STATES})) LIMIT 1`,
    ...[id, wave],
  )
  return free !== undefined
}

/** Those who gave up or were refused say nothing about the version. */
function isOverLimit({ states: { failed, succeeded } }: WaveProgress, { percent, least }: Campaign['terms']['errors']): boolean {
  const through = failed + succeeded
  return through >= least && failed > 0 && failed * 100 >= through * percent
}

/** Of those who can still come to run it: whoever declined holds nobody up. Where all did, nothing shows that the version is good. */
function isGateOpen({ size, states }: WaveProgress, gatePercent: number): boolean {
  const able = size - states.rejected - states.canceled
  return states.succeeded * 100 >= able * gatePercent && (able > 0 || gatePercent === 0)
}

export interface CampaignWork {
  /** All that is due, of all campaigns. */
  runOnce(): Promise<void>
  /** Soon, and once for all who ask meanwhile: something ended badly. */
  lookAt(campaignId: string): void
  /** What was asked for by `lookAt` is done. */
  settled(): Promise<void>
}

export function campaignWork(context: CampaignsContext): CampaignWork {
  const running = new Map<string, { work: Promise<void>; again: boolean }>()

  /** Somebody else was faster: it is looked at again anyway. */
  async function judge(id: string): Promise<void> {
    try {
      while (await judgeCampaign(context, id));
    } catch (thrown) {
      if (asTrustError(thrown).code !== 'conflict') throw thrown
    }
  }

  return {
    async runOnce() {
      const live = await context.db.query<{ id: string }>(
        "SELECT id FROM campaign WHERE organization_id = ? AND state IN ('planning', 'running') ORDER BY id",
        context.organizationId,
      )
      for (const { id } of live) await judge(id)
    },
    lookAt(id) {
      const known = running.get(id)
      if (known !== undefined) {
        known.again = true
        return
      }
      const one = { work: Promise.resolve(), again: false }
      running.set(id, one)
      one.work = (async () => {
        do {
          one.again = false
          await judge(id).catch(() => {}) // the next round says what is wrong
        } while (one.again)
        running.delete(id)
      })()
    },
    async settled() {
      while (running.size > 0) await Promise.all([...running.values()].map(({ work }) => work))
    },
  }
}
