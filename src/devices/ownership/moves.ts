/**
 * Moves between areas of one owner: the device gets a certificate of the next area, uses it, and loses that of the former. What
 * it does not use in time is taken back, and it stays what it was.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import { keep, type Step } from '#store/batch.ts'
import { checkAdmits, findArea } from '../areas.ts'
import { stepsToChange } from '../change.ts'
import type { DevicesContext } from '../context.ts'
import { type Device, openDevice } from '../device.ts'
import { openOrganization } from '../organizations.ts'
import { checkSpeaks } from '../speakers.ts'
import type { DeviceState } from '../states.ts'

/**
 * From now on the device may get a certificate of this area; until it uses it, that of its present area stays good.
 *
 * @throws TrustError `policyRefused` when the area does not take it, `conflict` when it is not active, `notFound`
 */
export async function moveDevice(
  context: DevicesContext,
  { deviceId, area: name }: { readonly deviceId: string; readonly area: string },
  actor: string,
): Promise<Device> {
  const { db } = context
  const device = await openDevice(context, db, deviceId)
  if (device.ownerId === undefined)
    throw new TrustError('conflict', 'deviceState', { facts: { state: device.state, act: 'change-area' } })
  await checkSpeaks(db, await openOrganization(db, device.ownerId), actor)
  const area = await findArea(db, device.ownerId, name)
  checkAdmits(area, device)
  if (area.id === device.areaId) throw new TrustError('conflict', 'deviceInArea', { facts: { name } })
  await keep(db, stepsToChange(context, device, { act: 'change-area', actor, areaId: area.id, facts: { area: name } }))
  return openDevice(context, db, deviceId)
}

/** The move is given up: what was issued for the next area is revoked. @throws TrustError `conflict` */
export async function stayDevice(context: DevicesContext, deviceId: string, actor: string): Promise<Device> {
  const { db } = context
  const device = await openDevice(context, db, deviceId)
  if (device.ownerId !== undefined) await checkSpeaks(db, await openOrganization(db, device.ownerId), actor)
  await keep(db, stepsToChange(context, device, { act: 'stay', actor }))
  return openDevice(context, db, deviceId)
}

const BATCH = 100

/**
 * Certificates that no device was seen to use in time are revoked: they may be anywhere. A device that was to begin or to move
 * with one is what it was before.
 *
 * @returns how many were taken back; call again while there are some
 */
export async function takeBackUnconfirmed(context: DevicesContext, hours: number): Promise<number> {
  const { db, world } = context
  const before = world.clock.now() - hours * 3_600_000
  const rows = await db.query<{ certificate_id: string; device_id: string }>(
    `SELECT certificate_id, device_id FROM device_certificate WHERE role = 'operational' AND standing = 'issued' AND created_at < ?
      ORDER BY created_at LIMIT ?`,
    ...[before, BATCH],
  )
  for (const { certificate_id: certificateId, device_id: deviceId } of rows) {
    const device = await openDevice(context, db, deviceId)
    try {
      await keep(db, await stepsToTakeBack(context, device, certificateId, before))
    } catch (error) {
      if (!(error instanceof TrustError) || error.code !== 'conflict') throw error // it changed meanwhile: the next round looks again
    }
  }
  return rows.length
}

const GIVING_UP: Readonly<Partial<Record<DeviceState, 'leave' | 'stay'>>> = { onboarding: 'leave', 'area-change': 'stay' }

async function stepsToTakeBack(
  context: DevicesContext,
  device: Device,
  certificateId: string,
  before: number,
): Promise<readonly Step[]> {
  const actor = 'system'
  const facts = { certificate: certificateId }
  const act = GIVING_UP[device.state]
  const area = device.state === 'area-change' ? device.nextAreaId : device.areaId
  const [younger] = await context.db.query(
    `SELECT certificate_id FROM device_certificate WHERE device_id = ? AND area_id = ? AND role = 'operational' AND standing = 'issued'
      AND created_at >= ? LIMIT 1`,
    ...[device.id, area ?? '', before],
  )
  const givesUp = act !== undefined && younger === undefined
  return [
    ...(givesUp ? stepsToChange(context, device, { act, actor, facts }) : []),
    {
      sql: `UPDATE device_certificate SET version = version + 1, standing = 'former', due = 'cessationOfOperation'
          WHERE certificate_id = ? AND standing = 'issued'`,
      parameters: [certificateId],
    },
    context.audit.statement({ actor, act: 'device.unconfirmed', object: `device:${device.id}`, outcome: 'done', facts }),
  ]
}
