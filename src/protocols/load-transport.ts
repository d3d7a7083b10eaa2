/**
 * HTTP/1.1 with the least work per exchange, for load: Node's own client costs several times what the exchange costs
 * the server, and would be what is measured.
 *
 * A fixed number of connections, one exchange at a time on each, kept open. It speaks to servers that give a length
 * with every body, as ours does; against others, use the ordinary client.
 *
 * @module
 */
import { connect as connectPlain, type Socket } from 'node:net'
import { connect as connectSecure, type ConnectionOptions, TLSSocket } from 'node:tls'
import { concat, utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import type { Answer, Question, Transport } from './http-client.ts'

export interface LoadTransportOptions {
  /** Scheme, host and port are taken. */
  readonly url: string
  readonly connections: number
  /** What to trust, and who we are; for https. */
  readonly tls?: ConnectionOptions
}

export interface LoadTransport extends Transport {
  /** Opens every connection, so that no handshake falls into what is measured. */
  open(): Promise<void>
}

export function loadTransport({ url, connections, tls = {} }: LoadTransportOptions): LoadTransport {
  const { protocol, hostname, port } = new URL(url)
  const isSecure = protocol === 'https:'
  const host = hostname.replace(/^\[(.*)\]$/, '$1')
  const where = { host, port: Number(port === '' ? (isSecure ? 443 : 80) : port) }
  const dial = (): Socket =>
    isSecure ? connectSecure({ ...where, servername: host, ALPNProtocols: ['http/1.1'], ...tls }) : connectPlain(where)
  const lines = Array.from({ length: connections }, () => new Line(dial))
  const idle = [...lines]
  const waiting: ((line: Line) => void)[] = []

  const acquire = (): Line | Promise<Line> => idle.pop() ?? new Promise((resolve) => waiting.push(resolve))
  const release = (line: Line): void => {
    const next = waiting.shift()
    if (next === undefined) idle.push(line)
    else next(line)
  }
  return {
    async ask(question) {
      const line = await acquire()
      try {
        return await line.ask(question)
      } finally {
        release(line)
      }
    },
    async open() {
      await Promise.all(lines.map((line) => line.ready()))
    },
    close: () => lines.forEach((line) => line.close()),
  }
}

const HEAD_END = utf8('\r\n\r\n')
/** More than any head that our server writes. */
const HEAD_MAX_OCTETS = 16_384

/** One connection, dialed when it is needed and again when it was closed. */
class Line {
  readonly #dial: () => Socket
  #socket: Socket | undefined
  #received: Uint8Array = new Uint8Array(0)
  #pending: { readonly question: Question; resolve(answer: Answer): void; reject(cause: unknown): void } | undefined

  constructor(dial: () => Socket) {
    this.#dial = dial
  }

  async ready(): Promise<Socket> {
    if (this.#socket !== undefined && !this.#socket.destroyed) return this.#socket
    const socket = (this.#socket = this.#dial())
    this.#received = new Uint8Array(0)
    await new Promise<void>((resolve, reject) => {
      socket.once('error', (cause) => reject(failed('not connected', cause)))
      socket.once(socket instanceof TLSSocket ? 'secureConnect' : 'connect', resolve)
    })
    socket.setNoDelay(true)
    // an old socket may end after the next was dialed, and then it ends nothing but itself
    const fail = (error: TrustError): void => {
      if (this.#socket === socket) this.#fail(error)
    }
    socket.on('data', (chunk: Uint8Array) => this.#take(chunk))
    socket.on('error', (cause) => fail(failed('the connection broke', cause)))
    socket.on('timeout', () => socket.destroy(new Error('no answer in time')))
    socket.on('close', () => fail(new TrustError('unavailable', 'answerIncomplete')))
    return socket
  }

  async ask(question: Question): Promise<Answer> {
    const socket = await this.ready()
    const { method, url, headers, body, timeoutSeconds } = question
    const content = typeof body === 'function' ? await body(socket instanceof TLSSocket ? socket : undefined) : (body ?? '')
    let head = `${method} ${url.pathname}${url.search} HTTP/1.1\r\nhost: ${url.host}\r\n`
    for (const name in headers) head += `${name}: ${headers[name]}\r\n`
    if (method === 'POST')
      head += `content-length: ${typeof content === 'string' ? Buffer.byteLength(content) : content.length}\r\n`
    head += '\r\n'
    socket.setTimeout(timeoutSeconds * 1000)
    return new Promise((resolve, reject) => {
      this.#pending = { question, resolve, reject }
      if (typeof content === 'string') socket.write(head + content)
      else socket.write(concat([utf8(head), content]))
    })
  }

  close(): void {
    this.#socket?.destroy()
  }

  #take(chunk: Uint8Array): void {
    this.#received = this.#received.length === 0 ? chunk : concat([this.#received, chunk])
    const pending = this.#pending
    if (pending === undefined) return this.#broken('an answer to no question')
    const headLength = Buffer.from(this.#received.buffer, this.#received.byteOffset, this.#received.length).indexOf(HEAD_END)
    if (headLength < 0) {
      if (this.#received.length > HEAD_MAX_OCTETS) this.#broken('a head that is too long')
      return
    }
    const head = parseHead(Buffer.from(this.#received.buffer, this.#received.byteOffset, headLength).toString('latin1'))
    if (head === undefined) return this.#broken('not HTTP/1.1 with a length')
    const bodyStart = headLength + HEAD_END.length
    if (head.length > pending.question.answerMaxOctets)
      return this.#broken(
        'too long',
        new TrustError('tooLarge', 'answerTooLarge', { facts: { limit: pending.question.answerMaxOctets } }),
      )
    if (this.#received.length < bodyStart + head.length) return
    if (this.#received.length > bodyStart + head.length) return this.#broken('more than one answer')
    const body = this.#received.subarray(bodyStart)
    this.#received = new Uint8Array(0)
    this.#pending = undefined
    if (head.headers['connection'] === 'close') this.#socket?.destroy()
    pending.resolve({ status: head.status, headers: head.headers, body })
  }

  #broken(detail: string, error: TrustError = failed(detail)): void {
    this.#fail(error)
    this.#socket?.destroy()
  }

  #fail(error: TrustError): void {
    const pending = this.#pending
    this.#pending = undefined
    pending?.reject(error)
  }
}

const failed = (detail: string, cause?: unknown): TrustError =>
  new TrustError('unavailable', 'serverNotReached', {
    facts: { address: '', detail: cause instanceof Error ? `${detail}: ${cause.message}` : detail },
    cause,
  })

const STATUS = /^HTTP\/1\.1 (\d{3})(?: |$)/

function parseHead(text: string): { status: number; headers: Record<string, string>; length: number } | undefined {
  const [statusLine = '', ...fields] = text.split('\r\n')
  const status = STATUS.exec(statusLine)?.[1]
  if (status === undefined) return undefined
  const headers: Record<string, string> = {}
  for (const field of fields) {
    const colon = field.indexOf(':')
    if (colon < 1) return undefined
    headers[field.slice(0, colon).toLowerCase()] = field.slice(colon + 1).trim()
  }
  if ('transfer-encoding' in headers) return undefined
  const length = status === '304' || status === '204' ? '0' : headers['content-length']
  return length !== undefined && /^\d{1,9}$/.test(length)
    ? { status: Number(status), headers, length: Number(length) }
    : undefined
}
