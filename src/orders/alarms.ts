/** Alarms of an order: each is raised once, and stays. @module */
import type { Facts } from '#base/errors.ts'
import { uuidv7 } from '#base/world.ts'
import type { Step } from '#store/batch.ts'
import type { OrdersContext } from './orders.ts'

/** What smells of piracy, or of somebody's fingers in the machine. */
export const alarmKinds = [
  'logForked',
  'entriesAfterEnd',
  'jobEndOther',
  'positionNotLeased',
  'positionBeyondTicket',
  'positionTwice',
  'certificateOther',
  'serialOutsideBlock',
  'serialTwice',
  'keyTwice',
  'stationForeign',
  'firmwareOther',
  'judgedUnborn',
  'judgedTwice',
  'shippedNotGood',
  'seenScrapped',
  'seenInNoLog',
  'seenAtTwoPlaces',
  'seenOfForeignIssuer',
  'deviceNotRecorded',
] as const
export type AlarmKind = (typeof alarmKinds)[number]

/** @param subject what it is about: the same alarm about the same is raised once */
export interface Alarm {
  readonly orderId: string
  readonly jobId: string | undefined
  readonly kind: AlarmKind
  readonly subject: string
  readonly facts: Facts
}

export const alarmStep = (
  { world, organizationId }: Pick<OrdersContext, 'world' | 'organizationId'>,
  { orderId, jobId, kind, subject, facts }: Alarm,
): Step => ({
  sql: `INSERT INTO order_alarm (id, organization_id, order_id, job_id, kind, subject, facts, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
      ON CONFLICT (order_id, kind, subject) DO NOTHING`,
  parameters: [uuidv7(world), organizationId, orderId, jobId ?? null, kind, subject, JSON.stringify(facts), world.clock.now()],
})
