/** Licenses with what they need of other rooms: devices, their births, and who may issue for whom. @module */
import { importPublicKey, type PublicKey } from '#algorithms/public-key.ts'
import { asTrustError } from '#base/errors.ts'
import type { DevicesContext } from '#devices/context.ts'
import { describeDevice } from '#devices/described.ts'
import { type Device, objectOf, openDevice } from '#devices/device.ts'
import { findOrganization } from '#devices/organizations.ts'
import { carriedOf } from '#devices/ownership/transfers.ts'
import { checkRules } from '#devices/rules.ts'
import { checkSpeaks } from '#devices/speakers.ts'
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
  checkSpeaks: async (maker, actor) => checkSpeaks(db, await findOrganization(devices.context, db, maker), actor),
  async checkMayIssue({ by, deviceId, maker }) {
    const { manufacturer } = await describeDevice(devices.context, deviceId)
    const speaks = manufacturer === maker && (await speaksFor(devices.context, maker, by.actor))
    const asked = { actor: by.actor, act: 'license.issue', object: objectOf({ id: deviceId }), facts: { maker } } as const
    await checkRules({ audit }, asked, new Set(speaks ? ['maker-of-model'] : []))
  },
})

/** What devices fetch: nothing is signed then. */
export const licenseMailbox = (devices: Devices): Mailbox => {
  const { db, organizationId } = devices.context
  const maker = async (deviceId: string): Promise<string> => (await describeDevice(devices.context, deviceId)).manufacturer
  return {
    list: async (deviceId, after) => messagesAfter({ db, organizationId }, { deviceId, maker: await maker(deviceId) }, after),
  }
}

/** Of those who ask; licenses are the maker's to give, whoever else has the role. */
async function speaksFor(context: DevicesContext, maker: string, actor: string): Promise<boolean> {
  try {
    await checkSpeaks(context.db, await findOrganization(context, context.db, maker), actor)
    return true
  } catch (error) {
    if (asTrustError(error).code === 'forbidden') return false
    throw error
  }
}

const ENDED: ReadonlySet<Device['state']> = new Set<Device['state']>(['scrapped', 'decommissioned', 'quarantined'])

async function licensedDevice(devices: Devices, id: string): Promise<LicensedDevice> {
  const { context } = devices
  const [described, { state, flags }] = await Promise.all([describeDevice(context, id), openDevice(context, context.db, id)])
  const { manufacturer, model, productSerial, owner, epoch, birthKey } = described
  return {
    ...{ id, productSerial, manufacturer, owner, epoch },
    model: `${manufacturer}/${model}`,
    birthKey: birthKey && (await birthKeyOf(devices, id, birthKey)),
    isCutOff: ENDED.has(state) || flags.length > 0,
  }
}

/** From the birth certificate: issued here, by a node of an order, or brought along from elsewhere. */
async function birthKeyOf({ context, ownership }: Devices, id: string, keyHash: Uint8Array): Promise<PublicKey | undefined> {
  const der = (await birthCertificateOf(context, keyHash)) ?? (await carriedCertificate(ownership, id))
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
