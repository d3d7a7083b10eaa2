/**
 * The broker that is built in: MQTT 3.1.1 over TLS with client certificates, for one machine.
 *
 * Who may connect is asked at each connection, a resumed TLS session included, and each session is ended when that changes.
 *
 * @module
 */
import { setTimeout as wait } from 'node:timers/promises'
import type { Socket } from 'node:net'
import { createServer, type SecureContextOptions, type Server, type TLSSocket } from 'node:tls'
import { Aedes, type AuthenticateError, type Client } from 'aedes'
import { asTrustError, TrustError } from '#base/errors.ts'
import type { Log } from '#base/log.ts'
import type { Reason } from '#base/sentences.ts'
import type { Clock } from '#base/world.ts'
import { type Broker, type BrokerDevice, type BrokerInbox, type BrokerRules, type Grants, handIn } from '../broker.ts'
import { conditionsFor, subtreeOf, TOPIC_MAX_LEVELS, TOPIC_MAX_OCTETS } from '../topics.ts'
import { boundStore } from './bounded-store.ts'
import { framing } from './framing.ts'
import { waitingRoom } from './waiting-room.ts'

/** Who is let in: filled by the server. */
export interface BrokerDoor {
  /** @param end is called once, when the device may not go on @throws TrustError */
  connect(
    chain: readonly Uint8Array[],
    clientId: string,
    end: (reason: Reason) => void,
  ): Promise<{ readonly device: BrokerDevice; release(): void }>
}

export interface BuiltInLimits {
  readonly connectionsMax: number
  readonly packetMaxBytes: number
  readonly messagesPerSecondPerDevice: number
  readonly subscriptionsPerDevice: number
  /** Unacknowledged, or waiting for a session to come back. */
  readonly messagesQueuedPerDevice: number
  readonly retainedPerDevice: number
  readonly connectsPerMinutePerDevice: number
  readonly keepAliveMaxSeconds: number
  readonly handshakeTimeoutSeconds: number
}

export interface BuiltInOptions {
  readonly listen: { readonly host: string; readonly port: number }
  /** Certificate and algorithms; without session tickets. */
  readonly secureContext: SecureContextOptions
  readonly limits: BuiltInLimits
  readonly door: BrokerDoor
  readonly rules: BrokerRules
  readonly inbox: BrokerInbox
  readonly clock: Clock
  readonly log: Log
}

export interface BuiltInBroker extends Broker {
  /** The port is the real one where port 0 was asked for; undefined before the start. */
  address(): { readonly host: string; readonly port: number } | undefined
  /** New connections get the new certificate. */
  present(secureContext: SecureContextOptions): void
  /** The conduits changed: sessions that rest on one that is gone are ended. */
  refreshGrants(): Promise<void>
}

interface Session {
  readonly device: BrokerDevice
  readonly client: Client
  grants: Grants
  readonly filters: Set<string>
  /** Its will says nothing any more. */
  isCut: boolean
  /** Messages that it may send now, and when that was counted. */
  tokens: number
  countedAt: number
  release(): void
}

/** Return codes of CONNACK: MQTT 3.1.1, 3.2.2.3. */
const IDENTIFIER_REJECTED = 2
const SERVER_UNAVAILABLE = 3
const NOT_AUTHORIZED = 5

/** The queue of packets that come before a CONNECT is answered: a client may send its subscriptions at once. */
const PACKETS_BEFORE_ANSWER = 42
const CONNECT_MILLISECONDS = 10_000
/** A receiver that does not read for so long is ended, so that nobody waits for it. */
const DRAIN_MILLISECONDS = 10_000
const BACKLOG = 1024
const CHAIN_MAX = 10
/** From one address, before it is known who they are: a plant's devices come back through one at once, and the rest of them try again. */
const WAITING_PER_ADDRESS = 256
/** Of all connections: whoever nobody knows does not keep those out that are known. */
const WAITING_SHARE = 0.5

export function builtInBroker(options: BuiltInOptions): BuiltInBroker {
  const { limits, door, rules, inbox, clock, log } = options
  const sessions = new Map<string, Session>()
  const ofClient = new WeakMap<Client, Session | TrustError>()
  const connects = new Map<string, number[]>()
  const waiting = waitingRoom({ perAddress: WAITING_PER_ADDRESS, inAll: Math.ceil(limits.connectionsMax * WAITING_SHARE) })
  let broker: Aedes | undefined
  let server: Server | undefined
  let cuts = 0

  async function admit(client: Client, clientId: string, willTopic: string | undefined): Promise<Session> {
    let early: Reason | undefined
    let session: Session | undefined
    const end = (reason: Reason): void => {
      if (session === undefined) early = reason
      else endSession(session, reason)
    }
    const { device, release } = await door.connect(chainOf(client.conn as TLSSocket), clientId, end)
    try {
      checkRate(device)
      const grants = await rules.grants(device)
      if (early !== undefined) throw new TrustError('forbidden', early)
      if (willTopic !== undefined && !isAllowed(device, grants, 'publish', willTopic))
        throw new TrustError('forbidden', 'topicNotYours', { facts: { topic: willTopic } })
      session = {
        ...{ device, client, grants, filters: new Set<string>(), isCut: false, release },
        ...{ tokens: limits.messagesPerSecondPerDevice, countedAt: clock.now() },
      }
      return session
    } catch (thrown) {
      release()
      throw thrown
    }
  }

  async function enter(client: Client, packet: { clientId: string; readonly will?: { readonly topic: string } }): Promise<true> {
    try {
      const session = await admit(client, packet.clientId, packet.will?.topic)
      if (client.conn.destroyed) session.release() // nobody is told of its end any more
      // a client id that no two owners' devices share, and that a device's next owner does not take over
      packet.clientId = `${session.device.deviceId}/${session.device.epoch}`
      ofClient.set(client, session)
    } catch (thrown) {
      ofClient.set(client, asTrustError(thrown))
    }
    return true // the answer is given with a code, by `authenticate`
  }

  /** Two machines with one key would end each other's sessions without an end. */
  function checkRate({ deviceId }: BrokerDevice): void {
    const since = clock.now() - 60_000
    const lately = (connects.get(deviceId) ?? []).filter((at) => at > since)
    if (lately.length >= limits.connectsPerMinutePerDevice)
      throw new TrustError('rateLimited', 'tooManyRequests', { retryAfterSeconds: 60 })
    if (connects.size > limits.connectionsMax)
      for (const [id, times] of connects) if ((times.at(-1) ?? 0) <= since) connects.delete(id)
    connects.set(deviceId, [...lately, clock.now()])
  }

  function isAllowed(device: BrokerDevice, grants: Grants, act: 'publish' | 'subscribe', topic: string): boolean {
    return topic.length <= TOPIC_MAX_OCTETS && rules.allows(conditionsFor(device, grants, act, topic))
  }

  function endSession(session: Session, reason: Reason): void {
    session.isCut = true
    cuts += 1
    log.info('a device was cut off', { device: session.device.deviceId, reason })
    session.client.close()
  }

  function forget(client: Client): void {
    const session = ofClient.get(client)
    if (session === undefined || session instanceof TrustError) return
    session.release()
    if (sessions.get(session.device.deviceId) === session) sessions.delete(session.device.deviceId)
  }

  const sessionOf = (client: Client): Session | undefined => {
    const found = ofClient.get(client)
    return found instanceof TrustError ? undefined : found
  }

  const kindOf = (device: BrokerDevice, topic: string): string | undefined => {
    const up = `${subtreeOf(device)}/up/`
    return topic.startsWith(up) ? inbox.kinds.find((kind) => topic === up + kind) : undefined
  }

  /** Before it is acknowledged: what could not be taken is sent again. */
  async function takeLater(
    device: BrokerDevice,
    {
      milliseconds,
      kind,
      octets,
    }: { readonly milliseconds: number; readonly kind: string | undefined; readonly octets: Uint8Array },
  ): Promise<void> {
    if (milliseconds > 0) await wait(milliseconds)
    if (kind === undefined) return
    const answer = await handIn(inbox, device, kind, octets)
    if (answer !== undefined) await send(device, `down/${answer.topic}`, answer.octets)
  }

  /** @returns how long a message waits, so that a device sends no faster than it may */
  function waitFor(session: Session): number {
    const perMillisecond = limits.messagesPerSecondPerDevice / 1000
    const now = clock.now()
    const refilled = session.tokens + (now - session.countedAt) * perMillisecond
    session.tokens = Math.min(refilled, limits.messagesPerSecondPerDevice) - 1
    session.countedAt = now
    return session.tokens >= 0 ? 0 : -session.tokens / perMillisecond
  }

  function send(device: BrokerDevice, below: string, octets: Uint8Array): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const packet = { cmd: 'publish', qos: 1, retain: false, dup: false, topic: `${subtreeOf(device)}/${below}` } as const
    broker?.publish({ ...packet, payload: Buffer.from(octets) }, (error) => (error ? reject(error) : resolve()))
    return promise
  }

  async function start(): Promise<void> {
    const aedes = new Aedes({
      connectTimeout: CONNECT_MILLISECONDS,
      drainTimeout: DRAIN_MILLISECONDS,
      queueLimit: PACKETS_BEFORE_ANSWER,
      maxInflightInbound: limits.messagesQueuedPerDevice,
      maxClientsIdLength: 64,
      maxTopicLevels: TOPIC_MAX_LEVELS,
      keepaliveLimit: limits.keepAliveMaxSeconds,
      preConnect(client, packet, done) {
        // a client of another version of MQTT is told so by the broker
        if (packet.protocolVersion !== 3 && packet.protocolVersion !== 4) return done(null, true)
        void whenDone(enter(client, packet), done)
        return undefined
      },
      authenticate(client, _, __, done) {
        const found = ofClient.get(client)
        if (found === undefined || found instanceof TrustError || found.isCut) return done(refusal(found), null)
        sessions.set(found.device.deviceId, found)
        waiting.leave(client.conn as TLSSocket)
        return done(null, true)
      },
      authorizePublish(client, packet, done) {
        if (client === null) return done()
        const session = sessionOf(client)
        const { topic, payload } = packet
        if (session === undefined || session.isCut || !isAllowed(session.device, session.grants, 'publish', topic)) {
          if (session !== undefined) rules.refused(session.device, 'publish', topic)
          return done(new TrustError('forbidden', 'topicNotYours', { facts: { topic } })) // MQTT 3.1.1 has no other refusal than the end
        }
        const milliseconds = waitFor(session)
        const kind = kindOf(session.device, topic)
        if (milliseconds === 0 && kind === undefined) return done()
        void whenDone(takeLater(session.device, { milliseconds, kind, octets: Buffer.from(payload) }), done)
        return undefined
      },
      authorizeSubscribe(client, subscription, done) {
        const session = sessionOf(client)
        const { topic } = subscription
        if (session === undefined || session.isCut) return done(null, null)
        const { device, grants, filters } = session
        const isFull = !filters.has(topic) && filters.size >= limits.subscriptionsPerDevice
        if (isFull || !isAllowed(device, grants, 'subscribe', topic)) {
          rules.refused(device, 'subscribe', topic)
          return done(null, null)
        }
        filters.add(topic)
        return done(null, subscription)
      },
      // what waited for a session may be for an area that the device has left
      authorizeForward(client, packet) {
        const session = sessionOf(client)
        if (session === undefined || session.isCut) return null
        return isAllowed(session.device, session.grants, 'subscribe', packet.topic) ? packet : null
      },
    })
    await aedes.listen()
    boundStore(aedes, limits)
    aedes.on('unsubscribe', (filters, client) => {
      for (const filter of filters) sessionOf(client)?.filters.delete(filter)
    })
    aedes.on('clientDisconnect', forget)
    aedes.on('connectionError', (client, error) => {
      forget(client)
      log.debug('a connection to the broker broke off', { error: error.message })
    })
    aedes.on('clientError', (client, error) => {
      forget(client)
      log.debug('a session of the broker broke off', { client: client.id, error: error.message })
    })
    ;(aedes as NodeJS.EventEmitter).on('error', (error: Error) => log.error('the broker had a fault', { error }))
    broker = aedes
    server = await listen(aedes)
  }

  function listen(aedes: Aedes): Promise<Server> {
    const { promise, resolve, reject } = Promise.withResolvers<Server>()
    const { host, port } = options.listen
    const secure = createServer({
      ...options.secureContext,
      requestCert: true,
      // which certificate is good is decided at the door, by the record of that very certificate
      rejectUnauthorized: false,
      handshakeTimeout: limits.handshakeTimeoutSeconds * 1000,
    })
    secure.maxConnections = limits.connectionsMax
    secure.on('connection', (socket: Socket) => {
      if (!waiting.enter(socket)) socket.destroy()
    })
    secure.on('secureConnection', (socket) => {
      socket.setNoDelay(true)
      meter(socket)
      const client = aedes.handle(socket)
      socket.once('close', () => forget(client))
    })
    secure.on('tlsClientError', (error) => log.debug('TLS handshake with the broker failed', { error: error.message }))
    secure.once('error', (cause) =>
      reject(new TrustError('unavailable', 'brokerAddress', { facts: { address: `${host}:${port}` }, cause })),
    )
    secure.listen({ host, port, backlog: BACKLOG }, () => resolve(secure))
    return promise
  }

  /** What the broker reads of a connection, held against the longest packet before the parser gathers it. */
  function meter(socket: TLSSocket): void {
    const frames = framing(limits.packetMaxBytes)
    const read = socket.read.bind(socket) as (size?: number) => Buffer | null
    socket.read = (size?: number): Buffer | null => {
      const octets = read(size)
      if (octets === null || frames.take(octets)) return octets
      log.warn('a packet to the broker was too long', { address: socket.remoteAddress, limit: limits.packetMaxBytes })
      socket.destroy()
      return null
    }
  }

  return {
    start,
    async stop() {
      for (const session of sessions.values()) session.isCut = true
      const closed = new Promise<void>((resolve) => (server === undefined ? resolve() : server.close(() => resolve())))
      await new Promise<void>((resolve) => (broker === undefined ? resolve() : broker.close(resolve)))
      await closed
      server = undefined
      broker = undefined
    },
    async cut(deviceId, reason) {
      const session = sessions.get(deviceId)
      if (session === undefined) return 0
      endSession(session, reason)
      return 1
    },
    async publish(deviceId, { channel, topic, octets }) {
      const session = sessions.get(deviceId)
      if (session === undefined) return false
      await send(session.device, `${channel}/${topic}`, octets)
      return true
    },
    /** There is nothing to compare: each connection is decided anew. */
    async reconcile() {
      return { devices: sessions.size, added: 0, changed: 0, removed: 0 }
    },
    status: () => ({
      broker: 'built-in',
      state: server === undefined ? 'stopped' : 'running',
      detail: undefined,
      sessions: sessions.size,
      devices: undefined,
      cut: cuts,
    }),
    address() {
      const at = server?.address()
      return at === null || at === undefined || typeof at === 'string' ? undefined : { host: options.listen.host, port: at.port }
    },
    present: (secureContext) => server?.setSecureContext(secureContext),
    async refreshGrants() {
      for (const session of sessions.values()) {
        session.grants = await rules.grants(session.device)
        const lost = [...session.filters].some((filter) => !isAllowed(session.device, session.grants, 'subscribe', filter))
        if (lost) endSession(session, 'topicNotYours')
      }
    },
  }
}

function refusal(error: TrustError | Session | undefined): AuthenticateError {
  const problem = error instanceof TrustError ? error : new TrustError('forbidden', 'ruleRefuses')
  const isElsewhere = problem.code === 'unavailable' || problem.code === 'internal' || problem.code === 'rateLimited'
  const returnCode =
    problem.reason === 'deviceNameOther' ? IDENTIFIER_REJECTED : isElsewhere ? SERVER_UNAVAILABLE : NOT_AUTHORIZED
  return Object.assign(new Error(problem.reason), { returnCode })
}

function chainOf(socket: TLSSocket): readonly Uint8Array[] {
  const chain: Uint8Array[] = []
  let certificate = socket.getPeerX509Certificate()
  while (certificate !== undefined && chain.length < CHAIN_MAX) {
    chain.push(certificate.raw)
    certificate = certificate.issuerCertificate
  }
  return chain
}

/** The broker takes callbacks. */
async function whenDone<T>(work: Promise<T>, done: (error: Error | null, value: T) => void): Promise<void>
async function whenDone(work: Promise<void>, done: (error?: Error | null) => void): Promise<void>
async function whenDone<T>(work: Promise<T>, done: (error: Error | null, value: T) => void): Promise<void> {
  let value: T
  try {
    value = await work
  } catch (thrown) {
    done(asTrustError(thrown), undefined as T)
    return
  }
  done(null, value)
}
