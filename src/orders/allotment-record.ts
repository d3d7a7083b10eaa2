/** What an order gave to a line of the server, as it is kept. @module */
import type { Row } from '#store/database.ts'
import type { SerialBlock } from './messages.ts'
import type { OrdersContext, ProductionOrder } from './orders.ts'

export interface Allotment {
  readonly id: string
  readonly orderId: string
  /** Name of the line. */
  readonly line: string
  readonly quota: number
  readonly scrapAllowance: number
  readonly serials: SerialBlock
  readonly issued: number
  readonly good: number
  readonly scrap: number
  readonly state: 'open' | 'ended'
  readonly createdAt: number
}

export async function allotmentsOf(
  { db }: Pick<OrdersContext, 'db'>,
  { id, terms }: Pick<ProductionOrder, 'id' | 'terms'>,
): Promise<readonly Allotment[]> {
  const rows = await db.query('SELECT * FROM order_allotment WHERE order_id = ? ORDER BY id', id)
  return rows.map((row) => allotmentOf(row, terms.serials))
}

export const allotmentOf = (row: Row, serials: SerialBlock): Allotment => ({
  id: row['id'] as string,
  orderId: row['order_id'] as string,
  line: row['line'] as string,
  quota: row['quota'] as number,
  scrapAllowance: row['scrap_allowance'] as number,
  serials: { ...serials, from: row['serial_from'] as number, to: row['serial_to'] as number },
  issued: row['issued'] as number,
  good: row['good'] as number,
  scrap: row['scrap'] as number,
  state: row['state'] as Allotment['state'],
  createdAt: row['created_at'] as number,
})
