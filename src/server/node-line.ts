/**
 * An issuing node's listener: EST for births, and what the end of the line says of each device.
 *
 * Stations are known by the certificates that the ticket names, so that the node needs nobody to vouch for them.
 *
 * @module
 */
import { hash } from 'node:crypto'
import { Type } from 'typebox'
import { Compile } from 'typebox/compile'
import { TrustError } from '#base/errors.ts'
import type { Log } from '#base/log.ts'
import type { World } from '#base/world.ts'
import type { Address } from '#config/setting.ts'
import { parseJSONObject } from '#jose/json.ts'
import { type RunningNode, startNode } from '#orders/node/directory.ts'
import type { IssuingNode } from '#orders/node/node.ts'
import { dispatcher, mount } from '#protocols/dispatch.ts'
import { est } from '#protocols/est/index.ts'
import type { EstService } from '#protocols/est/service.ts'
import type { Exchange, Operation, Protocol, Reply } from '#protocols/protocol.ts'
import { lockDirectory } from '#store/directory-lock.ts'
import { openListener, type ListenerLimits } from './listener.ts'
import { nodeIdentity } from './node-identity.ts'
import { nodeBirthIssuer, nodeProfile } from './node-issuer.ts'
import { rateLimit } from './rate-limit.ts'
import { statusOf } from './rest/failures.ts'
import { TICKET_SECRET_OCTETS } from './tls-options.ts'

export interface NodeLineOptions {
  readonly directory: string
  readonly listen: Address
  /** By which stations reach it; they stand in its TLS certificate. */
  readonly names: readonly string[]
  readonly world: World
  readonly log: Log
}

export interface NodeLine {
  readonly address: Address
  /** PEM, for stations to trust. */
  readonly certificatePEM: string
  readonly node: RunningNode
  stop(): Promise<void>
}

/** A line has tens of stations, in a network of its own. */
const LIMITS: ListenerLimits = {
  bodyMaxBytes: 128 << 10,
  headerMaxBytes: 16 << 10,
  headersMaxCount: 64,
  headersTimeoutSeconds: 10,
  requestTimeoutSeconds: 30,
  streamSeconds: 30,
  idleTimeoutSeconds: 120,
  keepAliveSeconds: 300,
  handshakeTimeoutSeconds: 10,
  connectionsMax: 1024,
  requestsPerConnectionMax: 0,
  ticketKeyHours: 24,
  gracefulStopSeconds: 10,
}

/** @throws TrustError `conflict` when another process has the node; as `startNode` */
export async function serveNode({ directory, listen, names, world, log }: NodeLineOptions): Promise<NodeLine> {
  const lock = lockDirectory(directory, 'sealworks node run')
  try {
    const identity = await nodeIdentity(directory, names, world)
    const node = await startNode(directory, nodeBirthIssuer(world), world)
    try {
      const listener = await openListener({
        id: 'tls',
        address: listen,
        tls: {
          face: { identity, clientAuthorities: [] },
          asksForCertificate: true,
          ticketSecret: new Uint8Array(world.random.octets(TICKET_SECRET_OCTETS)),
        },
        limits: LIMITS,
        rate: rateLimit({ perSecond: 0, burst: 1, addressesMax: 1, clock: world.clock }),
        routers: [dispatcher([mount(est, estOf(node)), mount(line, node)], 'tls', log)],
        headers: { 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' },
        world,
        log,
        observe: { request() {}, connection() {} },
      })
      return {
        address: listener.address,
        certificatePEM: identity.certificateChainPEM,
        node,
        async stop() {
          await listener.stop()
          await node.stop()
          lock.release()
        },
      }
    } catch (error) {
      await node.stop()
      throw error
    }
  } catch (error) {
    lock.release()
    throw error
  }
}

/** The TLS handshake proved that the station has the key; the ticket names the certificate. */
function stationOf(chain: readonly Uint8Array[]): string {
  const [certificate] = chain
  if (certificate === undefined) throw new TrustError('unauthenticated', 'stationUnknown')
  return hash('sha256', certificate)
}

interface Station {
  readonly station: string
}

/** EST as everywhere; there is one endpoint, and its label does not matter. */
const estOf = (node: IssuingNode): EstService => ({
  openEndpoint: async () => node.ticket,
  authorityCertificates: () => node.ticket.authority.map((der) => Uint8Array.fromBase64(der)),
  async authenticate(_, { chain }) {
    const station = stationOf(chain)
    await node.checkStation(station)
    return { station } satisfies Station
  },
  async enroll({ identity, operation, request, checkChannel }) {
    if (operation === 'reenroll') throw new TrustError('policyRefused', 'bornAlready')
    const { station } = identity as Station // `authenticate` made it
    return { state: 'issued', certificate: await node.issue(request, { station }, checkChannel) }
  },
  profileOf: async () => nodeProfile(node.ticket),
})

const Operator = Type.String({ pattern: '^[!-~]([ -~]{0,62}[!-~])?$' })
const Judged = Compile(
  Type.Object(
    {
      productSerial: Type.String({ minLength: 1, maxLength: 64 }),
      reason: Type.Optional(Type.String({ minLength: 1, maxLength: 128 })),
      operator: Type.Optional(Operator),
    },
    { additionalProperties: false },
  ),
)
const JUDGED_MAX_OCTETS = 4096

async function judgedIn({ body, peer }: Exchange) {
  const station = stationOf(peer.chain)
  const value = parseJSONObject(await body(JUDGED_MAX_OCTETS))
  if (!Judged.Check(value))
    throw new TrustError('malformed', 'notStrictJSON', { facts: { detail: 'it is not what is said of a device' } })
  const { productSerial, reason = 'test failed', operator } = value
  return { productSerial, reason, asker: { station, ...(operator !== undefined && { operator }) } }
}

const ImageAsked = Compile(
  Type.Object(
    {
      productSerial: Type.String({ minLength: 1, maxLength: 64 }),
      firmware: Type.Optional(Type.String({ pattern: '^[0-9a-f]{64}$' })),
      operator: Type.Optional(Operator),
    },
    { additionalProperties: false },
  ),
)

async function askedIn({ body, peer }: Exchange) {
  const station = stationOf(peer.chain)
  const value = parseJSONObject(await body(JUDGED_MAX_OCTETS))
  if (!ImageAsked.Check(value))
    throw new TrustError('malformed', 'notStrictJSON', { facts: { detail: 'it does not ask for an image' } })
  const { productSerial, firmware, operator } = value
  return { productSerial, firmware, asker: { station, ...(operator !== undefined && { operator }) } }
}

/** @throws TrustError `malformed` (`imageNotNamed`) where there are several, or none */
function onlyImage({ ticket: { firmware } }: IssuingNode): string {
  const [only] = firmware
  if (only === undefined || firmware.length > 1)
    throw new TrustError('malformed', 'imageNotNamed', { facts: { images: firmware.length } })
  return only
}

const operation = (method: 'GET' | 'POST', path: string, handle: Operation<RunningNode>['handle']): Operation<RunningNode> => ({
  method,
  path,
  section: 'docs/production.md',
  handle,
})

/** What is said at the end of the line; not a protocol of others, so it has no folder. */
const line: Protocol<RunningNode> = {
  id: 'line',
  source: 'docs/production.md',
  mount: '/line',
  listener: 'tls',
  operations: [
    operation('POST', '/image', async (exchange, node) => {
      const { productSerial, firmware = onlyImage(node), asker } = await askedIn(exchange)
      const open = () => node.images.open(firmware)
      const { octets, read } = await node.load({ productSerial, firmware, open }, asker)
      const headers = { 'content-type': 'application/octet-stream', 'x-image-sha256': firmware }
      return { status: 200, headers, body: '', stream: { octets, read } }
    }),
    operation('POST', '/good', async (exchange, node) => {
      const { productSerial, asker } = await judgedIn(exchange)
      await node.passed(productSerial, asker)
      return stateReply(node)
    }),
    operation('POST', '/scrap', async (exchange, node) => {
      const { productSerial, reason, asker } = await judgedIn(exchange)
      await node.scrap(productSerial, reason, asker)
      return stateReply(node)
    }),
    operation('GET', '/status', async ({ peer }, node) => {
      await node.checkStation(stationOf(peer.chain))
      return stateReply(node)
    }),
  ],
  failure: ({ code, reason, message }) => json(statusOf[code], { code, reason, detail: message }),
}

function stateReply(node: IssuingNode): Reply {
  const { course, left, burned } = node.state()
  const { issued, good, scrap } = course
  return json(200, { issued, good, scrap, burned, left })
}

const json = (status: number, value: unknown): Reply => ({
  status,
  headers: { 'content-type': 'application/json' },
  body: `${JSON.stringify(value)}\n`,
})
