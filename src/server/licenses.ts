/** Licenses with what they need of other rooms: devices, their births, and who may issue for whom. @module */
import { importPublicKey, type PublicKey } from '#algorithms/public-key.ts'
import { asTrustError } from '#base/errors.ts'
import type { DevicesContext } from '#devices/context.ts'
import { type Device, objectOf, openDevice } from '#devices/device.ts'
import { openOrganization } from '#devices/organizations.ts'
import { carriedOf } from '#devices/ownership/transfers.ts'
import { checkRules } from '#devices/rules.ts'
import type { LicensedDevice, LicensesContext } from '#licenses/context.ts'
import { messagesAfter } from '#licenses/status.ts'
import { birthCertificateOf } from '#orders/born.ts'
import type { Mailbox } from '#protocols/device-messages/index.ts'
import type { Signing } from '#signing/service.ts'
import type { Row } from '#store/database.ts'
import { parseCertificate } from '#x509/certificate.ts'
import type { DeviceServices, Foundation } from './compose.ts'

type Devices = Pick<DeviceServices, 'context' | 'ownership'>

export const openLicenses = (
  { db, audit, world, organizationId }: Foundation,
  devices: Devices,
  signing: Signing,
): LicensesContext => ({
  ...{ db, audit, world, organizationId, signing },
  device: (id) => licensedDevice(devices, id),
  epochsOf: (ids) => epochsOf(devices.context, ids),
  checkMayIssue: ({ by, deviceId, isMaker }) =>
    checkRules(
      { audit },
      { actor: by.actor, act: 'license.issue', object: objectOf({ id: deviceId }) },
      new Set(isMaker ? ['maker-of-model'] : []),
    ),
})

/** What devices fetch: nothing is signed then. */
export const licenseMailbox = (devices: Devices): Mailbox => {
  const { db, organizationId } = devices.context
  const maker = async (deviceId: string): Promise<string> =>
    (await openOrganization(db, (await openDevice(devices.context, db, deviceId)).manufacturerId)).name
  return {
    list: async (deviceId, after) => messagesAfter({ db, organizationId }, { deviceId, maker: await maker(deviceId) }, after),
  }
}

const ENDED: ReadonlySet<Device['state']> = new Set<Device['state']>(['scrapped', 'decommissioned', 'quarantined'])

async function licensedDevice(devices: Devices, id: string): Promise<LicensedDevice> {
  const { context } = devices
  const { db } = context
  const device = await openDevice(context, db, id)
  const [manufacturer, owner, [model]] = await Promise.all([
    openOrganization(db, device.manufacturerId),
    device.ownerId === undefined ? undefined : openOrganization(db, device.ownerId),
    db.query<Row & { readonly name: string }>('SELECT name FROM product_model WHERE id = ?', device.modelId),
  ])
  return {
    ...{ id, productSerial: device.productSerial, manufacturer: manufacturer.name, epoch: device.epoch },
    model: `${manufacturer.name}/${model?.name ?? ''}`,
    birthKey: await birthKeyOf(devices, id),
    isCutOff: ENDED.has(device.state) || device.flags.length > 0,
    owner: owner?.name,
  }
}

/** From the birth certificate: issued here, by a node of an order, or brought along from elsewhere. */
async function birthKeyOf({ context, ownership }: Devices, id: string): Promise<PublicKey | undefined> {
  const [birth] = await context.db.query<Row & { readonly key_hash: Uint8Array }>(
    'SELECT key_hash FROM birth_record WHERE device_id = ?',
    id,
  )
  if (birth === undefined) return undefined
  const der = (await birthCertificateOf(context, birth.key_hash)) ?? (await carriedCertificate(ownership, id))
  return der && importPublicKey(parseCertificate(der).subjectPublicKeyInfo)
}

async function carriedCertificate(ownership: Devices['ownership'], id: string): Promise<Uint8Array | undefined> {
  try {
    const { certificates } = await carriedOf(ownership, id)
    return certificates[0]
  } catch (error) {
    if (asTrustError(error).code === 'notFound') return undefined
    throw error
  }
}

async function epochsOf({ db, organizationId }: DevicesContext, ids: readonly string[]): Promise<ReadonlyMap<string, number>> {
  const rows = await db.query<Row & { readonly id: string; readonly epoch: number }>(
    `SELECT id, epoch FROM device WHERE organization_id = ? AND id IN (${ids.map(() => '?').join(', ')})`,
    ...[organizationId, ...ids],
  )
  return new Map(rows.map(({ id, epoch }) => [id, epoch]))
}
