/** Usage with what it needs of other rooms: whose certificate signed, and whose the device was. @module */
import { TrustError } from '#base/errors.ts'
import type { DevicesContext } from '#devices/context.ts'
import { describeDevice } from '#devices/described.ts'
import { type CertificateFacts, isUsable } from '#devices/usable.ts'
import type { Mailbox } from '#protocols/device-messages/index.ts'
import type { Row } from '#store/database.ts'
import { USAGE_MAX_OCTETS } from '#usage/messages.ts'
import { takeUsage, type UsageContext } from '#usage/usage.ts'

/** @param certificate the CA's record of this very certificate; undefined for one that it did not issue */
export const openUsage = (
  devices: DevicesContext,
  certificate: (der: Uint8Array) => Promise<CertificateFacts | undefined>,
): UsageContext => {
  const { db, audit, world, organizationId } = devices
  return {
    ...{ db, audit, world, organizationId },
    async device(id) {
      const { productSerial, manufacturer, model } = await describeDevice(devices, id)
      return { id, productSerial, model: `${manufacturer}/${model}` }
    },
    async deviceOf(der) {
      const facts = await certificate(der)
      if (facts === undefined) throw new TrustError('unauthenticated', 'certificateUnknown')
      const usable = await isUsable(db, facts, world.clock.now())
      if (!usable.isUsable) throw new TrustError('forbidden', usable.reason)
      return usable.deviceId
    },
    async ownerAt(deviceId, at) {
      const [row] = await db.query<Row & { readonly name: string }>(
        `SELECT o.name FROM ownership_epoch e JOIN organization o ON o.id = e.owner_id
          WHERE e.device_id = ? AND e.opened_at <= ? AND (e.closed_at IS NULL OR e.closed_at > ?) ORDER BY e.epoch DESC LIMIT 1`,
        ...[deviceId, at, at],
      )
      return row?.name ?? ''
    },
  }
}

export const usageMailbox = (context: UsageContext): Mailbox => ({
  take: {
    maxOctets: USAGE_MAX_OCTETS,
    async run(deviceId, octets) {
      await takeUsage(context, deviceId, octets)
      return undefined
    },
  },
})
