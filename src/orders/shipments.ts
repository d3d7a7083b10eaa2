/**
 * What left the factory becomes `shipped` in the records of devices, as soon as they know it as good.
 *
 * Each shipment leaves a note in its own transaction; the note goes away in the transaction that changes the device, or when
 * there is nothing left to change. What is not known yet, or not found good yet, is tried again with the next reconciliation.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import { keep, type Step } from '#store/batch.ts'
import { PARTS_OF_ORDER } from './born.ts'
import { refusalIn } from './device-records.ts'
import type { OrdersContext, ProductionOrder } from './orders.ts'

/** Kept at once, and tried one by one where one of them is refused. */
const TOGETHER = 64
/** In one call, so that a request ends: the next goes on. */
const CALL_MAX = 20_000

/** What notes that these left the factory. */
export const shipmentSteps = (
  { world, organizationId }: Pick<OrdersContext, 'world' | 'organizationId'>,
  { id }: Pick<ProductionOrder, 'id'>,
  serials: readonly string[],
): readonly Step[] =>
  serials.flatMap((serial) => [
    {
      sql: `INSERT INTO order_shipment (organization_id, order_id, product_serial, shipped_at) VALUES (?, ?, ?, ?)
          ON CONFLICT (order_id, product_serial) DO NOTHING`,
      parameters: [organizationId, id, serial, world.clock.now()],
    },
    {
      sql: `INSERT INTO order_shipment_due (organization_id, order_id, product_serial) VALUES (?, ?, ?)
          ON CONFLICT (order_id, product_serial) DO NOTHING`,
      parameters: [organizationId, id, serial],
    },
  ])

/** Only what was born for this order: whoever ships for one says nothing of another's. */
export async function shipDue(context: OrdersContext, order: ProductionOrder, actor: string): Promise<void> {
  const { db, organizationId } = context
  let after = ''
  for (let done = 0; done < CALL_MAX; done += TOGETHER) {
    const rows = await db.query<{ product_serial: string }>(
      `SELECT d.product_serial FROM order_shipment_due d WHERE d.order_id = ? AND d.product_serial > ? AND EXISTS (
          SELECT 1 FROM job_entry e WHERE e.organization_id = ? AND e.product_serial = d.product_serial AND e.type = 'issue'
            AND e.job_id IN (${PARTS_OF_ORDER}))
        ORDER BY d.product_serial LIMIT ${TOGETHER}`,
      ...[order.id, after, organizationId, order.id, order.id],
    )
    const serials = rows.map((row) => row.product_serial)
    const last = serials.at(-1)
    if (last === undefined) return
    if (!(await shipTogether(context, order, serials, actor)))
      for (const serial of serials) await shipTogether(context, order, [serial], actor) // one that is refused waits
    after = last
  }
}

/** @returns whether nothing was wrong with any of them */
async function shipTogether(
  context: OrdersContext,
  { id, terms }: ProductionOrder,
  serials: readonly string[],
  actor: string,
): Promise<boolean> {
  try {
    const steps: Step[] = []
    for (const productSerial of serials) {
      const ship = await context.stepsToShip({ model: terms.model, productSerial, orderId: id }, actor)
      if (ship !== undefined) steps.push(settled(id, productSerial), ...ship)
    }
    if (steps.length > 0) await keep(context.db, steps)
    return true
  } catch (error) {
    refusalIn(error)
    return false
  }
}

/** Whoever is second at the same note keeps nothing. */
const settled = (orderId: string, productSerial: string): Step => ({
  sql: 'DELETE FROM order_shipment_due WHERE order_id = ? AND product_serial = ? RETURNING order_id',
  parameters: [orderId, productSerial],
  expects: { order_id: orderId },
  refusal: () => new TrustError('conflict', 'orderChanged'),
})
