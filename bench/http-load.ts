/**
 * A lean HTTP client in a process of its own: it sends requests that were written beforehand, over as many connections
 * as it is told, and looks at each answer's status. Samples of the answers go back to whoever started it.
 *
 *     node bench/http-load.ts ORDER.json
 *
 * The order names a file of requests, each as four octets of length and the bytes of a whole HTTP request.
 *
 * @module
 */
import { readFileSync } from 'node:fs'
import { connect as connectPlain, type Socket } from 'node:net'
import { connect as connectSecure, createSecureContext } from 'node:tls'

export interface Order {
  readonly port: number
  readonly tls?: {
    /** PEM */
    readonly trust: string
    readonly serverName: string
    /** One for all connections, or one for each request, by its number. PEM */
    readonly holders: readonly { readonly certificate: string; readonly key: string }[]
  }
  readonly requestsFile: string
  readonly connections: number
  /** A connection of its own for each request. */
  readonly oneRequestEach: boolean
  /** Answers that are not counted. */
  readonly warmUp: number
  /** Ends after the last request, or goes round until so many seconds of measuring have passed. */
  readonly seconds?: number
}

export interface Report {
  readonly answered: number
  readonly seconds: number
  /** Answers by status; a connection that failed counts as 0. */
  readonly statuses: Readonly<Record<number, number>>
  readonly latencyMilliseconds: { readonly median: number; readonly p99: number }
  /** Processor time of this process while it measured. */
  readonly cpuSeconds: number
  readonly samples: readonly { readonly request: number; /** base64 */ readonly body: string }[]
}

const SAMPLES = 32
const HEAD_END = Buffer.from('\r\n\r\n')
const CHUNKS_END = Buffer.from('0\r\n\r\n')

const order = JSON.parse(readFileSync(process.argv[2] as string, 'utf8')) as Order
const requests = readRequests(order.requestsFile)
const contexts = (order.tls?.holders ?? []).map(({ certificate, key }) =>
  createSecureContext({ ca: order.tls?.trust, cert: certificate, key, minVersion: 'TLSv1.3' }),
)

let next = 0
let seen = 0
let begun = 0
let ended = 0
let cpuBefore = process.cpuUsage()
const statuses: Record<number, number> = {}
const latencies: number[] = []
const samples: { request: number; body: string }[] = []
const sampleEvery = Math.max(1, Math.floor(requests.length / SAMPLES))

/** @returns the number of the next request, undefined when it is over */
function take(): number | undefined {
  const goesRound = order.seconds !== undefined
  if (goesRound && begun > 0 && performance.now() - begun > order.seconds * 1000) return undefined
  if (!goesRound && next >= requests.length) return undefined
  return next++ % requests.length
}

function note(request: number, sentAt: number, status: number, body: Buffer | undefined): void {
  const now = performance.now()
  seen++
  if (seen === order.warmUp) {
    begun = now
    cpuBefore = process.cpuUsage()
  }
  if (seen <= order.warmUp) return
  ended = now
  statuses[status] = (statuses[status] ?? 0) + 1
  latencies.push(now - sentAt)
  if (body !== undefined && seen % sampleEvery === 0 && samples.length < SAMPLES)
    samples.push({ request, body: body.toString('base64') })
}

const open = (request: number): Socket => {
  const { port, tls } = order
  if (tls === undefined) return connectPlain({ port, host: '127.0.0.1', noDelay: true })
  const secureContext = contexts[request % contexts.length]
  return connectSecure({ port, host: '127.0.0.1', servername: tls.serverName, ...(secureContext && { secureContext }) })
}

/** One connection after the other, or one for everything. */
async function talk(): Promise<void> {
  for (let request = take(); request !== undefined; request = order.oneRequestEach ? take() : undefined) {
    await converse(open(request), request)
  }
}

/** Sends one request after the other on a connection, each when the one before is answered. */
function converse(socket: Socket, first: number): Promise<void> {
  return new Promise((resolve) => {
    let request = first
    let sentAt = performance.now()
    let held: Buffer | undefined
    let waiting = true
    const send = (): void => {
      waiting = true
      socket.write(requests[request] as Buffer)
    }
    const closed = (): void => {
      if (waiting) {
        const answer = held === undefined ? undefined : readAnswer(held, true)
        note(request, sentAt, answer?.status ?? 0, answer?.body)
      }
      resolve()
    }
    socket.on('data', (chunk: Buffer) => {
      held = held === undefined ? chunk : Buffer.concat([held, chunk])
      const answer = readAnswer(held, false)
      if (answer === undefined) return
      held = undefined
      waiting = false
      note(request, sentAt, answer.status, answer.body)
      const following = order.oneRequestEach ? undefined : take()
      if (following === undefined) {
        socket.destroySoon()
        return
      }
      request = following
      sentAt = performance.now()
      send()
    })
    socket.on('error', () => {})
    socket.on('close', closed)
    send()
  })
}

/** @returns undefined while the answer is not whole */
function readAnswer(held: Buffer, isClosed: boolean): { readonly status: number; readonly body: Buffer } | undefined {
  const headEnd = held.indexOf(HEAD_END)
  if (headEnd < 0) return undefined
  const head = held.toString('latin1', 0, headEnd)
  const status = Number(head.slice(9, 12))
  const bodyAt = headEnd + HEAD_END.length
  const length = /\r\ncontent-length: (\d+)/i.exec(head)?.[1]
  if (length !== undefined) {
    const end = bodyAt + Number(length)
    return held.length < end ? undefined : { status, body: held.subarray(bodyAt, end) }
  }
  const isChunked = /\r\ntransfer-encoding: chunked/i.test(head)
  const isWhole = isChunked ? held.subarray(-CHUNKS_END.length).equals(CHUNKS_END) : isClosed
  return isWhole ? { status, body: held.subarray(bodyAt) } : undefined
}

function readRequests(file: string): readonly Buffer[] {
  const octets = readFileSync(file)
  const found: Buffer[] = []
  for (let at = 0; at < octets.length;) {
    const length = octets.readUInt32BE(at)
    found.push(octets.subarray(at + 4, at + 4 + length))
    at += 4 + length
  }
  return found
}

await Promise.all(Array.from({ length: order.connections }, talk))
const { user, system } = process.cpuUsage(cpuBefore)
latencies.sort((a, b) => a - b)
const at = (part: number): number => latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * part))] ?? 0
const report: Report = {
  answered: latencies.length,
  seconds: (ended - begun) / 1000,
  statuses,
  latencyMilliseconds: { median: at(0.5), p99: at(0.99) },
  cpuSeconds: (user + system) / 1e6,
  samples,
}
process.stdout.write(JSON.stringify(report))
