/** A device by the names that messages to it use, in one look-up. @module */
import { TrustError } from '#base/errors.ts'
import type { Row } from '#store/database.ts'
import type { DevicesContext } from './context.ts'
import { type DeviceState, statesInUse } from './states.ts'

export interface DescribedDevice {
  readonly id: string
  readonly manufacturer: string
  readonly productSerial: string
  /** SHA-256 of the SubjectPublicKeyInfo that it was born with; undefined for one that was not born. */
  readonly birthKey: Uint8Array | undefined
  readonly modelId: string
  readonly model: string
  readonly revision: string | undefined
  readonly owner: string | undefined
  readonly epoch: number
  readonly area: string | undefined
  /** In a state in which it works, and nobody says that it was lost, stolen or copied. */
  readonly isInUse: boolean
}

interface DescribedRow extends Row {
  readonly id: string
  readonly product_serial: string
  readonly state: DeviceState
  readonly epoch: number
  readonly model_id: string
  readonly flags: number
  readonly manufacturer: string
  readonly model: string
  readonly revision: string | null
  readonly owner: string | null
  readonly area: string | null
  readonly birth_key: Uint8Array | null
}

/** @throws TrustError `notFound` */
export async function describeDevice(
  { db, organizationId }: Pick<DevicesContext, 'db' | 'organizationId'>,
  id: string,
): Promise<DescribedDevice> {
  const [row] = await db.query<DescribedRow>(
    `SELECT d.id AS id, d.product_serial AS product_serial, d.state AS state, d.epoch AS epoch, d.model_id AS model_id,
        d.is_lost + d.is_stolen + d.is_clone AS flags, maker.name AS manufacturer, m.name AS model, r.name AS revision,
        owner.name AS owner, area.name AS area, b.key_hash AS birth_key
      FROM device d JOIN organization maker ON maker.id = d.manufacturer_id JOIN product_model m ON m.id = d.model_id
        LEFT JOIN hardware_revision r ON r.id = d.revision_id LEFT JOIN organization owner ON owner.id = d.owner_id
        LEFT JOIN application_area area ON area.id = d.area_id LEFT JOIN birth_record b ON b.device_id = d.id
      WHERE d.id = ? AND d.organization_id = ?`,
    ...[id, organizationId],
  )
  if (row === undefined) throw new TrustError('notFound', 'deviceUnknown', { facts: { device: id } })
  const { product_serial: productSerial, model_id: modelId, manufacturer, model, epoch } = row
  return {
    ...{ id, manufacturer, productSerial, modelId, model, epoch },
    birthKey: row.birth_key ?? undefined,
    revision: row.revision ?? undefined,
    owner: row.owner ?? undefined,
    area: row.area ?? undefined,
    isInUse: statesInUse.has(row.state) && row.flags === 0,
  }
}
