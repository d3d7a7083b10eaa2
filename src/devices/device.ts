/** Records of devices and what belongs to them. @module */
import { TrustError } from '#base/errors.ts'
import type { Queries, Row } from '#store/database.ts'
import type { DevicesContext } from './context.ts'
import type { DeviceState } from './states.ts'

/** How a device got its first key. */
export const birthVariants = ['tpm', 'secure-element', 'software', 'external'] as const
export type BirthVariant = (typeof birthVariants)[number]

/** Where a key is kept; `gateway`: by the gateway that speaks for the device. */
export type KeyOrigin = BirthVariant | 'gateway'
export type KeyPurpose = 'idevid' | 'attestation' | 'operational' | 'signing'

/** How well it is known which hardware holds a key: 0 is unknown, 4 is proven by a TPM's maker. */
export type AssuranceLevel = 0 | 1 | 2 | 3 | 4

/** What each variant proves when its evidence was checked; a lower level may be recorded, never a higher one. */
export const assuranceOf = {
  tpm: 4,
  'secure-element': 4,
  software: 2,
  external: 2,
} as const satisfies Record<BirthVariant, AssuranceLevel>

/** Of a device that a gateway speaks for: unknown, or vouched for by the gateway. Whatever is better known speaks for itself. */
export const PROXIED_ASSURANCE_MAX = 1

export const deviceKinds = ['device', 'gateway', 'infrastructure', 'system'] as const
export type DeviceKind = (typeof deviceKinds)[number]

export const deviceFlags = ['lost', 'stolen', 'clone'] as const
/** What is said of a device whatever its state; each of them keeps its certificates from being used. */
export type DeviceFlag = (typeof deviceFlags)[number]

export interface Device {
  readonly id: string
  /** Grows with every change: who changes an older one is refused. */
  readonly version: number
  readonly manufacturerId: string
  readonly modelId: string
  readonly revisionId: string | undefined
  readonly kind: DeviceKind
  /** Once for its manufacturer, without regard to case. */
  readonly productSerial: string
  readonly state: DeviceState
  /** What it was, while it is quarantined. */
  readonly quarantinedFrom: DeviceState | undefined
  /** What it was, while it is offered or its transfer is pending. */
  readonly givenFrom: DeviceState | undefined
  readonly assurance: AssuranceLevel
  /** Of its ownership; 0 before anybody claimed it. */
  readonly epoch: number
  readonly ownerId: string | undefined
  readonly areaId: string | undefined
  /** While the area is changed. */
  readonly nextAreaId: string | undefined
  readonly flags: readonly DeviceFlag[]
  readonly createdAt: number
  readonly changedAt: number
}

export const DEVICE_COLUMNS = `device.id, device.version, device.manufacturer_id, device.model_id, device.revision_id, device.kind,
  device.product_serial, device.state, device.quarantined_from, device.given_from, device.assurance, device.epoch, device.owner_id,
  device.area_id, device.next_area_id, device.is_lost, device.is_stolen, device.is_clone, device.created_at, device.changed_at`

export const deviceOf = (row: Row): Device => ({
  id: row['id'] as string,
  version: row['version'] as number,
  manufacturerId: row['manufacturer_id'] as string,
  modelId: row['model_id'] as string,
  revisionId: textOf(row['revision_id']),
  kind: row['kind'] as DeviceKind,
  productSerial: row['product_serial'] as string,
  state: row['state'] as DeviceState,
  quarantinedFrom: textOf(row['quarantined_from']) as DeviceState | undefined,
  givenFrom: textOf(row['given_from']) as DeviceState | undefined,
  assurance: row['assurance'] as AssuranceLevel,
  epoch: row['epoch'] as number,
  ownerId: textOf(row['owner_id']),
  areaId: textOf(row['area_id']),
  nextAreaId: textOf(row['next_area_id']),
  flags: deviceFlags.filter((flag) => row[`is_${flag}`] === 1),
  createdAt: row['created_at'] as number,
  changedAt: row['changed_at'] as number,
})

const textOf = (value: Row[string] | undefined): string | undefined => (value as string | null) ?? undefined

export const objectOf = ({ id }: Pick<Device, 'id'>): string => `device:${id}`

/** @param db `tx` within a transaction @throws TrustError `notFound` */
export async function openDevice(
  { organizationId }: Pick<DevicesContext, 'organizationId'>,
  db: Queries,
  id: string,
): Promise<Device> {
  const [row] = await db.query(
    `SELECT ${DEVICE_COLUMNS} FROM device WHERE id = ? AND organization_id = ?`,
    ...[id, organizationId],
  )
  if (row === undefined) throw new TrustError('notFound', 'deviceUnknown', { facts: { device: id } })
  return deviceOf(row)
}
