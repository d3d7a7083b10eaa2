/** A listener on a free port with short limits, and certificates for its tests. Not part of any program. @module */
import { readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { utf8 } from '#base/bytes.ts'
import { silentLog } from '#base/log.ts'
import { secret } from '#base/secret.ts'
import { systemWorld, type World } from '#base/world.ts'
import type { Router } from '#protocols/dispatch.ts'
import { type Listener, type ListenerLimits, type ListenerOptions, openListener } from './listener.ts'
import { rateLimit } from './rate-limit.ts'
import type { TLSFace } from './tls-options.ts'

export const testdata = (name: string): string => readFileSync(new URL(`./testdata/${name}`, import.meta.url), 'utf8')

export const testdataPath = (name: string): string => join(import.meta.dirname, 'testdata', name)

export const derOf = (pem: string): Uint8Array => Uint8Array.fromBase64(pem.replace(/-----[^-]+-----|\s/g, ''))

export const face = (name: 'server' | 'other-server' = 'server', authorities: readonly string[] = ['client-root']): TLSFace => ({
  identity: { certificateChainPEM: testdata(`${name}.pem`), privateKeyPEM: secret(utf8(testdata(`${name}.key`))) },
  clientAuthorities: authorities.map((authority) => derOf(testdata(`${authority}.pem`))),
})

export const limits: ListenerLimits = {
  bodyMaxBytes: 100_000,
  headerMaxBytes: 4096,
  headersMaxCount: 20,
  headersTimeoutSeconds: 0.3,
  requestTimeoutSeconds: 0.6,
  streamSeconds: 3,
  idleTimeoutSeconds: 5,
  keepAliveSeconds: 5,
  handshakeTimeoutSeconds: 1,
  connectionsMax: 100,
  requestsPerConnectionMax: 0,
  ticketKeyHours: 1,
  gracefulStopSeconds: 0.5,
}

interface Observed {
  readonly requests: [route: string, status: number][]
  readonly connections: string[]
}

export interface TestListenerOptions {
  readonly tls?: boolean
  readonly asksForCertificate?: boolean
  readonly limits?: Partial<ListenerLimits>
  readonly perSecond?: number
  readonly burst?: number
  readonly world?: World
  readonly log?: ListenerOptions['log']
  readonly reusePort?: boolean
}

/** @param context a test, which closes the listener at its end */
export async function listenFor(
  context: { after(work: () => Promise<void>): void },
  routers: readonly Router[],
  given: TestListenerOptions = {},
): Promise<Listener & { readonly observed: Observed }> {
  const observed: Observed = { requests: [], connections: [] }
  const world = given.world ?? systemWorld()
  const listener = await openListener({
    id: given.tls === true ? 'tls' : 'public',
    address: { host: '127.0.0.1', port: 0 },
    ...(given.tls === true
      ? { tls: { face: face(), asksForCertificate: given.asksForCertificate ?? true, ticketSecret: new Uint8Array(32).fill(7) } }
      : {}),
    ...(given.reusePort === true && { reusePort: true }),
    limits: { ...limits, ...given.limits },
    rate: rateLimit({ perSecond: given.perSecond ?? 0, burst: given.burst ?? 1, addressesMax: 100, clock: world.clock }),
    routers,
    headers: { 'x-content-type-options': 'nosniff' },
    world,
    log: given.log ?? silentLog,
    observe: {
      request: (_listener, route, status) => observed.requests.push([route, status]),
      connection: (_listener, event) => observed.connections.push(event),
    },
  })
  let stopped: Promise<void> | undefined
  const stop = () => (stopped ??= listener.stop())
  context.after(stop)
  return { ...listener, stop, observed }
}

/** Answers every path with what `handle` says; the route is the path. */
export const routerOf =
  (handle: (arrival: Parameters<Router>[0]) => ReturnType<NonNullable<ReturnType<Router>>['run']>): Router =>
  (arrival) => ({ route: arrival.path, run: () => handle(arrival) })

/** Writes raw octets and gives what came back when the peer closes. */
export function rawExchange(port: number, chunks: readonly string[], options: { readonly end?: boolean } = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    let got = ''
    const socket: Socket = connect(port, '127.0.0.1', () => {
      for (const chunk of chunks) socket.write(chunk)
      if (options.end === true) socket.end()
    })
    socket.setEncoding('latin1')
    socket.on('data', (chunk: string) => (got += chunk))
    socket.on('error', (error: Error & { code?: string }) =>
      error.code === 'ECONNRESET' || error.code === 'EPIPE' ? resolve(got) : reject(error),
    )
    socket.on('close', () => resolve(got))
  })
}
