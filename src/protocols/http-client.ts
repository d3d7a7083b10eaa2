/**
 * One HTTP exchange, as the clients of the protocol folders need it: bounded, timed, and typed when it fails.
 *
 * @module
 */
import {
  Agent as HTTPAgent,
  request as httpRequest,
  type ClientRequest,
  type IncomingMessage,
  type RequestOptions,
} from 'node:http'
import { Agent as HTTPSAgent, request as httpsRequest, type AgentOptions } from 'node:https'
import { TLSSocket } from 'node:tls'
import { concat } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'

/** An answer that comes at all comes within so many times the wait for its next octets: one that only drips holds nobody up. */
const WHOLE_FACTOR = 4

export interface Question {
  readonly method: 'GET' | 'POST' | 'PUT'
  readonly url: URL
  readonly headers: Readonly<Record<string, string>>
  /** Made on the connection that will carry it, where it depends on that; the argument is undefined without TLS. */
  readonly body?: Uint8Array | string | ((socket: TLSSocket | undefined) => Promise<Uint8Array | string>)
  /** For the next octets; all of them may take four times as long. */
  readonly timeoutSeconds: number
  readonly answerMaxOctets: number
}

export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | undefined>>
  readonly body: Uint8Array
}

/** How questions reach a server; the clients of the protocol folders take one of their own or one that is given. */
export interface Transport {
  /** @throws TrustError `unavailable` when the server is not reached or does not answer, `tooLarge` */
  ask(question: Question): Promise<Answer>
  close(): void
}

/** Node's own client. @param options of its TLS connections */
export function httpTransport(url: URL, options: AgentOptions = {}): Transport {
  const agent = keepAliveAgent(url, options)
  return { ask: (question) => ask(question, agent), close: () => agent.destroy() }
}

/** The same over connections that belong to somebody else. */
export const agentTransport = (agent: HTTPAgent): Transport => ({ ask: (question) => ask(question, agent), close: () => {} })

/** Sockets of one client stay open between requests; a handshake costs more than what most requests ask for. */
const keepAliveAgent = (url: URL, options: AgentOptions = {}): HTTPAgent =>
  url.protocol === 'https:'
    ? new HTTPSAgent({ keepAlive: true, scheduling: 'fifo', ...options })
    : new HTTPAgent({ keepAlive: true, scheduling: 'fifo' })

function ask({ method, url, headers, body, timeoutSeconds, answerMaxOctets }: Question, agent: HTTPAgent): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const options: RequestOptions = { method, headers: { ...headers }, agent, timeout: timeoutSeconds * 1000 }
    const request = url.protocol === 'https:' ? httpsRequest(url, options) : httpRequest(url, options)
    request.on('response', (response) => void read(response, answerMaxOctets).then(resolve, reject))
    request.on('timeout', () => request.destroy(new Error('no answer in time')))
    const whole = setTimeout(() => request.destroy(new Error('the answer takes too long')), timeoutSeconds * WHOLE_FACTOR * 1000)
    request.on('close', () => clearTimeout(whole))
    request.on('error', (cause) => reject(cause instanceof TrustError ? cause : notReached(url, cause)))
    if (typeof body === 'function')
      request.on('socket', (socket) => whenSecure(socket, () => void writeLater(request, body, socket)))
    else if (body === undefined) request.end()
    else writeBody(request, body)
  })
}

const notReached = (url: URL, cause: unknown): TrustError =>
  new TrustError('unavailable', 'serverNotReached', {
    facts: { address: url.host, detail: cause instanceof Error ? cause.message : '' },
    cause,
  })

function writeBody(request: ClientRequest, body: Uint8Array | string): void {
  request.setHeader('content-length', Buffer.byteLength(body))
  request.end(body)
}

async function writeLater(
  request: ClientRequest,
  make: (socket: TLSSocket | undefined) => Promise<Uint8Array | string>,
  socket: unknown,
): Promise<void> {
  try {
    writeBody(request, await make(socket instanceof TLSSocket ? socket : undefined))
  } catch (thrown) {
    request.destroy(thrown instanceof Error ? thrown : new Error(String(thrown)))
  }
}

/** Nothing can be exported from a connection before both have finished their handshake. */
function whenSecure(socket: unknown, then: () => void): void {
  const isUnfinished =
    socket instanceof TLSSocket && (socket.getFinished() === undefined || socket.getPeerFinished() === undefined)
  if (isUnfinished) socket.once('secureConnect', then)
  else then()
}

function read(response: IncomingMessage, maxOctets: number): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const chunks: Uint8Array[] = []
    let size = 0
    response.on('data', (chunk: Uint8Array) => {
      size += chunk.length
      if (size <= maxOctets) chunks.push(chunk)
      else response.destroy(new TrustError('tooLarge', 'answerTooLarge', { facts: { limit: maxOctets } }))
    })
    response.on('end', () =>
      resolve({ status: response.statusCode ?? 0, headers: response.headers as Answer['headers'], body: concat(chunks) }),
    )
    response.on('error', reject)
    response.on('aborted', () => reject(new TrustError('unavailable', 'answerIncomplete')))
  })
}
