/**
 * One listening address: takes requests within limits, hands them to routers, writes their replies, and stops politely.
 *
 * A reply's head and body go out in one write with a Content-Length: some clients read an answer in one piece
 * (strongSwan's EST client), and one TLS record is cheaper than two.
 *
 * @module
 */
import { hash, hkdfSync } from 'node:crypto'
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerOptions,
  type ServerResponse,
} from 'node:http'
import { createServer as createSecureServer, type Server as SecureServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import { asTrustError, TrustError } from '#base/errors.ts'
import type { Log } from '#base/log.ts'
import type { World } from '#base/world.ts'
import type { Address } from '#config/setting.ts'
import type { Arrival, Router } from '#protocols/dispatch.ts'
import type { Peer, Reply, ReplyStream } from '#protocols/protocol.ts'
import { discardRest, readBody, streamBody } from './body.ts'
import { holderOf } from './port-holder.ts'
import type { RateLimit } from './rate-limit.ts'
import { checkFace, contextOptions, TICKET_KEY_OCTETS, type TLSFace } from './tls-options.ts'
import { peerOfTLS } from './tls-binding.ts'

export interface ListenerLimits {
  readonly bodyMaxBytes: number
  readonly headerMaxBytes: number
  readonly headersMaxCount: number
  readonly headersTimeoutSeconds: number
  readonly requestTimeoutSeconds: number
  /** For a body that a route takes piece by piece. */
  readonly streamSeconds: number
  readonly idleTimeoutSeconds: number
  readonly keepAliveSeconds: number
  readonly handshakeTimeoutSeconds: number
  readonly connectionsMax: number
  readonly requestsPerConnectionMax: number
  readonly ticketKeyHours: number
  readonly gracefulStopSeconds: number
}

export interface ListenerOptions {
  /** For the log and the metrics. */
  readonly id: 'tls' | 'public' | 'console'
  readonly address: Address
  /** Absent on the plain listener. */
  readonly tls?: ListenerTLS
  /** Others of this process listen there as well, and the system spreads the connections over them. */
  readonly reusePort?: boolean
  readonly limits: ListenerLimits
  readonly rate: RateLimit
  /** Asked in order; the first that knows the path answers. */
  readonly routers: readonly Router[]
  /** Fields of every answer, lower-case names; a reply's own field of the same name wins. */
  readonly headers: Readonly<Record<string, string>>
  readonly world: World
  readonly log: Log
  readonly observe: Observe
}

export interface ListenerTLS {
  readonly face: TLSFace
  readonly asksForCertificate: boolean
  /** Keys of session tickets are made from it: the same for all that share a port. */
  readonly ticketSecret: Uint8Array
}

/** Told once per answer, and for what never became a request. */
export interface Observe {
  request(listener: string, route: string, status: number, seconds: number): void
  connection(listener: string, event: 'opened' | 'refusedHandshake' | 'malformedRequest' | 'overLimit'): void
}

export interface Listener {
  readonly id: ListenerOptions['id']
  /** The address in use; the port is the real one where port 0 was asked for. */
  readonly address: Address
  /** New connections get the new certificate and CA names. @throws Error, and changes nothing, when they cannot be used */
  present(face: TLSFace): void
  /** Takes no more connections, lets requests in flight finish for a bounded time, then ends the rest. */
  stop(): Promise<void>
}

/** What is kept for each connection while it lasts. */
interface Connection {
  readonly peer: Peer
  requests: number
  requestsInFlight: number
  /** A body of a length of its own is on its way, which has its own bound of time. */
  streams: boolean
}

/** The kernel's queue of connections not yet accepted: a line's devices may all start at once. */
const BACKLOG = 1024

/** @throws TrustError `conflict` when the address is taken, `unavailable` when it cannot be listened on */
export async function openListener(options: ListenerOptions): Promise<Listener> {
  const { limits, tls, world, log, observe, id } = options
  const connections = new Map<Socket, Connection>()
  const handshaking = new Set<Socket>()
  let stopping = false

  const server = tls === undefined ? createServer(httpOptions(limits)) : secureServer(tls, limits)
  server.maxHeadersCount = limits.headersMaxCount + 1 // Node drops what is over this count without a word: see tooManyHeaders
  server.maxConnections = limits.connectionsMax
  server.timeout = limits.idleTimeoutSeconds * 1000

  const tickets = tls === undefined ? undefined : ticketKeys(server as SecureServer, limits, world, tls)
  server.on(tls === undefined ? 'connection' : 'secureConnection', (socket: Socket) => {
    const peer = socket instanceof TLSSocket ? peerOfTLS(socket) : plainPeer(socket)
    connections.set(socket, { peer, requests: 0, requestsInFlight: 0, streams: false })
    socket.once('close', () => connections.delete(socket))
    observe.connection(id, 'opened')
    tickets?.renewWhenDue()
  })
  if (tls !== undefined) {
    server.on('connection', (socket: Socket) => {
      handshaking.add(socket)
      socket.once('close', () => handshaking.delete(socket))
    })
    server.on('tlsClientError', (error: Error & { code?: string }) => {
      observe.connection(id, 'refusedHandshake')
      log.debug('TLS handshake failed', { listener: id, code: error.code })
    })
  }
  server.on('drop', () => observe.connection(id, 'overLimit'))
  server.on('clientError', (error: Error & { code?: string }, socket: Socket) => {
    if (socket instanceof TLSSocket && !connections.has(socket)) {
      socket.destroy() // Node reports a failed handshake here as well, and leaves its end to us
      return
    }
    const connection = connections.get(socket)
    // Node tells this once for each request, and leaves what becomes of it to us.
    if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT' && connection?.streams === true) return
    observe.connection(id, 'malformedRequest')
    log.debug('request could not be read', { listener: id, code: error.code })
    refuseUnreadable(error.code, socket, connection)
  })

  const requestIds = requestIdSource(world)
  const answer = answerer(options)
  const take = (waitsForContinue: boolean): RequestListener => {
    return (request, response) => {
      const connection = connections.get(request.socket)
      if (connection === undefined) {
        request.destroy() // closed before its request could be looked at
        return
      }
      connection.requests += 1
      connection.requestsInFlight += 1
      const isLast = limits.requestsPerConnectionMax > 0 && connection.requests >= limits.requestsPerConnectionMax
      response.once('close', () => {
        connection.requestsInFlight -= 1
        if (stopping && connection.requestsInFlight === 0) request.socket.destroySoon()
      })
      const announce = waitsForContinue ? () => response.writeContinue() : undefined
      void answer(request, response, connection, requestIds.next(), announce, () => stopping || isLast)
    }
  }
  server.on('request', take(false))
  server.on('checkContinue', take(true))

  const address = await listen(server, options.address, options.reusePort)
  server.on('error', (error) => log.error('the listener had a fault', { listener: id, error })) // out of file handles, for one
  return {
    id,
    address,
    present(face) {
      if (tls === undefined) throw new TypeError('the plain listener has no certificate')
      checkFace(face)
      ;(server as SecureServer).setSecureContext(contextOptions(face))
      tickets?.renew(face) // a session begun under the old face does not go on under the new one
    },
    async stop() {
      stopping = true
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      for (const [socket, { requestsInFlight }] of connections) if (requestsInFlight === 0) socket.destroySoon()
      for (const socket of handshaking) if (!hasFinished(socket, connections)) socket.destroy()
      const bound = setTimeout(() => {
        log.warn('requests were cut off when the server stopped', { listener: id, connections: connections.size })
        for (const socket of connections.keys()) socket.destroy()
        for (const socket of handshaking) socket.destroy()
      }, limits.gracefulStopSeconds * 1000)
      await closed
      clearTimeout(bound)
    },
  }
}

function httpOptions(limits: ListenerLimits): ServerOptions {
  const shortest = Math.min(limits.headersTimeoutSeconds, limits.requestTimeoutSeconds)
  return {
    maxHeaderSize: limits.headerMaxBytes,
    headersTimeout: Math.min(limits.headersTimeoutSeconds, limits.requestTimeoutSeconds) * 1000,
    requestTimeout: limits.requestTimeoutSeconds * 1000,
    connectionsCheckingInterval: Math.min(5000, shortest * 500),
    keepAliveTimeout: limits.keepAliveSeconds * 1000,
    insecureHTTPParser: false,
    requireHostHeader: true,
    noDelay: true,
  }
}

function secureServer({ face, asksForCertificate }: ListenerTLS, limits: ListenerLimits): SecureServer {
  return createSecureServer({
    ...httpOptions(limits),
    ...contextOptions(face),
    requestCert: asksForCertificate,
    // OpenSSL's own verdict is not used: which chain is good depends on the endpoint, and is decided there.
    rejectUnauthorized: false,
    ALPNProtocols: ['http/1.1'],
    handshakeTimeout: limits.handshakeTimeoutSeconds * 1000,
  })
}

/**
 * Tickets hold the session under this key, so an old key opens old recordings: it is replaced as it ages (RFC 9325, 3.4).
 *
 * Made from the secret, the time and the face, so that all who share a port come to the same key by themselves.
 */
function ticketKeys(server: SecureServer, { ticketKeyHours }: ListenerLimits, { clock }: World, tls: ListenerTLS) {
  const period = (): number => Math.floor(clock.now() / (ticketKeyHours * 3_600_000))
  let face = tls.face
  let current = -1
  const renew = (next = face): void => {
    face = next
    current = period()
    const purpose = `session tickets ${current} ${hash('sha256', faceText(face))}`
    server.setTicketKeys(Buffer.from(hkdfSync('sha256', tls.ticketSecret, new Uint8Array(0), purpose, TICKET_KEY_OCTETS)))
  }
  renew()
  return {
    renew,
    renewWhenDue: () => {
      if (period() !== current) renew()
    },
  }
}

const faceText = ({ identity, clientAuthorities }: TLSFace): string =>
  [identity.certificateChainPEM, ...clientAuthorities.map((der) => der.toBase64())].join()

const plainPeer = (socket: Socket): Peer => ({ address: socket.remoteAddress ?? '', chain: [], tls: undefined })

/** A TCP socket and the TLS socket above it are two objects; the port at the other end says that they belong together. */
function hasFinished(raw: Socket, connections: ReadonlyMap<Socket, Connection>): boolean {
  for (const socket of connections.keys()) {
    if (socket.remotePort === raw.remotePort && socket.remoteAddress === raw.remoteAddress) return true
  }
  return false
}

/** Unique and cheap: chance once per process, then a count. */
function requestIdSource({ random }: World) {
  const prefix = random.octets(6).toHex()
  let count = 0
  return { next: () => `${prefix}-${(count++).toString(36)}` }
}

/** @returns what runs one request from its head to its last octet */
function answerer({ id, limits, rate, routers, headers, log, observe }: ListenerOptions) {
  const standing = Object.entries(headers)

  return async (
    request: IncomingMessage,
    response: ServerResponse,
    connection: Connection,
    requestId: string,
    announce: (() => void) | undefined,
    isLast: () => boolean,
  ): Promise<void> => {
    const { peer } = connection
    const begun = performance.now()
    let route = 'none'
    let reply: Reply
    try {
      const waitSeconds = rate.take(peer.address)
      if (waitSeconds > 0) {
        route = 'rateLimited'
        reply = tooManyRequests(waitSeconds)
      } else if (request.rawHeaders.length / 2 > limits.headersMaxCount) {
        reply = tooManyHeaders(limits.headersMaxCount)
      } else {
        const arrival = arrivalOf(request, connection, requestId, limits, announce)
        const found = firstOf(routers, arrival)
        route = found?.route ?? 'none'
        reply = await (found?.run() ?? notFound())
      }
    } catch (error) {
      reply = failed(error, { requestId, listener: id, route }, log)
    }
    // An unread body of known, bounded length is read out; one that the client still holds back never comes.
    const endsConnection = isLast() || (announce !== undefined && !request.complete)
    if (reply.stream === undefined) send(request, response, reply, standing, requestId, endsConnection)
    else await sendStream(request, response, reply, reply.stream, fieldsOf(reply, standing, requestId, endsConnection), log)
    observe.request(id, route, reply.status, (performance.now() - begun) / 1000)
  }
}

const TEXT = { 'content-type': 'text/plain; charset=utf-8' } as const

export function firstOf(routers: readonly Router[], arrival: Arrival) {
  for (const router of routers) {
    const found = router(arrival)
    if (found !== undefined) return found
  }
  return undefined
}

export const notFound = (): Reply => ({
  status: 404,
  headers: TEXT,
  body: `${new TrustError('notFound', 'unknownPath').message}\n`,
})

/** What no handler turned into an answer of its own. */
export function failed(error: unknown, fields: Readonly<Record<string, string>>, log: Log): Reply {
  log.error('request failed outside its handler', { ...fields, error })
  return { status: 500, headers: TEXT, body: `${asTrustError(error).message}\n` }
}

const tooManyRequests = (retryAfterSeconds: number): Reply => ({
  status: 429,
  headers: { ...TEXT, 'retry-after': String(retryAfterSeconds) },
  body: `${new TrustError('rateLimited', 'tooManyRequests').message}\n`,
})

/** Nothing is left out silently: the field left out might be the one that matters. */
const tooManyHeaders = (limit: number): Reply => ({
  status: 431,
  headers: TEXT,
  body: `${new TrustError('tooLarge', 'tooManyHeaders', { facts: { limit } }).message}\n`,
})

function arrivalOf(
  request: IncomingMessage,
  connection: Connection,
  requestId: string,
  { bodyMaxBytes, streamSeconds }: Pick<ListenerLimits, 'bodyMaxBytes' | 'streamSeconds'>,
  announce: (() => void) | undefined,
): Arrival {
  const target = originForm(request.url ?? '/')
  const mark = target.indexOf('?')
  return {
    requestId,
    method: request.method ?? '',
    path: mark === -1 ? target : target.slice(0, mark),
    query: mark === -1 ? '' : target.slice(mark + 1),
    // Only `set-cookie` could be a list, and no request has one that counts.
    headers: request.headers as Readonly<Record<string, string | undefined>>,
    body: (maxOctets) => readBody(request, Math.min(maxOctets, bodyMaxBytes), announce),
    async *stream(maxOctets) {
      connection.streams = true
      try {
        yield* streamBody(request, { octets: maxOctets, seconds: streamSeconds }, announce)
      } finally {
        connection.streams = false
      }
    },
    peer: connection.peer,
  }
}

/** A server must take the absolute form as well (RFC 9112, 3.2.2); everything else is the path already. */
function originForm(target: string): string {
  if (target.startsWith('/')) return target
  const parsed = URL.parse(target)
  return parsed === null ? '/' : parsed.pathname + parsed.search
}

function send(
  request: IncomingMessage,
  response: ServerResponse,
  reply: Reply,
  standing: readonly (readonly [string, string])[],
  requestId: string,
  endsConnection: boolean,
): void {
  const { status, body } = reply
  if (response.destroyed) return // the peer has gone
  const fields = fieldsOf(reply, standing, requestId, endsConnection)
  const octets = typeof body === 'string' ? Buffer.byteLength(body) : body.length
  if (status !== 204 && status !== 304) fields.push('content-length', String(octets))
  response.writeHead(status, fields)
  if (octets > JOINED_MAX_OCTETS) response.end(body)
  else if (typeof body !== 'string') response.end(latin1(body), 'latin1')
  else response.end(body, octets === body.length ? 'latin1' : 'utf8')
  discardRest(request)
}

function fieldsOf(
  { headers }: Reply,
  standing: readonly (readonly [string, string])[],
  requestId: string,
  endsConnection: boolean,
): string[] {
  const fields: string[] = ['x-request-id', requestId]
  for (const [name, value] of standing) if (headers[name] === undefined) fields.push(name, value)
  for (const name in headers) fields.push(name, headers[name] ?? '')
  if (endsConnection) fields.push('connection', 'close')
  return fields
}

/** One piece is read when the one before has gone out, so that a slow peer holds one piece and not the whole. */
async function sendStream(
  request: IncomingMessage,
  response: ServerResponse,
  { status }: Reply,
  { octets, read, end }: ReplyStream,
  fields: readonly string[],
  log: Log,
): Promise<void> {
  try {
    if (response.destroyed) return // the peer has gone
    response.writeHead(status, [...fields, 'content-length', String(octets)])
    discardRest(request)
    if (request.method !== 'HEAD') {
      for await (const piece of read()) {
        if (!response.write(piece)) await taken(response)
        if (response.destroyed) return
      }
    }
    response.end()
  } catch (error) {
    log.warn('an answer broke off', { path: request.url, error })
    response.destroy() // its length was promised: only a closed connection says that this is not all
  } finally {
    end?.()
  }
}

/** Resolves when the peer has taken what was written, or is gone. */
const taken = (response: ServerResponse): Promise<void> =>
  new Promise((resolve) => {
    const done = (): void => {
      response.off('drain', done)
      response.off('close', done)
      resolve()
    }
    response.on('drain', done)
    response.on('close', done)
  })

/** Node joins a head with a body that is text and writes them as one; octets would be a second piece, which costs more than a copy. */
const JOINED_MAX_OCTETS = 16_384

const latin1 = ({ buffer, byteOffset, length }: Uint8Array): string => Buffer.from(buffer, byteOffset, length).toString('latin1')

const UNREADABLE = new Map<string | undefined, string>([
  ['HPE_HEADER_OVERFLOW', '431 Request Header Fields Too Large'],
  ['HPE_CHUNK_EXTENSIONS_OVERFLOW', '413 Content Too Large'],
  ['ERR_HTTP_REQUEST_TIMEOUT', '408 Request Timeout'],
])

/** Says in one line what was wrong with bytes that are no request, unless an answer is already under way. */
function refuseUnreadable(code: string | undefined, socket: Socket, connection: Connection | undefined): void {
  if (code === 'ECONNRESET' || !socket.writable || (connection?.requestsInFlight ?? 0) > 0) {
    socket.destroy()
    return
  }
  const status = UNREADABLE.get(code) ?? '400 Bad Request'
  const body = `${status.slice(4)}\n`
  socket.end(
    `HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
  )
  socket.once('finish', () => socket.destroy())
}

/**
 * Makes sure that nobody else has an address which several listeners are about to share.
 *
 * @returns the address with its real port where port 0 was asked for @throws TrustError as {@link openListener}
 */
export async function reservePort(address: Address): Promise<Address> {
  const probe = createServer()
  const real = await listen(probe, address)
  await new Promise((resolve) => probe.close(resolve))
  return real
}

function listen(server: Server, { host, port }: Address, reusePort = false): Promise<Address> {
  return new Promise((resolve, reject) => {
    const facts = { address: host.includes(':') ? `[${host}]:${port}` : `${host}:${port}` }
    const refuse = (cause: Error & { code?: string }) => {
      reject(
        cause.code === 'EADDRINUSE'
          ? new TrustError('conflict', 'addressTaken', {
              facts: { ...facts, holder: holderOf(port) ?? 'Another program' },
              cause,
            })
          : new TrustError('unavailable', 'addressUnusable', { facts: { ...facts, detail: cause.code ?? 'unknown' }, cause }),
      )
    }
    server.once('error', refuse)
    server.listen({ host, port, backlog: BACKLOG, reusePort }, () => {
      server.off('error', refuse)
      resolve({ host, port: (server.address() as AddressInfo).port })
    })
  })
}
