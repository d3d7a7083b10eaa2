/** What was used, for whoever bills: the amounts of a period by owner, device and counter, with the evidence for each. @module */
import { createHash } from 'node:crypto'
import type { Row } from '#store/database.ts'
import type { UsageContext } from './usage.ts'

export interface ExportQuery {
  /** Of periods that end from here on. */
  readonly from: number
  /** And before here. */
  readonly to: number
  readonly owner?: string | undefined
  readonly deviceId?: string | undefined
}

/** One line of a bill. */
export interface UsageTotal {
  readonly owner: string
  readonly deviceId: string
  readonly productSerial: string
  readonly model: string
  readonly counter: string
  readonly unit: string
  readonly amount: number
  /** The counter's total after the last of the records. */
  readonly value: number
  readonly records: number
  /** Records between them that never came; what they held is in the amount. */
  readonly missing: number
  readonly firstAt: number
  readonly lastAt: number
  /** SHA-256 over the digests of the records with this counter, in their order: whoever has them proves the line. */
  readonly evidence: string
}

interface AmountRow extends Row {
  readonly owner: string
  readonly device_id: string
  readonly product_serial: string
  readonly model: string
  readonly digest: string
  readonly missing: number
  readonly from_at: number
  readonly to_at: number
  readonly name: string
  readonly unit: string
  readonly value: number
  readonly amount: number
}

/** In the order of owner, device and counter, without holding more than one line. */
export async function* usageTotals(
  context: UsageContext,
  { from, to, owner, deviceId }: ExportQuery,
): AsyncGenerator<UsageTotal> {
  const asked: readonly (readonly [string, string | undefined])[] = [
    ['r.owner = ?', owner],
    ['r.device_id = ?', deviceId],
  ]
  const given = asked.flatMap(([condition, value]) => (value === undefined ? [] : [[condition, value] as const]))
  const rows = context.db.iterate<AmountRow>(
    `SELECT r.owner, r.device_id, r.product_serial, r.model, r.digest, r.missing, r.from_at, r.to_at, a.name, a.unit, a.value, a.amount
      FROM usage_record r JOIN usage_amount a ON a.record_id = r.id
      WHERE r.organization_id = ? AND r.to_at >= ? AND r.to_at < ?${given.map(([condition]) => ` AND ${condition}`).join('')}
      ORDER BY r.owner, r.device_id, a.name, r.to_at, r.received_at, r.number`,
    ...[context.organizationId, from, to, ...given.map(([, value]) => value)],
  )
  let line: Line | undefined
  for await (const row of rows) {
    if (line !== undefined && !isSame(line.first, row)) {
      yield totalOf(line)
      line = undefined
    }
    line ??= { first: row, last: row, amount: 0, records: 0, missing: 0, evidence: createHash('sha256') }
    line.last = row
    line.amount += row.amount
    line.records++
    line.missing += row.missing
    line.evidence.update(Uint8Array.fromHex(row.digest))
  }
  if (line !== undefined) yield totalOf(line)
}

interface Line {
  readonly first: AmountRow
  last: AmountRow
  amount: number
  records: number
  missing: number
  readonly evidence: ReturnType<typeof createHash>
}

const isSame = (a: AmountRow, b: AmountRow): boolean =>
  a.owner === b.owner && a.device_id === b.device_id && a.name === b.name && a.unit === b.unit

const totalOf = ({ first, last, amount, records, missing, evidence }: Line): UsageTotal => ({
  ...{ owner: first.owner, deviceId: first.device_id, productSerial: first.product_serial, model: first.model },
  ...{ counter: first.name, unit: first.unit, amount, value: last.value, records, missing },
  ...{ firstAt: first.from_at, lastAt: last.to_at, evidence: evidence.digest('hex') },
})
