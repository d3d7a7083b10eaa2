/**
 * The message broker with what it asks: devices and their rules, areas and conduits, and the rooms that take what devices send.
 *
 * @module
 */
import { utf8 } from '#base/bytes.ts'
import type { Log } from '#base/log.ts'
import type { World } from '#base/world.ts'
import type { Config } from '#config/config.ts'
import type { Address } from '#config/setting.ts'
import type { Changed } from '#devices/changes.ts'
import { listConduits } from '#devices/conduits.ts'
import type { ConnectedDevice } from '#devices/connections.ts'
import { objectOf } from '#devices/device.ts'
import { decide } from '#devices/rules.ts'
import { type BuiltInBroker, builtInBroker } from '#mqtt/aedes/index.ts'
import type { Broker, BrokerDevice, BrokerInbox, BrokerRules, Grants } from '#mqtt/broker.ts'
import { areaTopic } from '#mqtt/topics.ts'
import { constants } from 'node:crypto'
import type { DeviceServices } from './compose.ts'
import { contextOptions, type TLSFace } from './tls-options.ts'

export type BrokerDevices = Pick<DeviceServices, 'context' | 'connections' | 'changes' | 'reports' | 'messages'>

export interface BrokerParts {
  readonly config: Pick<Config, 'mqtt' | 'server'>
  readonly devices: BrokerDevices
  readonly world: World
  readonly log: Log
  readonly face: TLSFace
}

export interface ServedBroker {
  readonly broker: Broker
  /** Undefined for one that runs beside. */
  readonly address: Address | undefined
  present(face: TLSFace): void
  stop(): Promise<void>
}

/** The same device publishing to the same foreign topics says nothing new. */
const REFUSAL_AGAIN_MILLISECONDS = 60_000
const REFUSALS_MAX = 10_000

/** @returns undefined where the configuration has no broker @throws TrustError `unavailable` */
export async function startBroker(parts: BrokerParts): Promise<ServedBroker | undefined> {
  const { listen } = parts.config.mqtt
  return listen === undefined ? undefined : startBuiltIn(parts, listen)
}

async function startBuiltIn({ config, devices, world, log, face }: BrokerParts, listen: Address): Promise<ServedBroker> {
  const { listen: _, ...limits } = config.mqtt
  const { connections, changes } = devices
  const { rules, forget } = brokerRules(devices)
  const broker: BuiltInBroker = builtInBroker({
    listen,
    secureContext: withoutTickets(face),
    limits: { ...limits, handshakeTimeoutSeconds: config.server.handshakeTimeoutSeconds },
    door: {
      async connect(chain, clientId, end) {
        const device = await connections.admit(chain, { protocol: 'mqtt', name: clientId })
        const held = connections.hold(device, chain, end)
        return { device: brokerDevice(device), release: () => held.release() }
      },
    },
    rules,
    inbox: brokerInbox(devices),
    clock: world.clock,
    log,
  })
  await broker.start()
  const silence = changes.listen(async (changed: Changed) => {
    if (!changed.all && !changed.conduits) return
    forget()
    await broker.refreshGrants()
  })
  return {
    broker,
    address: broker.address(),
    present: (next) => broker.present(withoutTickets(next)),
    async stop() {
      silence()
      await broker.stop()
    },
  }
}

/** A session that goes on without a handshake would be asked for all the same; there is no need for any. */
function withoutTickets(face: TLSFace) {
  const context = contextOptions(face)
  return { ...context, secureOptions: (context.secureOptions ?? 0) | constants.SSL_OP_NO_TICKET }
}

/** An operational certificate has an area, and a device in an area an owner. */
const brokerDevice = ({ deviceId, epoch, name, ownerName = '', areaName = '', areaId = '' }: ConnectedDevice): BrokerDevice => ({
  ...{ deviceId, epoch, name, organization: ownerName, area: areaName, areaId },
})

/** By the rule `publish`; conduits are read once until they change. */
function brokerRules({ context }: BrokerDevices): { readonly rules: BrokerRules; forget(): void } {
  const { db, audit, organizationId, world } = context
  const byArea = new Map<string, Promise<Grants>>()
  const refusals = new Map<string, number>()

  async function read({ organization, areaId }: BrokerDevice): Promise<Grants> {
    const conduits = await listConduits(db, organizationId, areaId)
    const below = (area: string, topics: string): string => `${areaTopic({ organization, area })}/${topics}`
    const channelOf = (topics: string): string | undefined => topics.split('/')[1]
    return {
      publish: conduits
        .filter(({ fromAreaId, topics }) => fromAreaId === areaId && channelOf(topics) === 'down')
        .map(({ toName, topics }) => below(toName, topics)),
      subscribe: conduits
        .filter(({ toAreaId, topics }) => toAreaId === areaId && channelOf(topics) === 'evt')
        .map(({ fromName, topics }) => below(fromName, topics)),
    }
  }

  return {
    rules: {
      grants(device) {
        const known = byArea.get(device.areaId) ?? read(device)
        byArea.set(device.areaId, known)
        known.catch(() => byArea.delete(device.areaId))
        return known
      },
      allows: (holding) => decide('publish', holding).isAllowed,
      refused({ deviceId }, act, topic) {
        const key = `${deviceId} ${act}`
        const now = world.clock.now()
        if (now - (refusals.get(key) ?? 0) < REFUSAL_AGAIN_MILLISECONDS) return
        if (refusals.size >= REFUSALS_MAX) refusals.clear()
        refusals.set(key, now)
        const facts = { rule: 'publish', topic: topic.slice(0, 200) }
        const object = objectOf({ id: deviceId })
        void audit.refuse({ actor: object, act: `device.${act}`, object, reason: 'topicNotYours', facts }).catch(() => {
          refusals.delete(key) // the next one is tried again
        })
      },
    },
    forget: () => byArea.clear(),
  }
}

/** What devices send over HTTP they may send here as well: it is signed in itself. */
function brokerInbox({ reports, messages }: BrokerDevices): BrokerInbox {
  const boxes = new Map(
    Object.entries(messages.mailboxes).flatMap(([kind, { take }]) => (take === undefined ? [] : [[kind, take] as const])),
  )
  return {
    kinds: ['report', ...boxes.keys()],
    async take({ deviceId }, kind, octets) {
      if (kind === 'report') return utf8(JSON.stringify(await reports.take(octets)))
      return boxes.get(kind)?.run(deviceId, octets)
    },
  }
}
