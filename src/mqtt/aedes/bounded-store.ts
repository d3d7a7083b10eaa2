/**
 * Bounds for what the broker keeps for devices that are away: its own store in memory has none.
 *
 * @module
 */
import type { Aedes } from 'aedes'

export interface StoreLimits {
  readonly messagesQueuedPerDevice: number
  readonly retainedPerDevice: number
}

interface Packet {
  readonly topic: string
  readonly payload: { readonly length: number }
}

/** What of the broker's store is bounded here; `aedes-persistence` describes it. */
interface Store {
  outgoingEnqueueCombi(subscriptions: readonly { readonly clientId: string }[], packet: Packet): Promise<void>
  outgoingClearMessageId(client: { readonly id: string }, packet: Packet): Promise<Packet | undefined>
  storeRetained(packet: Packet): Promise<void>
}

/** `iiot/ORGANIZATION/AREA/DEVICE`: a device writes only there, and by conduits. */
const SUBTREE_LEVELS = 4

/** Messages beyond the limits are not kept: a session that is away has the first ones, a subtree its first retained topics. */
export function boundStore(broker: Aedes, limits: StoreLimits): void {
  const { persistence: store } = broker as unknown as { readonly persistence: Store }
  const waiting = new Map<string, number>()
  const retained = new Map<string, Set<string>>()

  const enqueue = store.outgoingEnqueueCombi.bind(store)
  store.outgoingEnqueueCombi = (subscriptions, packet) => {
    const room = subscriptions.filter(({ clientId }) => (waiting.get(clientId) ?? 0) < limits.messagesQueuedPerDevice)
    for (const { clientId } of room) waiting.set(clientId, (waiting.get(clientId) ?? 0) + 1)
    return enqueue(room, packet)
  }

  const clear = store.outgoingClearMessageId.bind(store)
  store.outgoingClearMessageId = async (client, packet) => {
    const cleared = await clear(client, packet)
    const left = (waiting.get(client.id) ?? 0) - (cleared === undefined ? 0 : 1)
    if (left > 0) waiting.set(client.id, left)
    else waiting.delete(client.id)
    return cleared
  }

  const keep = store.storeRetained.bind(store)
  store.storeRetained = async (packet) => {
    const subtree = packet.topic.split('/', SUBTREE_LEVELS).join('/')
    const topics = retained.get(subtree) ?? new Set<string>()
    if (packet.payload.length === 0) topics.delete(packet.topic)
    else if (topics.has(packet.topic) || topics.size < limits.retainedPerDevice) topics.add(packet.topic)
    else return
    if (topics.size === 0) retained.delete(subtree)
    else retained.set(subtree, topics)
    await keep(packet)
  }
}
