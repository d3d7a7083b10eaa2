/**
 * One connection to a broker as its client: the few packets of MQTT 3.1.1 that driving it takes.
 *
 * @module
 */
import { connect as connectPlain, type Socket } from 'node:net'
import { connect as connectTLS, type ConnectionOptions } from 'node:tls'
import { generate, parser, type IPublishPacket, type Packet } from 'mqtt-packet'
import { TrustError } from '#base/errors.ts'
import type { Secret } from '#base/secret.ts'

export interface LinkOptions {
  readonly host: string
  readonly port: number
  /** Undefined for a connection on the same machine. */
  readonly tls: Pick<ConnectionOptions, 'ca' | 'cert' | 'key' | 'servername'> | undefined
  readonly username: string
  readonly password: Secret | undefined
  readonly clientId: string
  /** What comes by the subscriptions. A message of QoS 1 is acknowledged when this is done. */
  readonly receive: (topic: string, octets: Uint8Array) => Promise<void>
  /** The connection is lost; not called when it is closed from here. */
  readonly lost: (detail: string) => void
}

export interface Link {
  /** @throws TrustError `unavailable` unless the broker grants each */
  subscribe(filters: readonly string[]): Promise<void>
  /** Resolves when the broker has it (QoS 1). @throws TrustError `unavailable` */
  publish(topic: string, octets: Uint8Array): Promise<void>
  close(): void
}

const ANSWER_MILLISECONDS = 5000
const KEEP_ALIVE_SECONDS = 30
/** Lists of thousands of clients come in one message; more than this is no broker of ours. */
const RECEIVED_MAX_OCTETS = 16_777_216
const IDS = 65_535

/** @throws TrustError `unavailable` */
export async function openLink(options: LinkOptions): Promise<Link> {
  const { host, port, tls, username, password, clientId, receive } = options
  const socket: Socket = tls === undefined ? connectPlain({ host, port }) : connectTLS({ host, port, ...tls })
  const waiting = new Map<string, (packet: Packet) => void>()
  let problem: TrustError | undefined
  let isClosed = false
  let lastId = 0
  let received = 0

  const fail = (detail: string, cause?: unknown): void => {
    if (isClosed) return
    isClosed = true
    problem = new TrustError('unavailable', 'brokerAway', { facts: { detail }, cause })
    socket.destroy()
    for (const settle of waiting.values()) settle({ cmd: 'disconnect' })
    options.lost(detail)
  }
  const write = (packet: Packet): void => void socket.write(generate(packet))

  async function ask(key: string, packet: Packet): Promise<Packet> {
    if (problem !== undefined) throw problem
    const { promise, resolve } = Promise.withResolvers<Packet>()
    waiting.set(key, resolve)
    const late = setTimeout(() => fail('it did not answer in time'), ANSWER_MILLISECONDS)
    write(packet)
    const answer = await promise
    clearTimeout(late)
    waiting.delete(key)
    if (problem !== undefined) throw problem as TrustError
    return answer
  }

  async function take(packet: IPublishPacket): Promise<void> {
    await receive(packet.topic, Buffer.from(packet.payload))
    if (packet.qos === 1 && packet.messageId !== undefined) write({ cmd: 'puback', messageId: packet.messageId })
  }

  const packets = parser()
  packets.on('packet', (packet: Packet) => {
    received = 0
    if (packet.cmd === 'publish') void take(packet).catch(() => {}) // not acknowledged: it comes again with the next session
    else waiting.get(keyOf(packet))?.(packet)
  })
  packets.on('error', (error: Error) => fail(error.message, error))
  socket.on('data', (octets: Buffer) => {
    received += octets.length
    if (received > RECEIVED_MAX_OCTETS) fail('it sends too much at once')
    else packets.parse(octets)
  })
  socket.on('error', (error) => fail(error.message, error))
  socket.on('close', () => fail('it closed the connection'))
  socket.setNoDelay(true)
  socket.setTimeout(KEEP_ALIVE_SECONDS * 500, () => void ask('pingresp', { cmd: 'pingreq' }).catch(() => {}))

  const answer = await ask('connack', {
    ...{ cmd: 'connect', protocolId: 'MQTT', protocolVersion: 4, clean: true, clientId, keepalive: KEEP_ALIVE_SECONDS, username },
    ...(password !== undefined && { password: Buffer.from(password.reveal('broker password')) }),
  })
  if (answer.cmd !== 'connack' || answer.returnCode !== 0) {
    fail(`it refused the connection (${answer.cmd === 'connack' ? (answer.returnCode ?? 0) : answer.cmd})`)
    throw problem as TrustError
  }
  const nextId = (): number => (lastId = (lastId % IDS) + 1)
  return {
    async subscribe(filters) {
      const messageId = nextId()
      const subscriptions = filters.map((topic) => ({ topic, qos: 1 as const }))
      const granted = await ask(`suback ${messageId}`, { cmd: 'subscribe', messageId, subscriptions })
      if (granted.cmd === 'suback' && granted.granted.every((qos) => qos !== 128)) return
      fail('it does not let its driver subscribe')
      throw problem as TrustError
    },
    async publish(topic, octets) {
      const messageId = nextId()
      const payload = Buffer.from(octets)
      await ask(`puback ${messageId}`, { cmd: 'publish', messageId, topic, payload, qos: 1, retain: false, dup: false })
    },
    close() {
      isClosed = true
      problem = new TrustError('unavailable', 'brokerAway', { facts: { detail: 'the driver has stopped' } })
      if (socket.writable) write({ cmd: 'disconnect' })
      socket.end()
      socket.destroySoon()
      for (const settle of waiting.values()) settle({ cmd: 'disconnect' })
    },
  }
}

const keyOf = (packet: Packet): string =>
  packet.cmd === 'connack' || packet.cmd === 'pingresp' ? packet.cmd : `${packet.cmd} ${packet.messageId ?? 0}`
