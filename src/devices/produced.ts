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
 * @throws TrustError `conflict` when the device is too far to be scrapped
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
  if (verdict === 'release' ? device.state !== 'born' : device.state === 'scrapped') return []
  return stepsToChange(context, device, { act: verdict, actor, facts: { job } })
}

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
