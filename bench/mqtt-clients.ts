/**
 * Devices that connect to the broker and publish, in a thread of their own, as `bench/mqtt.ts` tells them.
 *
 * A client here is a TLS socket and a few octets, so that what is measured is the broker.
 *
 * @module
 */
import { connect, createSecureContext, type SecureContext, type TLSSocket } from 'node:tls'
import { parentPort, workerData } from 'node:worker_threads'
import { generate, parser, type Packet } from 'mqtt-packet'

export interface Client {
  readonly name: string
  readonly certificate: string
  readonly key: string
}

export interface Work {
  readonly port: number
  readonly ca: string
  readonly clients: readonly Client[]
  readonly what: 'connects' | 'messages'
  readonly milliseconds: number
}

const { port, ca, clients, what, milliseconds } = workerData as Work
/** Handshakes under way at once. */
const AT_ONCE = 16
/** Messages of one pair on their way. */
const WINDOW = 64
const PAYLOAD = Buffer.alloc(64, 'x')

/** Made once for each device, as a device does. */
const contexts = new Map(
  clients.map(({ name, certificate, key }) => [name, createSecureContext({ ca, cert: certificate, key })] as const),
)

function open({ name }: Client, take: (packet: Packet, socket: TLSSocket) => void): TLSSocket {
  const socket = connect({ host: '127.0.0.1', servername: 'localhost', port, ...contextOf(name) }, () =>
    socket.write(
      generate({ cmd: 'connect', protocolId: 'MQTT', protocolVersion: 4, clean: true, clientId: name, keepalive: 60 }),
    ),
  )
  const packets = parser()
  packets.on('packet', (packet: Packet) => take(packet, socket))
  socket.on('data', (octets: Buffer) => packets.parse(octets))
  socket.setNoDelay(true)
  return socket
}

function contextOf(name: string): { readonly secureContext?: SecureContext } {
  const secureContext = contexts.get(name)
  return secureContext === undefined ? {} : { secureContext }
}

const connected = (client: Client): Promise<TLSSocket> =>
  new Promise((resolve, reject) => {
    const socket = open(client, (packet) => {
      if (packet.cmd === 'connack' && packet.returnCode === 0) resolve(socket)
      else reject(new Error(`the broker answered ${JSON.stringify(packet)}`))
    })
    socket.once('error', reject)
  })

async function connects(): Promise<number> {
  const end = performance.now() + milliseconds
  let done = 0
  // a device has one session: each loop has devices of its own
  const loop = async (first: number): Promise<void> => {
    for (let at = first; performance.now() < end; at = (at + AT_ONCE) % clients.length) {
      const socket = await connected(clients[at] as Client)
      done += 1
      socket.destroy()
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, (_, at) => loop(at)))
  return done
}

/** The first half publishes, and each of the second half hears one of them. */
async function messages(): Promise<number> {
  const half = clients.length / 2
  let heard = 0
  let isOver = false
  const publish = (socket: TLSSocket, topic: string, count: number): void => {
    const packet = generate({ cmd: 'publish', topic, payload: PAYLOAD, qos: 0, retain: false, dup: false })
    socket.write(Buffer.concat(Array.from({ length: count }, () => packet)))
  }
  const sockets: TLSSocket[] = []
  const starts: (() => void)[] = []
  for (const [at, sender] of clients.slice(0, half).entries()) {
    const topic = `iiot/ann/paint/${sender.name}/evt/x`
    const out = await connected(sender)
    let back = 0
    await new Promise<void>((resolve) => {
      const hearing = open(clients[half + at] as Client, (packet, socket) => {
        if (packet.cmd === 'connack')
          socket.write(generate({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic, qos: 0 }] }))
        else if (packet.cmd === 'suback') resolve()
        else if (packet.cmd === 'publish') {
          heard += 1
          if (++back < WINDOW / 2 || isOver) return
          publish(out, topic, back)
          back = 0
        }
      })
      sockets.push(out, hearing)
    })
    starts.push(() => publish(out, topic, WINDOW))
  }
  for (const start of starts) start()
  await new Promise((resolve) => setTimeout(resolve, milliseconds))
  isOver = true
  for (const socket of sockets) socket.destroy()
  return heard
}

const begun = performance.now()
const done = await (what === 'connects' ? connects() : messages())
parentPort?.postMessage({ done, seconds: (what === 'connects' ? performance.now() - begun : milliseconds) / 1000 }, [])
