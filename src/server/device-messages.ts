/**
 * Who may send and get device messages over HTTP, and which room fills which kind.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import type { DevicesContext } from '#devices/context.ts'
import { type CertificateFacts, isUsable } from '#devices/usable.ts'
import type { DeviceMessagesService, Mailboxes } from '#protocols/device-messages/index.ts'

export interface DeviceMessagesParts extends Pick<DevicesContext, 'db' | 'world'> {
  /** The CA's record of this very certificate. @returns undefined for one that it did not issue */
  certificate(der: Uint8Array): Promise<CertificateFacts | undefined>
}

/** A connection has no other name than its certificate's, so that the rule `connect` asks for no more than that it is usable. */
export const deviceMessagesService = (
  { db, world, certificate }: DeviceMessagesParts,
  mailboxes: Mailboxes,
): DeviceMessagesService => ({
  mailboxes,
  async admit([own]) {
    if (own === undefined) throw new TrustError('unauthenticated', 'deviceCertificateNeeded')
    const facts = await certificate(own)
    if (facts === undefined) throw new TrustError('unauthenticated', 'certificateUnknown')
    const usable = await isUsable(db, facts, world.clock.now())
    if (!usable.isUsable) throw new TrustError('forbidden', usable.reason)
    return usable.deviceId
  },
})
