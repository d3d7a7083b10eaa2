/**
 * Parts of an order that are born at a line of the maker's server, one by one and with a network.
 *
 * Each birth counts in the transaction that keeps its certificate, so that quota and scrap allowance hold however many ask at
 * once and wherever a server ends: `issued - scrap` is at most the quota, `issued` at most quota and scrap allowance together.
 * What is born and judged stands beside what nodes' logs say, so that reconciliation looks at both alike.
 *
 * @module
 */
import { hash } from 'node:crypto'
import { TrustError } from '#base/errors.ts'
import { uuidv7 } from '#base/world.ts'
import { keep, type Step } from '#store/batch.ts'
import type { Row } from '#store/database.ts'
import { type Allotment, allotmentOf, allotmentsOf } from './allotment-record.ts'
import { isInBlock } from './messages.ts'
import { jobsOf, nextVersion, openOrder, openOwnOrder, type OrdersContext, orderOf, roomIn, serialsFor } from './orders.ts'

export interface WantedAllotment {
  /** By name; it bears nothing that is not ordered. */
  readonly line: string
  /** All that the order has left unless told. */
  readonly quota?: number
  readonly scrapAllowance?: number
}

/** @throws TrustError `policyRefused` for a line of another model, or one that bears without an order; `quotaExceeded`, `conflict` */
export async function allot(context: OrdersContext, name: string, wanted: WantedAllotment, actor: string): Promise<Allotment> {
  const { db, audit, world, organizationId } = context
  const order = await openOwnOrder(context, name, actor)
  if (order.state !== 'open') throw new TrustError('conflict', 'orderClosed', { facts: { order: name } })
  const line = await context.birthLine(wanted.line)
  if (!line.requiresOrder) throw new TrustError('policyRefused', 'lineNotCounted', { facts: { line: line.name } })
  if (line.model !== order.terms.model)
    throw new TrustError('policyRefused', 'lineOfOtherModel', { facts: { line: line.name, model: order.terms.model } })
  const [jobs, allotments] = await Promise.all([jobsOf(context, order), allotmentsOf(context, order)])
  const room = roomIn(order, jobs, allotments)
  const quota = wanted.quota ?? room.quota
  const scrapAllowance = wanted.scrapAllowance ?? room.scrap
  if (quota < 1 || quota > room.quota || scrapAllowance > room.scrap)
    throw new TrustError('quotaExceeded', 'orderUsedUp', { facts: { asked: quota + scrapAllowance, left: room.quota } })
  const serials = serialsFor(order, [...jobs.map(({ ticket }) => ticket), ...allotments], quota + scrapAllowance)
  const [id, createdAt] = [uuidv7(world), world.clock.now()]
  await keep(db, [
    nextVersion(order),
    {
      sql: `INSERT INTO order_allotment (id, organization_id, version, order_id, line_id, line, quota, scrap_allowance, serial_from, serial_to,
          issued, good, scrap, entries, state, created_at) VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?, ?, 0, 0, 0, 0, 'open', ?)`,
      parameters: [
        ...[id, organizationId, order.id, line.id, line.name, quota, scrapAllowance, serials.from, serials.to, createdAt],
      ],
      refusal: () => new TrustError('conflict', 'lineAllotted', { facts: { line: line.name } }),
    },
    audit.statement({
      ...{ actor, act: 'order.allot', object: `order:${order.id}`, outcome: 'done' },
      facts: { allotment: id, line: line.name, quota, scrapAllowance, from: serials.from, to: serials.to },
    }),
  ])
  const counts = { issued: 0, good: 0, scrap: 0 }
  return { ...{ id, orderId: order.id, line: line.name, quota, scrapAllowance, serials }, ...counts, state: 'open', createdAt }
}

/** Nothing more is born of it; what it did not use goes back to the order. @throws TrustError `conflict` */
export async function endAllotment(context: OrdersContext, name: string, id: string, actor: string): Promise<void> {
  const { db, audit } = context
  const order = await openOwnOrder(context, name, actor)
  await keep(db, [
    nextVersion(order), // a ticket that is issued meanwhile looks again at what is left
    {
      sql: `UPDATE order_allotment SET version = version + 1, state = 'ended' WHERE id = ? AND order_id = ? AND state = 'open' RETURNING state`,
      parameters: [id, order.id],
      expects: { state: 'ended' },
      refusal: () => new TrustError('conflict', 'allotmentNotOpen'),
    },
    audit.statement({
      actor,
      act: 'order.end-allotment',
      object: `order:${order.id}`,
      outcome: 'done',
      facts: { allotment: id },
    }),
  ])
}

// --- births ---

/** A device that is about to be born at a line that bears only what is ordered. */
interface ToBeCounted {
  readonly lineId: string
  readonly line: string
  readonly productSerial: string
  /** As the audit log names it. */
  readonly station: string
}

interface CountedBirth {
  /** The allotment's id. */
  readonly job: string
  /** By name. */
  readonly order: string
  /** Count it; they end where nothing is left. Kept with the birth. */
  stepsFor(signed: { readonly keyHash: Uint8Array; readonly certificate: Uint8Array }): readonly Step[]
}

/**
 * A first look, before anything is signed; the steps decide between births that race.
 *
 * @throws TrustError `policyRefused` (`birthNotOrdered`) where no order is open for the line or the serial number is not of its
 *   block; `quotaExceeded`
 */
export async function countBirth(
  { db, world, organizationId }: Pick<OrdersContext, 'db' | 'world' | 'organizationId'>,
  { lineId, line, productSerial, station }: ToBeCounted,
): Promise<CountedBirth> {
  const [row] = await db.query(
    `SELECT a.* FROM order_allotment a JOIN production_order o ON o.id = a.order_id
      WHERE a.line_id = ? AND a.organization_id = ? AND a.state = 'open' AND o.state = 'open'`,
    ...[lineId, organizationId],
  )
  const notOrdered = (): TrustError => new TrustError('policyRefused', 'birthNotOrdered', { facts: { line } })
  if (row === undefined) throw notOrdered()
  const [found] = await db.query('SELECT * FROM production_order WHERE id = ?', row['order_id'] as string)
  const order = orderOf(found as Row) // the allotment refers to it
  const { id, serials, quota, issued, scrap, scrapAllowance } = allotmentOf(row, order.terms.serials)
  const now = world.clock.now()
  if (now < order.terms.notBefore || now >= order.terms.notAfter) throw notOrdered()
  if (!isInBlock(serials, productSerial))
    throw new TrustError('policyRefused', 'serialOutsideBlock', { facts: { productSerial } })
  const usedUp = (): TrustError => new TrustError('quotaExceeded', 'allotmentUsedUp', { facts: { line, quota } })
  if (issued - scrap >= quota || issued >= quota + scrapAllowance) throw usedUp()
  return {
    job: id,
    order: order.name,
    stepsFor: ({ keyHash, certificate }) => [
      {
        sql: `UPDATE order_allotment SET issued = issued + 1, entries = entries + 1, version = version + 1
            WHERE id = ? AND state = 'open' AND issued - scrap < quota AND issued < quota + scrap_allowance RETURNING state`,
        parameters: [id],
        expects: { state: 'open' },
        refusal: usedUp,
      },
      entryStep(id, organizationId, {
        ...{ type: 'issue', position: true, productSerial, station, at: now },
        ...{ keyHash: keyHash.toHex(), certificate, detail: null },
      }),
    ],
  }
}

interface Entry {
  readonly type: 'issue' | 'good' | 'scrap'
  /** Whether it has one: its number among births. */
  readonly position: boolean
  readonly productSerial: string
  readonly keyHash: string | null
  readonly certificate: Uint8Array | null
  readonly detail: string | null
  readonly station: string
  readonly at: number
}

/** In the place that the counters, counted just before, give it. */
const entryStep = (id: string, organizationId: string, entry: Entry): Step => ({
  sql: `INSERT INTO job_entry (job_id, organization_id, n, type, position, product_serial, key_hash, certificate_hash, certificate, detail,
      station, at) VALUES (?, ?, (SELECT entries - 1 FROM order_allotment WHERE id = ?), ?,
      ${entry.position ? '(SELECT issued - 1 FROM order_allotment WHERE id = ?)' : 'NULL'}, ?, ?, ?, ?, ?, ?, ?)`,
  parameters: [
    ...[id, organizationId, id, entry.type],
    ...(entry.position ? [id] : []),
    ...[entry.productSerial, entry.keyHash, entry.certificate === null ? null : hash('sha256', entry.certificate)],
    ...[entry.certificate, entry.detail, entry.station, entry.at],
  ],
})

// --- what the end of the line found ---

export interface Judgement {
  readonly productSerial: string
  readonly verdict: 'good' | 'scrap'
  /** Of scrap. */
  readonly reason?: string
}

/**
 * Good may become scrap, and nothing comes back from scrap. What is scrapped may be born anew, under another serial number.
 *
 * Also of a part that ended: what is born is judged until the order is closed.
 *
 * @throws TrustError `notFound` (`notBornHere`); `conflict` (`judgedAlready`), also when the device is too far for it
 */
export async function judge(
  context: OrdersContext,
  name: string,
  { productSerial, verdict, reason }: Judgement,
  actor: string,
): Promise<void> {
  const { db, audit, world, organizationId } = context
  const order = await openOrder(context, name)
  if (order.state !== 'open') throw new TrustError('conflict', 'orderClosed', { facts: { order: name } })
  const [row] = await db.query(
    `SELECT a.id, v.verdict FROM order_allotment a JOIN job_entry e ON e.job_id = a.id AND e.type = 'issue'
      LEFT JOIN order_verdict v ON v.order_id = a.order_id AND v.product_serial = e.product_serial
      WHERE a.order_id = ? AND e.product_serial = ?`,
    ...[order.id, productSerial],
  )
  if (row === undefined) throw new TrustError('notFound', 'notBornHere')
  const [id, before] = [row['id'] as string, (row['verdict'] as string | null) ?? undefined]
  const judged = (): TrustError => new TrustError('conflict', 'judgedAlready', { facts: { judged: before ?? verdict } })
  if (before === 'scrap' || before === verdict) throw judged()
  const { model } = order.terms
  const steps = await context.stepsToJudge({ model, job: id, productSerial }, verdict, actor)
  const counted = verdict === 'good' ? 'good = good + 1' : `scrap = scrap + 1, good = good - ${before === 'good' ? 1 : 0}`
  await keep(db, [
    before === undefined
      ? {
          sql: 'INSERT INTO order_verdict (organization_id, order_id, product_serial, verdict) VALUES (?, ?, ?, ?)',
          parameters: [organizationId, order.id, productSerial, verdict],
          refusal: judged,
        }
      : {
          sql: `UPDATE order_verdict SET verdict = 'scrap' WHERE order_id = ? AND product_serial = ? AND verdict = 'good' RETURNING verdict`,
          parameters: [order.id, productSerial],
          expects: { verdict: 'scrap' },
          refusal: judged,
        },
    {
      sql: `UPDATE order_allotment SET ${counted}, entries = entries + 1, version = version + 1 WHERE id = ?`,
      parameters: [id],
    },
    entryStep(id, organizationId, {
      ...{ type: verdict, position: false, productSerial, keyHash: null, certificate: null },
      ...{ detail: reason ?? null, station: actor, at: world.clock.now() },
    }),
    ...steps,
    audit.statement({
      ...{ actor, act: 'order.judge', object: `order:${order.id}`, outcome: 'done' },
      facts: { productSerial, verdict, ...(reason !== undefined && { reason }) },
    }),
  ])
}
