/**
 * Devices that poll at their own pace, in a process of its own: so many connections of mutual TLS, one for each device, and so many
 * polls a second over all of them, each timed from when it was due.
 *
 *     node bench/ddi-load.ts ORDER.json
 *
 * @module
 */
import { readFileSync } from 'node:fs'
import { connect, createSecureContext, type TLSSocket } from 'node:tls'
import { setTimeout as wait } from 'node:timers/promises'

export interface PollOrder {
  readonly port: number
  /** PEM */
  readonly trust: string
  readonly serverName: string
  /** One device each. PEM */
  readonly sessions: readonly { readonly path: string; readonly certificate: string; readonly key: string }[]
  readonly perSecond: number
  readonly seconds: number
}

export interface PollReport {
  readonly handshakesPerSecond: number
  readonly polls: number
  readonly seconds: number
  readonly statuses: Readonly<Record<number, number>>
  /** How many answers linked a deployment. */
  readonly deployments: number
  readonly latencyMilliseconds: { readonly median: number; readonly p99: number; readonly most: number }
}

/** At the same time: more would measure the queue. */
const HANDSHAKES_AT_ONCE = 16
const TICK_MILLISECONDS = 5
const HEAD_END = '\r\n\r\n'

const order = JSON.parse(readFileSync(process.argv[2] as string, 'utf8')) as PollOrder
const latencies: number[] = []
const statuses: Record<number, number> = {}
let deployments = 0

interface Session {
  readonly socket: TLSSocket
  readonly request: string
  /** When each poll that has no answer yet was due, the one that is under way first. */
  readonly due: number[]
  held: string
}

function answered(session: Session, status: number, body: string): void {
  latencies.push(performance.now() - (session.due.shift() ?? 0))
  statuses[status] = (statuses[status] ?? 0) + 1
  if (body.includes('deploymentBase')) deployments++
  if (session.due.length > 0) session.socket.write(session.request)
}

function read(session: Session): void {
  const headEnd = session.held.indexOf(HEAD_END)
  const length = headEnd < 0 ? undefined : /\r\ncontent-length: (\d+)/i.exec(session.held.slice(0, headEnd))?.[1]
  if (length === undefined) return
  const end = headEnd + HEAD_END.length + Number(length)
  if (session.held.length < end) return
  const body = session.held.slice(headEnd + HEAD_END.length, end)
  const status = Number(session.held.slice(9, 12))
  session.held = session.held.slice(end)
  answered(session, status, body)
}

function open({ path, certificate, key }: PollOrder['sessions'][number]): Promise<Session> {
  const { port, trust, serverName: servername } = order
  const secureContext = createSecureContext({ ca: trust, cert: certificate, key, minVersion: 'TLSv1.3' })
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', servername, secureContext }, () => {
      const request = `GET ${path} HTTP/1.1\r\nHost: ${servername}:${port}\r\nAccept: application/hal+json\r\n\r\n`
      const session: Session = { socket, request, due: [], held: '' }
      socket.setEncoding('latin1')
      socket.on('data', (chunk: string) => {
        session.held += chunk
        read(session)
      })
      socket.on('close', () => {
        for (const _ of session.due) statuses[0] = (statuses[0] ?? 0) + 1
      })
      resolve(session)
    })
    socket.on('error', reject)
  })
}

const waiting = [...order.sessions]
const sessions: Session[] = []
const beforeHandshakes = performance.now()
const dial = async (): Promise<void> => {
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) sessions.push(await open(next))
}
await Promise.all(Array.from({ length: HANDSHAKES_AT_ONCE }, dial))
const handshakesPerSecond = (sessions.length / (performance.now() - beforeHandshakes)) * 1000

const begun = performance.now()
let sent = 0
for (let now = begun; now - begun < order.seconds * 1000; now = performance.now()) {
  const until = ((now - begun) / 1000) * order.perSecond
  for (; sent < until; sent++) {
    const session = sessions[sent % sessions.length] as Session
    session.due.push(begun + (sent / order.perSecond) * 1000)
    if (session.due.length === 1) session.socket.write(session.request)
  }
  await wait(TICK_MILLISECONDS)
}
while (sessions.some(({ due, socket }) => due.length > 0 && !socket.destroyed)) await wait(TICK_MILLISECONDS)
const seconds = (performance.now() - begun) / 1000
for (const { socket } of sessions) socket.destroy()

latencies.sort((a, b) => a - b)
const at = (part: number): number => latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * part))] ?? 0
const report: PollReport = {
  ...{ handshakesPerSecond, polls: latencies.length, seconds, statuses, deployments },
  latencyMilliseconds: { median: at(0.5), p99: at(0.99), most: latencies.at(-1) ?? 0 },
}
process.stdout.write(JSON.stringify(report))
