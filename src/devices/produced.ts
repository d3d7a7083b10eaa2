/**
 * Devices that an issuing node bore without a network: what its log says of them becomes their record.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import type { Step } from '#store/batch.ts'
import { type Birth, stepsToBear, stepsToRecordBirth } from './birth-record.ts'
import { stepsToChange } from './change.ts'
import type { DevicesContext } from './context.ts'
import { type Device, DEVICE_COLUMNS, deviceOf } from './device.ts'
import type { ProductModel } from './models.ts'
import { findDevices } from './register.ts'
import type { DeviceState } from './states.ts'

export interface ProducedDevice {
  readonly model: ProductModel
  readonly revisionId: string | undefined
  readonly productSerial: string
}

/**
 * @returns steps that end as those of a birth do
 * @throws TrustError `conflict` for a serial that is born already, `policyRefused` when the model does not allow it
 */
export async function stepsForProduced(
  context: DevicesContext,
  { model, revisionId, productSerial }: ProducedDevice,
  birth: Birth,
  actor: string,
): Promise<readonly Step[]> {
  const { id: modelId, manufacturerId } = model
  const { variant } = birth
  if (!model.variants.includes(variant)) throw new TrustError('policyRefused', 'birthVariant', { facts: { variant } })
  const [planned] = await findDevices(context, { manufacturerId, productSerial }, { limit: 1 })
  if (planned === undefined) {
    const wanted = { manufacturerId, modelId, productSerial, ...(revisionId !== undefined && { revisionId }) }
    return stepsToBear(context, wanted, birth, actor).steps
  }
  if (planned.modelId !== modelId) throw new TrustError('policyRefused', 'birthModelOther', { facts: { productSerial } })
  if (planned.state !== 'planned' && planned.state !== 'keyed')
    throw new TrustError('conflict', 'deviceBorn', { facts: { productSerial } })
  return stepsToRecordBirth(context, planned, birth, actor)
}

/** What the end of the line found. */
export type Verdict = 'release' | 'scrap'

/**
 * Nothing for a device that was not born in this job, or where somebody said the same before.
 *
 * @throws TrustError `conflict` when the device is too far to be scrapped, or scrapped and said to be good
 */
export async function stepsForVerdict(
  context: DevicesContext,
  { model, job, productSerial }: { readonly model: ProductModel; readonly job: string; readonly productSerial: string },
  verdict: Verdict,
  actor: string,
): Promise<readonly Step[]> {
  const device = await bornIn(context, model, job, productSerial)
  if (device === undefined) return []
  // "good" moves a device that is at the line; wherever else it is by now, somebody decided more
  if (verdict === 'release' ? !TO_BE_RELEASED.has(device.state) : device.state === 'scrapped') return []
  return stepsToChange(context, device, { act: verdict, actor, facts: { job } })
}

/** What is scrapped is among them: nothing makes it good, and saying so is refused. */
const TO_BE_RELEASED: ReadonlySet<DeviceState> = new Set<DeviceState>(['born', 'scrapped'])

async function bornIn(
  { db, organizationId }: DevicesContext,
  { manufacturerId }: ProductModel,
  job: string,
  productSerial: string,
): Promise<Device | undefined> {
  const [row] = await db.query(
    `SELECT ${DEVICE_COLUMNS} FROM device JOIN birth_record b ON b.device_id = device.id
      WHERE lower(device.product_serial) = lower(?) AND device.manufacturer_id = ? AND device.organization_id = ? AND b.job = ?`,
    ...[productSerial, manufacturerId, organizationId, job],
  )
  return row && deviceOf(row)
}

/** @returns undefined while it is not known, or not found good yet; nothing for one that is further */
export async function stepsForShipment(
  context: DevicesContext,
  { model, productSerial }: { readonly model: ProductModel; readonly productSerial: string },
  facts: { readonly order: string },
  actor: string,
): Promise<readonly Step[] | undefined> {
  const [device] = await findDevices(context, { manufacturerId: model.manufacturerId, productSerial }, { limit: 1 })
  if (device === undefined || device.modelId !== model.id || NOT_JUDGED.has(device.state)) return undefined
  return device.state === 'released' ? stepsToChange(context, device, { act: 'ship', actor, facts }) : []
}

const NOT_JUDGED: ReadonlySet<DeviceState> = new Set<DeviceState>(['planned', 'keyed', 'born'])

/** A device that a production order counted. */
export interface OrderedDevice {
  readonly job: string
  readonly productSerial: string
  readonly epoch: number
  readonly areaId: string | undefined
}

/** By a certificate that it has. @returns undefined for a device that no job bore */
export async function orderedDeviceWith(
  { db, organizationId }: Pick<DevicesContext, 'db' | 'organizationId'>,
  certificateId: string,
): Promise<OrderedDevice | undefined> {
  const [row] = await db.query(
    `SELECT d.product_serial, d.epoch, d.area_id, b.job FROM device_certificate c JOIN device d ON d.id = c.device_id
      JOIN birth_record b ON b.device_id = d.id WHERE c.certificate_id = ? AND d.organization_id = ? AND b.job IS NOT NULL`,
    ...[certificateId, organizationId],
  )
  return (
    row && {
      job: row['job'] as string,
      productSerial: row['product_serial'] as string,
      epoch: row['epoch'] as number,
      areaId: (row['area_id'] as string | null) ?? undefined,
    }
  )
}

/** For which order and in which job or part a device was born. @returns undefined where none counted it */
export async function productionOf(
  { db }: Pick<DevicesContext, 'db'>,
  deviceId: string,
): Promise<{ readonly order: string; readonly job: string } | undefined> {
  const [row] = await db.query('SELECT job, evidence FROM birth_record WHERE device_id = ? AND job IS NOT NULL', deviceId)
  if (row === undefined) return undefined
  const { order } = JSON.parse(row['evidence'] as string) as { readonly order?: string }
  return { order: order ?? '', job: row['job'] as string }
}
