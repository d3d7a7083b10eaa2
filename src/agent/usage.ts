/**
 * Usage records on their way: made each hour in which something was counted, signed when they are sent, and kept until the server
 * has them.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import { deviceMessagesClient } from '#protocols/device-messages/client.ts'
import { signUsage } from '#usage/messages.ts'
import { type Device, TIMEOUT_SECONDS } from './device.ts'
import { openUsageStore, type UsageStore } from './usage-store.ts'

/** Bills are made by the hour at the finest; more records cost more than they tell. */
export const PERIOD_SECONDS = 3600

/** @returns a line for whoever runs the agent, where something was sent */
export async function sendUsage(device: Device): Promise<string | undefined> {
  using store = openUsageStore(device.directory.path, device.world)
  store.close(PERIOD_SECONDS)
  if (store.unsent().length === 0) return undefined
  const { server } = device.directory.settings()
  const client = deviceMessagesClient({ server, tls: await device.tls(), timeoutSeconds: TIMEOUT_SECONDS })
  try {
    return await sendEach(store, device, (octets) => client.send('usage', octets))
  } finally {
    client.close()
  }
}

/** In their order; where one is refused, the others wait: an officer has to look. @throws TrustError with the server's word */
export async function sendEach(
  store: UsageStore,
  device: Pick<Device, 'identity'>,
  send: (octets: Uint8Array) => Promise<unknown>,
): Promise<string> {
  const { chain, key } = await device.identity()
  const [certificate] = chain
  if (certificate === undefined) throw new TrustError('notFound', 'agentNotEnrolled')
  let last = 0
  for (const { number, payload } of store.unsent()) {
    await send(await signUsage(payload, { certificate, ...key }))
    store.sent(number)
    last = number
  }
  return `usage record ${last}`
}
