/** How far a campaign is, who lags behind and why. @module */
import type { Queries, Row } from '#store/database.ts'
import { actionOf, type Action } from './actions.ts'
import type { Campaign } from './campaigns.ts'
import type { CampaignsContext } from './context.ts'
import { type ActionState, actionStates } from './states.ts'
import { isWithinWindow } from './terms.ts'

export type Tally = Readonly<Record<ActionState, number>>

export interface WaveProgress {
  readonly wave: number
  readonly size: number
  readonly openedAt: number | undefined
  readonly states: Tally
}

export interface Progress {
  readonly states: Tally
  readonly waves: readonly WaveProgress[]
  /** How many ended otherwise, by reason. */
  readonly reasons: readonly { readonly state: ActionState; readonly reason: string; readonly devices: number }[]
}

const none = (): Record<ActionState, number> =>
  Object.fromEntries(actionStates.map((state) => [state, 0])) as Record<ActionState, number>

/** One walk over an index, however many devices. */
export async function wavesOf(db: Queries, { id }: Pick<Campaign, 'id'>): Promise<readonly WaveProgress[]> {
  const sizes = await db.query('SELECT wave, size, opened_at FROM campaign_wave WHERE campaign_id = ? ORDER BY wave', id)
  const counts = await db.query(
    'SELECT wave, state, count(*) AS devices FROM campaign_action WHERE campaign_id = ? GROUP BY wave, state',
    id,
  )
  const tallies = new Map<number, Record<ActionState, number>>()
  for (const { wave, state, devices } of counts) {
    const tally = tallies.get(wave as number) ?? none()
    tally[state as ActionState] = devices as number
    tallies.set(wave as number, tally)
  }
  return sizes.map((row) => ({
    wave: row['wave'] as number,
    size: row['size'] as number,
    openedAt: (row['opened_at'] as number | null) ?? undefined,
    states: tallies.get(row['wave'] as number) ?? none(),
  }))
}

export async function progressOf({ db }: Pick<CampaignsContext, 'db'>, campaign: Campaign): Promise<Progress> {
  const waves = await wavesOf(db, campaign)
  const states = none()
  for (const wave of waves) for (const state of actionStates) states[state] += wave.states[state]
  const reasons = await db.query<{ state: string; reason: string; devices: number }>(
    `SELECT state, reason, count(*) AS devices FROM campaign_action
      WHERE campaign_id = ? AND state IN ('failed', 'canceled', 'rejected') AND reason IS NOT NULL
      GROUP BY state, reason ORDER BY state, devices DESC, reason`,
    campaign.id,
  )
  return { states, waves, reasons: reasons.map((row) => ({ ...row, state: row.state as ActionState })) }
}

/** Why a device of an open wave does not run the new version; or how its action ended, with the reason of that. */
export const lagReasons = [
  'otherCampaign', // another campaign has it
  'waitsForDriver',
  'waitsForOwner',
  'neverSeen', // it does not ask for updates
  'notSeenSince', // not since it was offered this one
  'outsideWindow',
  'notBegun',
  'downloading',
  'installing',
  'noSignedReport', // it says that it is done
  'otherVersionReported', // it says that it is done, and its signed report names another version
  'toldToCancel',
  'failed',
  'canceled',
  'rejected',
] as const
export type LagReason = (typeof lagReasons)[number]

export interface Laggard {
  readonly action: number
  readonly deviceId: string
  /** Its serial, where it is recorded. */
  readonly name: string | undefined
  readonly wave: number
  readonly state: ActionState
  readonly lag: LagReason
  /** Of its end. */
  readonly reason: string | undefined
  /** In the words of the device. */
  readonly detail: string | undefined
  readonly seenAt: number | undefined
  readonly changedAt: number
}

interface LaggardRow extends Row {
  readonly detail: string | null
  readonly seen_at: number | null
}

/** In the order of their numbers. @param page `after`: the last number of the page before */
export async function laggardsOf(
  { db, world, devices }: CampaignsContext,
  campaign: Campaign,
  {
    limit,
    after = 0,
    state,
  }: { readonly limit: number; readonly after?: number | undefined; readonly state?: ActionState | undefined },
): Promise<readonly Laggard[]> {
  const rows = await db.query<LaggardRow>(
    `SELECT campaign_action.*, ddi_contact.seen_at FROM campaign_action
      LEFT JOIN ddi_contact ON ddi_contact.device_id = campaign_action.device_id
      WHERE campaign_action.campaign_id = ? AND campaign_action.wave <= ? AND campaign_action.number > ?
      AND campaign_action.state ${state === undefined ? "<> 'succeeded'" : '= ?'}
      ORDER BY campaign_action.number LIMIT ?`,
    ...[campaign.id, campaign.wave, after, ...(state === undefined ? [] : [state]), limit],
  )
  const names = await devices.serials(rows.map((row) => row['device_id'] as string))
  const isOpen = isWithinWindow(campaign.terms, world.clock.now())
  return rows.map((row) => {
    const action = actionOf(row)
    return {
      ...{ action: action.number, deviceId: action.deviceId, wave: action.wave, state: action.state },
      name: names.get(action.deviceId),
      lag: lagOf(action, campaign, row.seen_at ?? undefined, isOpen),
      ...{
        reason: action.reason,
        detail: row.detail ?? undefined,
        seenAt: row.seen_at ?? undefined,
        changedAt: action.changedAt,
      },
    }
  })
}

function lagOf(action: Action, { terms }: Campaign, seenAt: number | undefined, isWindowOpen: boolean): LagReason {
  switch (action.state) {
    case 'planned':
      return 'otherCampaign'
    case 'offered':
    case 'confirmed': {
      if (seenAt === undefined) return 'neverSeen'
      if (seenAt < (action.offeredAt ?? 0)) return 'notSeenSince'
      if (action.state === 'offered' && terms.consent !== 'none')
        return terms.consent === 'driver' ? 'waitsForDriver' : 'waitsForOwner'
      return isWindowOpen ? 'notBegun' : 'outsideWindow'
    }
    case 'downloading':
    case 'installing':
      if (action.contradictions > 0) return 'otherVersionReported'
      if (action.said === 'success') return 'noSignedReport'
      return action.isCancelAsked ? 'toldToCancel' : action.state
    case 'succeeded':
      throw new TypeError('who has succeeded does not lag')
    default:
      return action.state
  }
}
