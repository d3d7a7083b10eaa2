/**
 * Who may send and get device messages over HTTP, and which room fills which kind.
 *
 * @module
 */
import type { DeviceConnections } from '#devices/connections.ts'
import type { DeviceMessagesService, Mailboxes } from '#protocols/device-messages/index.ts'

/**
 * A connection has no other name than its certificate's. A device whose operational key cannot speak TLS (it lies in a TPM)
 * connects with its birth certificate; what it sends is signed by the operational key all the same.
 */
export const deviceMessagesService = (
  connections: Pick<DeviceConnections, 'admit'>,
  mailboxes: Mailboxes,
): DeviceMessagesService => ({
  mailboxes,
  async admit(chain) {
    const question = { protocol: 'device-messages', name: undefined, roles: ['operational', 'birth'] } as const
    return (await connections.admit(chain, question)).deviceId
  },
})
