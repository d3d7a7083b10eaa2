/** Devices are registered and found. @module */
import { type Facts, TrustError } from '#base/errors.ts'
import { uuidv7 } from '#base/world.ts'
import { keep, type Step } from '#store/batch.ts'
import type { SqlValue } from '#store/database.ts'
import { eventStep } from './change.ts'
import type { DevicesContext } from './context.ts'
import {
  type AssuranceLevel,
  type Device,
  DEVICE_COLUMNS,
  type DeviceFlag,
  type DeviceKind,
  deviceOf,
  objectOf,
} from './device.ts'
import type { DeviceState } from './states.ts'

export interface NewDevice {
  readonly manufacturerId: string
  readonly modelId: string
  readonly revisionId?: string
  /** `device` unless told. */
  readonly kind?: DeviceKind
  readonly productSerial: string
}

/** @throws TrustError `conflict`, `policyRefused` */
export async function registerDevice(context: DevicesContext, wanted: NewDevice, actor: string): Promise<Device> {
  const { device, steps } = stepsToRegister(context, wanted, actor)
  await keep(context.db, steps)
  return device
}

/** Of a device that nobody planned: what its birth says. */
export interface BornAs {
  readonly assurance: AssuranceLevel
  readonly facts: Facts
}

/**
 * They end with TrustError `conflict` when its manufacturer has the serial already, `policyRefused` when the model is not
 * the manufacturer's or not in use.
 *
 * @param born where it is registered by its birth
 */
export function stepsToRegister(
  context: DevicesContext,
  { manufacturerId, modelId, revisionId, kind = 'device', productSerial }: NewDevice,
  actor: string,
  born?: BornAs,
): { readonly device: Device; readonly steps: readonly Step[] } {
  const { world, audit, organizationId } = context
  const now = world.clock.now()
  const { assurance = 0, facts = {} } = born ?? {}
  const act = born === undefined ? 'register' : 'bear'
  const device: Device = {
    id: uuidv7(world),
    version: 1,
    manufacturerId,
    modelId,
    revisionId,
    kind,
    productSerial,
    state: born === undefined ? 'planned' : 'born',
    quarantinedFrom: undefined,
    givenFrom: undefined,
    assurance,
    epoch: 0,
    ownerId: undefined,
    areaId: undefined,
    nextAreaId: undefined,
    flags: [],
    createdAt: now,
    changedAt: now,
  }
  const steps: readonly Step[] = [
    modelStep(device),
    {
      sql: `INSERT INTO device (id, organization_id, version, manufacturer_id, model_id, revision_id, kind, product_serial, state,
          quarantined_from, given_from, assurance, epoch, owner_id, area_id, next_area_id, is_lost, is_stolen, is_clone, created_at, changed_at)
        VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?, NULL, NULL, ?, 0, NULL, NULL, NULL, 0, 0, 0, ?, ?)`,
      parameters: [
        ...[device.id, organizationId, manufacturerId, modelId, revisionId ?? null, kind, productSerial, device.state],
        ...[assurance, now, now],
      ],
      refusal: () => new TrustError('conflict', 'deviceExists', { facts: { productSerial } }),
    },
    eventStep(context, device, { act, actor, facts, from: undefined }),
    audit.statement({
      actor,
      act: `device.${act}`,
      object: objectOf(device),
      outcome: 'done',
      facts: { ...facts, productSerial },
    }),
  ]
  return { device, steps }
}

/** Ends with TrustError `policyRefused` unless devices of this level may be registered or born as this model. */
export const modelStep = ({ modelId, manufacturerId, assurance, state }: Device): Step => ({
  sql: `SELECT manufacturer_id, state, CASE WHEN assurance_min <= CAST(? AS INTEGER) THEN 1 ELSE 0 END AS is_enough
      FROM product_model WHERE id = ? FOR SHARE`,
  parameters: [assurance, modelId],
  expects: { manufacturer_id: manufacturerId, state: 'enabled', ...(state === 'born' && { is_enough: 1 }) },
  refusal: (row) =>
    new TrustError('policyRefused', row?.['is_enough'] === 0 && row['state'] === 'enabled' ? 'birthTooWeak' : 'modelNotUsable', {
      facts: { assurance },
    }),
})

export interface DeviceFilter {
  readonly productSerial?: string
  readonly manufacturerId?: string
  readonly modelId?: string
  readonly ownerId?: string
  readonly areaId?: string
  readonly state?: DeviceState
  readonly flag?: DeviceFlag
}

export interface DevicePage {
  readonly limit: number
  /** Id of the last device of the page before. */
  readonly after?: string
}

/** Newest first. */
export async function findDevices(
  { db, organizationId }: DevicesContext,
  filter: DeviceFilter,
  { limit, after }: DevicePage,
): Promise<readonly Device[]> {
  const wanted: [clause: string, value: SqlValue | undefined][] = [
    ['lower(product_serial) = lower(?)', filter.productSerial],
    ['manufacturer_id = ?', filter.manufacturerId],
    ['model_id = ?', filter.modelId],
    ['owner_id = ?', filter.ownerId],
    ['area_id = ?', filter.areaId],
    // the indexes of the few are found by the terms that they are made with
    [filter.state === 'active' ? 'state = ?' : "state <> 'active' AND state = ?", filter.state],
    [`is_lost + is_stolen + is_clone > 0 AND is_${filter.flag} = ?`, filter.flag === undefined ? undefined : 1],
    ['id < ?', after],
  ]
  const given = wanted.filter((one): one is [string, SqlValue] => one[1] !== undefined)
  const where = ['organization_id = ?', ...given.map(([clause]) => clause)].join(' AND ')
  const rows = await db.query(
    `SELECT ${DEVICE_COLUMNS} FROM device WHERE ${where} ORDER BY id DESC LIMIT ?`,
    ...[organizationId, ...given.map(([, value]) => value), limit],
  )
  return rows.map(deviceOf)
}
