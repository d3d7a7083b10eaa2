/**
 * What becomes of a campaign on one device. Each change holds only for the version of the row that it was made from, so that of two
 * at once one is told to look again.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import type { Reason } from '#base/sentences.ts'
import type { Step } from '#store/batch.ts'
import type { Queries, Row } from '#store/database.ts'
import type { CampaignsContext } from './context.ts'
import { type ActionState, isOpen, mayGo, OPEN_STATES } from './states.ts'

/** Why an action ended otherwise, in words that do not change; or the reason why the director refused. */
export type ActionReason =
  | 'campaignStopped'
  | 'deviceCanceled'
  | 'deviceFailed'
  | 'deviceRejected'
  | 'driverDenied'
  | 'otherVersionRuns' // it said that it was done, and its signed reports say otherwise
  | 'ownerChanged' // who agreed is not whose it is

export interface Action {
  readonly number: number
  readonly version: number
  readonly campaignId: string
  readonly deviceId: string
  readonly wave: number
  readonly state: ActionState
  readonly reason: string | undefined
  /** What the device says came of it: noted, not believed. */
  readonly said: 'success' | undefined
  readonly contradictions: number
  readonly isCancelAsked: boolean
  readonly consentId: string | undefined
  readonly offeredAt: number | undefined
  readonly changedAt: number
}

export const actionOf = (row: Row): Action => ({
  number: row['number'] as number,
  version: row['version'] as number,
  campaignId: row['campaign_id'] as string,
  deviceId: row['device_id'] as string,
  wave: (row['wave'] as number | null) ?? 0,
  state: row['state'] as ActionState,
  reason: (row['reason'] as string | null) ?? undefined,
  said: (row['said'] as 'success' | null) ?? undefined,
  contradictions: row['contradictions'] as number,
  isCancelAsked: row['is_cancel_asked'] === 1,
  consentId: (row['consent_id'] as string | null) ?? undefined,
  offeredAt: (row['offered_at'] as number | null) ?? undefined,
  changedAt: row['changed_at'] as number,
})

/** Of this device. @throws TrustError `notFound` */
export async function openAction(db: Queries, number: number, deviceId: string): Promise<Action> {
  const [row] = await db.query(
    `SELECT * FROM campaign_action WHERE number = ? AND device_id = ? AND state <> 'planned'`,
    number,
    deviceId,
  )
  if (row === undefined) throw new TrustError('notFound', 'actionUnknown', { facts: { action: number } })
  return actionOf(row)
}

/** The one that the device has, if any. */
export async function openActionOf(db: Queries, deviceId: string): Promise<Action | undefined> {
  const [row] = await db.query(`SELECT * FROM campaign_action WHERE device_id = ? AND state IN (${OPEN_STATES})`, deviceId)
  return row && actionOf(row)
}

export type ActionChange = Partial<Pick<Action, 'said' | 'contradictions' | 'isCancelAsked' | 'consentId'>> & {
  readonly state?: ActionState
  readonly reason?: ActionReason | Reason
  /** In the words of whoever said it. */
  readonly detail?: string
}

const DETAIL_MAX_CHARACTERS = 200

/** Ends and consents are in the audit log, each with its reason. @throws TrustError `conflict` (`actionOver`) for a step that there is not */
export function stepsToMove(
  { world, audit }: Pick<CampaignsContext, 'world' | 'audit'>,
  action: Action,
  change: ActionChange,
  actor: string,
): readonly Step[] {
  const { number, version, campaignId, deviceId } = action
  const state = change.state ?? action.state
  if (state !== action.state && !mayGo(action.state, state))
    throw new TrustError('conflict', 'actionOver', { facts: { action: number, state: action.state } })
  const next = { ...action, ...change, state }
  const isEnd = state !== action.state && !isOpen(state)
  const isConsent = change.consentId !== undefined
  return [
    {
      sql: `UPDATE campaign_action SET version = ?, state = ?, reason = ?, detail = COALESCE(?, detail), said = ?, contradictions = ?,
          is_cancel_asked = ?, consent_id = ?, changed_at = ? WHERE number = ? AND version = ? RETURNING version`,
      parameters: [
        ...[version + 1, state, next.reason ?? null, change.detail?.slice(0, DETAIL_MAX_CHARACTERS) ?? null],
        ...[next.said ?? null, next.contradictions, next.isCancelAsked ? 1 : 0, next.consentId ?? null],
        ...[world.clock.now(), number, version],
      ],
      expects: { version: version + 1 },
      refusal: () => new TrustError('conflict', 'actionChanged'),
    },
    ...(isEnd || isConsent
      ? [
          audit.statement({
            actor,
            act: isEnd ? `campaign.device-${state}` : 'campaign.device-confirmed',
            object: `device:${deviceId}`,
            outcome: 'done',
            facts: {
              ...{ campaign: campaignId, action: number },
              ...(next.reason !== undefined && { reason: next.reason }),
              ...(isConsent && { consent: change.consentId }),
            },
          }),
        ]
      : []),
  ]
}
