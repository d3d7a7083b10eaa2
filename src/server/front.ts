/**
 * A front: a thread that takes connections and answers the protocols, so that TLS, parsing and cryptography use every core.
 *
 * Fronts listen on the same addresses, and the system spreads the connections over them. What is not a protocol (REST,
 * pages, health, metrics) is handed to the main thread, which owns the database file and whatever there is one of.
 *
 * @module
 */
import { setTimeout as wait } from 'node:timers/promises'
import { type MessagePort, parentPort, workerData } from 'node:worker_threads'
import { createLog } from '#base/log.ts'
import { alone, sendError, type SentError } from '#base/sent.ts'
import { systemWorld } from '#base/world.ts'
import { type Arrival, dispatcher, type Router } from '#protocols/dispatch.ts'
import type { Reply } from '#protocols/protocol.ts'
import { forgetLately } from '#ca/lately.ts'
import { borrowKeyStores } from '#keys/lent.ts'
import { openShared } from '#store/registry.ts'
import { runInBackground } from './background.ts'
import { composeProtocols, openCA, openFoundation } from './compose.ts'
import {
  AUTHORITIES_SECONDS,
  FORWARDED,
  type FromFront,
  type FrontOrder,
  type ObservedConnection,
  type ObservedRequest,
  isStreamed,
  receivedFace,
  type SentReply,
  type ToFront,
} from './front-messages.ts'
import { type Listener, type Observe, openListener } from './listener.ts'
import { borrowStream, lendStream } from './lent-stream.ts'
import { rateLimit } from './rate-limit.ts'

const OBSERVATIONS_SECONDS = 1

async function runFront(order: FrontOrder, port: MessagePort): Promise<void> {
  const { config, environment, addresses, headers, ticketSecret, fronts } = order
  const { server } = config
  const post: Post = (message, transferred = []) => port.postMessage(message, [...transferred])
  const world = systemWorld()
  const log = createLog({ level: config.log.level, clock: world.clock, write: (line) => post({ kind: 'log', line }) })
  const database = openShared(order.database)
  const foundation = await openFoundation({
    config,
    world,
    environment,
    log,
    shared: { database, keyStores: borrowKeyStores(order.keyStores) },
  })
  const ca = await openCA(foundation, config)
  const mounted = composeProtocols(ca)
  const { observe, send: sendObservations } = observations(post)
  const main = mainThread(post, server.bodyMaxBytes)
  const share = (most: number): number => Math.ceil(most / fronts)

  const open = (id: 'tls' | 'public'): Promise<Listener> =>
    openListener({
      id,
      address: addresses[id],
      reusePort: true,
      routers: [dispatcher(mounted, id, log), main.router(id)],
      ...(id === 'tls' && { tls: { face: receivedFace(order.face), asksForCertificate: true, ticketSecret } }),
      limits: { ...server, connectionsMax: share(server.connectionsMax) },
      rate: rateLimit({
        perSecond: server.requestsPerSecondPerAddress,
        burst: server.requestBurstPerAddress,
        addressesMax: share(server.rateAddressesMax),
        clock: world.clock,
      }),
      headers,
      world,
      log,
      observe,
    })
  const tls = await open('tls')
  const listeners = [tls, await open('public')]
  const background = runInBackground(
    [
      { name: 'authorities', everySeconds: AUTHORITIES_SECONDS, run: () => ca.authorities.refresh() },
      { name: 'metrics', everySeconds: OBSERVATIONS_SECONDS, run: async () => sendObservations() },
    ],
    log,
    (milliseconds, signal) => wait(milliseconds, undefined, { signal, ref: false }).catch(() => {}),
  )

  async function look(): Promise<void> {
    forgetLately(database)
    await ca.authorities.refresh()
  }

  async function stop(): Promise<void> {
    await Promise.all(listeners.map((listener) => listener.stop()))
    await background.stop()
    sendObservations()
    await database.close()
    await foundation.keys.close()
    port.close() // nothing is left to wait for, so the thread ends
  }

  port.on('message', (message: ToFront) => {
    if (message.kind === 'answer') main.answered(message.id, message.reply)
    else if (message.kind === 'changed') {
      // Without its database a front still says so to those who ask; it looks again by itself.
      void look()
        .catch((error: unknown) => log.error('what was changed could not be read', { error }))
        .finally(() => post({ kind: 'seen', id: message.id }))
    } else if (message.kind === 'present') tls.present(receivedFace(message.face))
    else void stop()
  })
  post({ kind: 'ready' })
}

type Post = (message: FromFront, transferred?: readonly MessagePort[]) => void

/** What each route takes is less; this one only hands on. */
const ARTIFACT_MAX_OCTETS = Number.MAX_SAFE_INTEGER

/** Requests that the main thread answers. */
function mainThread(post: Post, bodyMaxBytes: number) {
  const waiting = new Map<number, (reply: SentReply) => void>()
  let asked = 0

  async function ask(listener: Listener['id'], arrival: Arrival): Promise<Reply> {
    const { requestId, method, path, query, headers, peer } = arrival
    const rest = { requestId, method, path, query, headers }
    const id = ++asked
    const streamed = isStreamed(arrival) ? lendStream({ read: () => arrival.stream(ARTIFACT_MAX_OCTETS) }) : undefined
    const sent = {
      ...rest,
      body: streamed ?? (await bodyOf(arrival, bodyMaxBytes)),
      peer: { address: peer.address, chain: peer.chain.map(alone) },
    }
    const { stream, ...whole } = await new Promise<SentReply>((resolve) => {
      waiting.set(id, resolve)
      post({ kind: 'ask', id, listener, arrival: sent }, streamed === undefined ? [] : [streamed])
    })
    if (stream === undefined) return whole
    const { octets, port } = stream
    return { ...whole, stream: { octets, read: () => borrowStream(port), end: () => port.close() } }
  }

  return {
    router: (listener: Listener['id']): Router => {
      return (arrival) => ({ route: FORWARDED, run: () => ask(listener, arrival) })
    },
    answered(id: number, reply: SentReply): void {
      waiting.get(id)?.(reply)
      waiting.delete(id)
    },
  }
}

const bodyOf = async (arrival: Arrival, most: number): Promise<Uint8Array | SentError> => {
  try {
    return alone(await arrival.body(most))
  } catch (thrown) {
    return sendError(thrown)
  }
}

/** Counted in the main thread, which renders the metrics of all. */
function observations(post: (message: FromFront) => void): { readonly observe: Observe; send(): void } {
  let requests: ObservedRequest[] = []
  let connections: ObservedConnection[] = []
  return {
    observe: {
      request: (...request) => void requests.push(request),
      connection: (...connection) => void connections.push(connection),
    },
    send() {
      if (requests.length + connections.length === 0) return
      post({ kind: 'observed', requests, connections })
      requests = []
      connections = []
    },
  }
}

if (parentPort === null) throw new TypeError('a front is a thread of the server')
await runFront(workerData as FrontOrder, parentPort)
