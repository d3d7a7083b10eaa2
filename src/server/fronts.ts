/**
 * Starts the fronts, keeps them going, and answers what they hand on.
 *
 * @module
 */
import { setTimeout as wait } from 'node:timers/promises'
import { MessagePort, Worker } from 'node:worker_threads'
import { TrustError } from '#base/errors.ts'
import type { Log } from '#base/log.ts'
import { alone, receivedError, type SentError } from '#base/sent.ts'
import type { KeyRing } from '#keys/key-ring.ts'
import { shareKeyStores } from '#keys/lent.ts'
import type { Arrival, Router } from '#protocols/dispatch.ts'
import type { Reply } from '#protocols/protocol.ts'
import type { Database } from '#store/database.ts'
import {
  FORWARDED,
  type FromFront,
  type FrontOrder,
  type SentArrival,
  sendFace,
  type SentReply,
  type ToFront,
} from './front-messages.ts'
import { failed, firstOf, type Listener, notFound, type Observe, reservePort } from './listener.ts'
import { borrowStream, lendStream } from './lent-stream.ts'
import type { TLSFace } from './tls-options.ts'

/** A front that dies at once, again and again, shall not take the processor from those that live. */
const RESTART_SECONDS = 1

export interface FrontsOptions extends Pick<FrontOrder, 'config' | 'environment' | 'addresses' | 'headers'> {
  readonly count: number
  readonly database: Database
  readonly keys: KeyRing
  readonly face: () => Promise<TLSFace>
  readonly ticketSecret: Uint8Array
  /** What the main thread answers, by listener. */
  readonly routers: Readonly<Record<Listener['id'], readonly Router[]>>
  readonly observe: Observe
  readonly log: Log
  /** Takes a whole line of a front's log. */
  readonly write: (line: string) => void
}

export interface Fronts {
  readonly addresses: FrontOrder['addresses']
  present(face: TLSFace): void
  /** @returns when every front looks at things as they are now */
  changed(): Promise<void>
  stop(): Promise<void>
}

/** @returns when all of them listen @throws TrustError `conflict` when an address is taken, or what kept a front from starting */
export async function startFronts(options: FrontsOptions): Promise<Fronts> {
  const { count, log } = options
  if (process.platform !== 'linux') throw new TrustError('unsupported', 'frontsNeedLinux')
  // With a shared port the system would let another program's socket join ours without a word.
  const tls = await reservePort(options.addresses.tls)
  const addresses = { tls, public: await reservePort(options.addresses.public) }
  const order = { ...options, addresses }
  const running = new Set<Front>()
  let stopping = false

  const start = async (): Promise<void> => {
    const front = await startFront(order)
    running.add(front)
    void front.ended.then((error) => {
      running.delete(front)
      if (stopping) return
      log.error('a front ended and is started again', { error })
      void again()
    })
  }
  const again = async (): Promise<void> => {
    while (!stopping) {
      await wait(RESTART_SECONDS * 1000)
      try {
        return await start()
      } catch (error) {
        log.error('a front could not be started', { error })
      }
    }
  }
  await Promise.all(Array.from({ length: count }, start))

  return {
    addresses,
    present: (face) => running.forEach((front) => front.tell({ kind: 'present', face: sendFace(face) })),
    async changed() {
      await Promise.all([...running].map((front) => front.changed()))
    },
    async stop() {
      stopping = true
      const all = [...running]
      for (const front of all) front.tell({ kind: 'stop' })
      await Promise.all(all.map(({ ended }) => ended))
    },
  }
}

interface Front {
  /** @returns when it has seen it, or has ended */
  changed(): Promise<unknown>
  tell(message: ToFront): void
  /** What it ended with, undefined when it was told to. */
  readonly ended: Promise<unknown>
}

async function startFront({
  config,
  environment,
  addresses,
  headers,
  ticketSecret,
  count,
  ...options
}: FrontsOptions): Promise<Front> {
  const database = options.database.share()
  const keyStores = shareKeyStores(options.keys)
  const order: FrontOrder = {
    ...{ config, environment, addresses, headers, ticketSecret, fronts: count },
    database,
    keyStores,
    face: sendFace(await options.face()),
  }
  const worker = new Worker(new URL('front.ts', import.meta.url), {
    workerData: order,
    transferList: [keyStores.port, ...(database.engine === 'sqlite' ? [database.port] : [])],
    name: 'front',
  })
  const tell = (message: ToFront): void => worker.postMessage(message, [])
  const ready = Promise.withResolvers<void>()
  const ended = new Promise<unknown>((resolve) => {
    worker.on('error', (error) => {
      options.log.error('a front failed', { error })
      resolve(error)
      ready.reject(new TrustError('unavailable', 'frontEnded', { cause: error }))
    })
    worker.on('exit', (code) => {
      resolve(code === 0 ? undefined : new Error(`the thread ended with ${code}`))
      ready.reject(new TrustError('unavailable', 'frontEnded'))
    })
  })
  const looking = new Map<number, () => void>()
  let looks = 0
  const changed = (): Promise<unknown> => {
    const seen = new Promise<void>((resolve) => looking.set(++looks, resolve))
    tell({ kind: 'changed', id: looks })
    return Promise.race([seen, ended])
  }
  worker.on('message', (message: FromFront) => {
    if (message.kind === 'ready') ready.resolve()
    else if (message.kind === 'seen') {
      looking.get(message.id)?.()
      looking.delete(message.id)
    } else if (message.kind === 'log') options.write(message.line)
    else if (message.kind === 'ask')
      void answer(options, message).then((reply) => {
        const { stream } = reply
        worker.postMessage({ kind: 'answer', id: message.id, reply } satisfies ToFront, stream === undefined ? [] : [stream.port])
      })
    else {
      for (const connection of message.connections) options.observe.connection(...connection)
      for (const request of message.requests) if (request[1] !== FORWARDED) options.observe.request(...request)
    }
  })
  await ready.promise
  return { tell, changed, ended }
}

/** Never rejects: a page that fails is answered as a listener of this thread answers it, and takes nothing else down. */
export async function answer(
  { routers, observe, log }: Pick<FrontsOptions, 'routers' | 'observe' | 'log'>,
  { listener, arrival }: Pick<FromFront & { readonly kind: 'ask' }, 'listener' | 'arrival'>,
): Promise<SentReply> {
  const begun = performance.now()
  const peer = { ...arrival.peer, tls: undefined }
  let route = 'none'
  let reply: Reply
  try {
    const found = firstOf(routers[listener], { ...arrival, peer, ...bodyOf(arrival.body) })
    route = found?.route ?? route
    reply = (await found?.run()) ?? notFound()
  } catch (error) {
    reply = failed(error, { requestId: arrival.requestId, listener, route }, log)
  }
  if (arrival.body instanceof MessagePort) arrival.body.close() // whoever wanted it has read it
  const { status, headers, body, stream } = reply
  observe.request(listener, route, status, (performance.now() - begun) / 1000)
  const whole = { status, headers, body: typeof body === 'string' ? body : alone(body) }
  return stream === undefined ? whole : { ...whole, stream: { octets: stream.octets, port: lendStream(stream) } }
}

function bodyOf(sent: SentArrival['body']): Pick<Arrival, 'body' | 'stream'> {
  if (sent instanceof MessagePort) {
    // nothing that is streamed is JSON, so nobody takes it whole
    return {
      body: () => Promise.reject(new TrustError('unsupported', 'jsonNeeded')),
      stream: (most) => upTo(most, borrowStream(sent)),
    }
  }
  const body = (most: number): Promise<Uint8Array> => bounded(sent, most)
  return {
    body,
    async *stream(most) {
      yield await body(most)
    },
  }
}

async function* upTo(most: number, pieces: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let size = 0
  for await (const piece of pieces) {
    size += piece.length
    if (size > most) throw new TrustError('tooLarge', 'bodyTooLarge', { facts: { limit: most } })
    yield piece
  }
}

/** @throws TrustError `tooLarge`, or what the front met when it read the body */
function bounded(body: Uint8Array | SentError, most: number): Promise<Uint8Array> {
  if (!(body instanceof Uint8Array)) return Promise.reject(receivedError(body))
  if (body.length > most) return Promise.reject(new TrustError('tooLarge', 'bodyTooLarge', { facts: { limit: most } }))
  return Promise.resolve(body)
}
