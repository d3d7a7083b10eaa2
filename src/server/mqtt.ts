/**
 * The message broker with what it asks: devices and their rules, areas and conduits, and the rooms that take what devices send.
 *
 * @module
 */
import { constants } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { encodePEM } from '#asn1/pem.ts'
import { concat, utf8 } from '#base/bytes.ts'
import { asTrustError, TrustError } from '#base/errors.ts'
import type { Log } from '#base/log.ts'
import { seldom } from '#base/seldom.ts'
import { uuidv7, type World } from '#base/world.ts'
import { publishedCRL } from '#ca/crl.ts'
import type { Config } from '#config/config.ts'
import { readSecret } from '#config/secret-file.ts'
import type { Address } from '#config/setting.ts'
import { listAreas } from '#devices/areas.ts'
import type { Changed } from '#devices/changes.ts'
import { listConduits } from '#devices/conduits.ts'
import type { ConnectedDevice } from '#devices/connections.ts'
import { objectOf } from '#devices/device.ts'
import { type RolledDevice, rollOf } from '#devices/roll.ts'
import { decide } from '#devices/rules.ts'
import { type BuiltInBroker, builtInBroker } from '#mqtt/aedes/index.ts'
import type { Broker, BrokerDevice, BrokerInbox, BrokerRules, Grants } from '#mqtt/broker.ts'
import { mosquittoBroker } from '#mqtt/mosquitto/index.ts'
import { usernameOf } from '#mqtt/mosquitto/username.ts'
import { areaTopic } from '#mqtt/topics.ts'
import type { Queries } from '#store/database.ts'
import { acquireLease, type Lease, releaseLease } from '#store/lease.ts'
import { type CAServices, certificateById, type DeviceServices } from './compose.ts'
import { contextOptions, type TLSFace } from './tls-options.ts'

export type BrokerDevices = Pick<DeviceServices, 'context' | 'connections' | 'changes' | 'reports' | 'messages'>

export interface BrokerParts {
  readonly config: Pick<Config, 'mqtt' | 'server'>
  readonly environment: Readonly<Record<string, string | undefined>>
  readonly ca: Pick<CAServices, 'context' | 'authorities'>
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
  /** To be called about once a second. */
  runOnce(): Promise<void>
  stop(): Promise<void>
}

/** @returns undefined where the configuration has no broker @throws TrustError `unavailable` */
export async function startBroker(parts: BrokerParts): Promise<ServedBroker | undefined> {
  const { listen, mosquitto } = parts.config.mqtt
  if (listen !== undefined && mosquitto !== undefined) throw new TrustError('conflict', 'brokerTwice')
  if (mosquitto !== undefined) return driveMosquitto(parts, mosquitto)
  return listen === undefined ? undefined : startBuiltIn(parts, listen)
}

/** One of several processes drives it; the others are ready to. */
const LEASE_SECONDS = 10

async function driveMosquitto({ config, environment, ca, devices, world, log }: BrokerParts, url: string): Promise<ServedBroker> {
  const {
    mosquittoUser: username,
    mosquittoPassword,
    mosquittoCa,
    mosquittoCrlFile: crlFile,
    mosquittoPidFile: pidFile,
  } = config.mqtt
  const { hostname, port, protocol } = new URL(url)
  const isSecure = protocol === 'mqtts:'
  const { rules, forget } = brokerRules(devices, log)
  const { db, organizationId } = devices.context
  const roll = { db, world, organizationId, certificate: (id: string) => certificateById(ca, id) }
  const holder = uuidv7(world)
  const broker = mosquittoBroker({
    link: {
      ...{ host: hostname.replace(/^\[|\]$/g, ''), port: Number(port === '' ? (isSecure ? 8883 : 1883) : port) },
      ...{ username, clientId: `sealworks-${holder}` },
      password: mosquittoPassword === undefined ? undefined : readSecret(mosquittoPassword, environment),
      tls: isSecure ? { ca: mosquittoCa === undefined ? [] : [readFileSync(mosquittoCa)], servername: hostname } : undefined,
    },
    roll: {
      async *all() {
        for await (const device of rollOf(roll, 'mqtt')) yield namedThere(device)
      },
      async one(deviceId) {
        for await (const device of rollOf(roll, 'mqtt', deviceId)) return namedThere(device)
        return undefined
      },
    },
    ...{ rules, inbox: brokerInbox(devices), crls: () => areaCRLs(ca, devices), crlFile, pidFile, log },
  })
  const silence = devices.changes.listen(async (changed) => {
    if (broker.status().state === 'stopped') return
    if (changed.all || changed.conduits) forget()
    // a broker that is away is compared when it is back
    await follow(changed).catch((error: unknown) => log.debug('the message broker was not told', { error }))
    tellOfMail(broker, changed, log)
  })
  async function follow(changed: Changed): Promise<void> {
    const isIssuerAmong = changed.certificates.size > 0 && (await ca.authorities.refresh())
    if (changed.all || changed.conduits || changed.areas.size > 0 || isIssuerAmong) await broker.reconcile()
    else await broker.update(new Set([...changed.devices, ...(await devicesOf(db, changed.certificates))]))
  }
  let lease: Lease | undefined
  return {
    broker,
    address: undefined,
    present: () => {},
    async runOnce() {
      const wasDriver = lease !== undefined
      lease = await acquireLease(db, world, { name: 'mqtt', holder, seconds: LEASE_SECONDS })
      if (lease === undefined) {
        if (wasDriver) await broker.stop()
      } else if (wasDriver) await broker.runOnce()
      else await broker.start()
    },
    async stop() {
      silence()
      await broker.stop()
      if (lease !== undefined) await releaseLease(db, lease)
    },
  }
}

/**
 * A device that is connected comes at once for what waits for it; one that is not asks when it is. Nobody waits for a device that
 * does not read: whoever has to be cut off is in the next round.
 */
function tellOfMail(broker: Broker, { mail }: Changed, log: Log): void {
  for (const { deviceId, kind } of mail)
    broker.publish(deviceId, { channel: 'cmd', topic: kind, octets: utf8('fetch') }).catch((error: unknown) => {
      log.debug('a device was not told that something waits for it', { device: deviceId, kind, error })
    })
}

const namedThere = ({ certificates, ownerName, areaName, ...device }: RolledDevice) => ({
  ...{ ...device, organization: ownerName, area: areaName },
  usernames: [...new Set(certificates.map(usernameOf))].filter((username) => username !== undefined),
})

async function devicesOf(db: Queries, certificates: ReadonlySet<string>): Promise<readonly string[]> {
  const found: string[] = []
  for (const id of certificates) {
    const [row] = await db.query('SELECT device_id FROM device_certificate WHERE certificate_id = ?', id)
    if (row !== undefined) found.push(row['device_id'] as string)
  }
  return found
}

/** Of all authorities that issue for areas, every generation: what an earlier one issued is still taken. */
async function areaCRLs({ context, authorities }: BrokerParts['ca'], devices: BrokerDevices): Promise<string> {
  const named = new Set((await listAreas(devices.context)).map(({ authority }) => authorities.byAddress(authority).slug))
  const all: string[] = []
  for (const { address, slug } of authorities.list()) {
    if (!named.has(slug)) continue
    try {
      const crl = await publishedCRL(context, authorities, address, { shard: undefined, isDelta: false })
      all.push(encodePEM('X509 CRL', concat(await Array.fromAsync(crl.read(0, crl.octets)))))
    } catch (thrown) {
      // none was issued yet; without one Mosquitto takes no certificate of the authority
      if (asTrustError(thrown).code !== 'notFound') throw thrown
    }
  }
  return all.join('')
}

async function startBuiltIn({ config, devices, world, log, face }: BrokerParts, listen: Address): Promise<ServedBroker> {
  const limits = config.mqtt
  const { connections, changes } = devices
  const { rules, forget } = brokerRules(devices, log)
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
    if (changed.all || changed.conduits) {
      forget()
      await broker.refreshGrants()
    }
    tellOfMail(broker, changed, log)
  })
  return {
    broker,
    address: broker.address(),
    present: (next) => broker.present(withoutTickets(next)),
    runOnce: async () => {},
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
function brokerRules({ context }: BrokerDevices, log: Log): { readonly rules: BrokerRules; forget(): void } {
  const { db, audit, organizationId, world } = context
  const byArea = new Map<string, Promise<Grants>>()
  const isNews = seldom(world.clock)

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
        if (!isNews(`${deviceId} ${act}`)) return
        const facts = { rule: 'publish', topic: topic.slice(0, 200) }
        const object = objectOf({ id: deviceId })
        const entry = { actor: object, act: `device.${act}`, object, reason: 'topicNotYours', facts } as const
        audit.refuse(entry).catch((error: unknown) => log.error('a refusal did not come into the audit log', { ...entry, error }))
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
