/**
 * Calls the REST interface with the types of its own table: over HTTPS, or in process through the same router.
 *
 * @module
 */
import { request as httpsRequest, Agent } from 'node:https'
import { pipeline } from 'node:stream/promises'
import { connect, type ConnectionOptions, type SecureContextOptions, type TLSSocket } from 'node:tls'
import type { Static, TObject, TSchema } from 'typebox'
import type { TrustErrorCode } from '#base/errors.ts'
import type { Secret } from '#base/secret.ts'
import type { Arrival, Router } from '#protocols/dispatch.ts'
import { type InputProblem, type ProblemDocument, statusOf } from './failures.ts'
import { operations } from './operations.ts'
import type { Route } from './route.ts'
import type { AnyRoute } from './routes.ts'

type RouteOf<Id extends AnyRoute['id']> = Extract<AnyRoute, { readonly id: Id }>
type Parts<R> =
  R extends Route<string, infer P extends TObject, infer Q extends TObject, infer B extends TSchema, infer A extends TSchema>
    ? { readonly params: Static<P>; readonly query: Static<Q>; readonly body: Static<B>; readonly answer: Static<A> }
    : never
/** A part that may be empty may be left out. */
type Part<Name extends string, Value> = [Value] extends [void]
  ? unknown
  : Partial<Value> extends Value
    ? { readonly [N in Name]?: Value }
    : { readonly [N in Name]: Value }

export type InputOf<Id extends AnyRoute['id']> = Part<'params', Parts<RouteOf<Id>>['params']> &
  Part<'query', Parts<RouteOf<Id>>['query']> &
  Part<'body', Parts<RouteOf<Id>>['body']> & {
    /** Makes it safe to send the call again when its answer was lost. */
    readonly idempotencyKey?: string
  }
export type AnswerOf<Id extends AnyRoute['id']> = Parts<RouteOf<Id>>['answer']

export interface Client {
  /** @throws RemoteRefusal when the server said no, or could not be reached */
  call<Id extends AnyRoute['id']>(id: Id, input: InputOf<Id>): Promise<AnswerOf<Id>>
  /** For routes that take or give octets. @throws as `call` */
  transfer<Id extends AnyRoute['id']>(id: Id, input: InputOf<Id>, upload?: UploadOf): Promise<Transferred<Id>>
  close(): void
}

/** What a request takes along, piece by piece. */
export interface Content {
  readonly octets: number
  read(): AsyncIterable<Uint8Array>
}

export interface UploadOf extends Content {
  /** Do not wait for what takes long. */
  readonly prefersAsync: boolean
}

/** Octets, to be read once and to their end; or an answer of the route. */
export type Transferred<Id extends AnyRoute['id']> =
  | { readonly content: Content; readonly headers: Readonly<Record<string, string | undefined>> }
  | { readonly content?: never; readonly answer: AnswerOf<Id> }

/** A refusal as it came over the wire. */
export class RemoteRefusal extends Error {
  override readonly name = 'RemoteRefusal'
  readonly code: TrustErrorCode | 'unreachable'
  readonly reason: string
  /** Under which the server's log knows it. */
  readonly requestId: string | undefined
  readonly problems: readonly InputProblem[]

  constructor(code: RemoteRefusal['code'], reason: string, message: string, options: RefusalOptions = {}) {
    super(message, { cause: options.cause })
    this.code = code
    this.reason = reason
    this.requestId = options.requestId
    this.problems = options.problems ?? []
  }
}

interface RefusalOptions {
  readonly cause?: unknown
  readonly requestId?: string | undefined
  readonly problems?: readonly InputProblem[] | undefined
}

export interface WireRequest {
  readonly method: string
  /** With its query. */
  readonly target: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

export interface Transport {
  send(request: WireRequest): Promise<{ readonly status: number; readonly body: string }>
  /** The same for octets; those of an answer are to be read, or nothing else goes over the connection. */
  transfer(request: Omit<WireRequest, 'body'>, content?: Content): Promise<TransferAnswer>
  close(): void
}

interface TransferAnswer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | undefined>>
  readonly content: Content
}

export interface ClientOptions {
  readonly transport: Transport
  /** Of a person or service; absent for public routes, or where a client certificate speaks. */
  readonly token?: Secret
}

export function restClient({ transport, token }: ClientOptions): Client {
  const requestTo = (id: AnyRoute['id'], { params = {}, query = {}, idempotencyKey }: LooseInput) => {
    const [method, path] = operations[id].split(' ') as [string, string]
    const authorization =
      token === undefined
        ? {}
        : { authorization: `Bearer ${new TextDecoder().decode(token.reveal('authenticate to the server'))}` }
    const headers: Readonly<Record<string, string>> = {
      ...authorization,
      ...(idempotencyKey === undefined ? {} : { 'idempotency-key': idempotencyKey }),
    }
    return { method, target: targetOf(path, params, query), headers }
  }
  return {
    async call(id, input) {
      const { body } = input as LooseInput
      const { method, target, headers } = requestTo(id, input)
      const json = { accept: 'application/json', ...(method === 'GET' ? {} : { 'content-type': 'application/json' }) }
      const text = method === 'GET' ? '' : JSON.stringify(body ?? {})
      const answer = await transport.send({ method, target, headers: { ...json, ...headers }, body: text })
      if (answer.status >= 400) throw refusalOf(answer)
      return (answer.body === '' ? undefined : parseAnswer(answer.body)) as never // as the route's schema says
    },
    async transfer(id, input, upload) {
      const { method, target, headers } = requestTo(id, input)
      const more = {
        ...(upload !== undefined && { 'content-type': 'application/octet-stream', expect: '100-continue' }),
        ...(upload?.prefersAsync === true && { prefer: 'respond-async' }),
      }
      const answer = await transport.transfer({ method, target, headers: { ...headers, ...more } }, upload)
      if (answer.status === 200 && answer.headers['content-type'] === 'application/octet-stream') return answer
      const body = await textOf(answer.content)
      if (answer.status >= 400) throw refusalOf({ status: answer.status, body })
      return { answer: parseAnswer(body) as never } // as the route's schema says
    },
    close: () => transport.close(),
  }
}

interface LooseInput {
  readonly params?: Readonly<Record<string, string>>
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>>
  readonly body?: unknown
  readonly idempotencyKey?: string
}

function targetOf(path: string, params: Readonly<Record<string, string>>, query: NonNullable<LooseInput['query']>): string {
  const filled = path.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(params[name] ?? ''))
  const search = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) if (value !== undefined) search.set(name, String(value))
  return search.size === 0 ? filled : `${filled}?${search.toString()}`
}

function parseAnswer(body: string): unknown {
  try {
    return JSON.parse(body)
  } catch (cause) {
    throw new RemoteRefusal('unreachable', 'notSealworks', 'What answers there is not Sealworks. Check the address.', { cause })
  }
}

function refusalOf({ status, body }: { readonly status: number; readonly body: string }): RemoteRefusal {
  const document = parseProblem(body)
  if (document === undefined) {
    return new RemoteRefusal('unreachable', 'notSealworks', `The server answered ${status} and no reason. Check the address.`)
  }
  const code = document.type.slice('urn:sealworks:error:'.length)
  return new RemoteRefusal(isCode(code) ? code : 'internal', document.reason, document.detail, {
    requestId: document.instance.replace('urn:sealworks:request:', ''),
    problems: document.problems,
  })
}

async function textOf({ read }: Content): Promise<string> {
  const pieces: Uint8Array[] = []
  let size = 0
  for await (const piece of read()) {
    size += piece.length
    if (size > ANSWER_MAX_OCTETS) throw new RemoteRefusal('unreachable', 'unreachable', 'The answer is too long to be read.')
    pieces.push(piece)
  }
  return Buffer.concat(pieces).toString()
}

const isCode = (text: string): text is TrustErrorCode => Object.hasOwn(statusOf, text)

function parseProblem(body: string): ProblemDocument | undefined {
  try {
    const document = JSON.parse(body) as Partial<ProblemDocument>
    return typeof document.type === 'string' && typeof document.detail === 'string' ? (document as ProblemDocument) : undefined
  } catch {
    return undefined
  }
}

/** Longest answer that is read: a page of records, or a bundle of certificates. */
const ANSWER_MAX_OCTETS = 64 * 1_048_576
const TIMEOUT_MILLISECONDS = 60_000
/** Without an octet in either direction: a server that signs an artifact answers sooner, if only that it is at it. */
const TRANSFER_TIMEOUT_MILLISECONDS = 120_000

export interface HTTPSOptions {
  /** `https://HOST:PORT`, without a path. */
  readonly server: string
  /**
   * How the server is known: by a root (PEM), by the SHA-256 fingerprint of a certificate that it presents (hex, colons
   * allowed), or, with neither, by the roots of this machine.
   */
  readonly trust?: { readonly rootsPEM: string } | { readonly fingerprint: string }
  /** PEM, when a client certificate speaks instead of a token. */
  readonly certificate?: { readonly chainPEM: string; readonly privateKeyPEM: Secret }
}

export function httpsTransport({ server, trust, certificate }: HTTPSOptions): Transport {
  const { hostname, port, protocol } = new URL(server)
  if (protocol !== 'https:') throw new RemoteRefusal('unreachable', 'httpsNeeded', 'The server address must begin with https://.')
  const identity: SecureContextOptions =
    certificate === undefined
      ? {}
      : { cert: certificate.chainPEM, key: Buffer.from(certificate.privateKeyPEM.reveal('authenticate to the server')) }
  const roots = trust !== undefined && 'rootsPEM' in trust ? { ca: trust.rootsPEM } : {}
  const host = hostname.replace(/^\[|\]$/g, '')
  const agent = new Agent({ keepAlive: true, minVersion: 'TLSv1.2', ...identity, ...roots })
  if (trust !== undefined && 'fingerprint' in trust) pin(agent, trust.fingerprint)

  const unreachable = (cause: unknown): RemoteRefusal =>
    cause instanceof RemoteRefusal
      ? cause
      : new RemoteRefusal('unreachable', 'unreachable', `${server} cannot be reached: ${(cause as Error).message}.`, { cause })
  const peer = { agent, host, port: port === '' ? 443 : port }

  return {
    transfer: ({ method, target: path, headers }, content) =>
      new Promise((resolve, reject) => {
        const length = content === undefined ? {} : { 'content-length': String(content.octets) }
        const request = httpsRequest({ ...peer, method, path, headers: { ...headers, ...length } }, (response) => {
          const { statusCode: status = 0, headers: fields } = response
          const read = async function* (): AsyncGenerator<Uint8Array> {
            try {
              yield* response as AsyncIterable<Buffer>
            } catch (cause) {
              throw unreachable(cause)
            }
            if (!response.complete) throw unreachable(new Error('the answer broke off'))
          }
          const answered = { read, octets: Number(fields['content-length'] ?? 0) }
          resolve({ status, headers: fields as TransferAnswer['headers'], content: answered })
        })
        const end = (): void => {
          if (content === undefined) return void request.end()
          pipeline(content.read, request).catch((cause: unknown) => reject(unreachable(cause)))
        }
        request.setTimeout(TRANSFER_TIMEOUT_MILLISECONDS, () => request.destroy(new Error('no answer in time')))
        request.on('error', (cause) => reject(unreachable(cause)))
        if (headers['expect'] === undefined) return end()
        request.on('continue', end)
        request.flushHeaders()
      }),
    send: ({ method, target, headers, body }) =>
      new Promise((resolve, reject) => {
        const fail = (cause: Error): void => reject(unreachable(cause))
        const length = { 'content-length': String(Buffer.byteLength(body)) }
        const options = { ...peer, method, path: target, headers: { ...headers, ...length } }
        const request = httpsRequest(options, (response) => {
          const chunks: Buffer[] = []
          let size = 0
          response.on('data', (chunk: Buffer) => {
            size += chunk.length
            if (size > ANSWER_MAX_OCTETS) request.destroy(new Error('the answer is too long'))
            else chunks.push(chunk)
          })
          response.on('error', fail)
          response.on('end', () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() }))
        })
        request.setTimeout(TIMEOUT_MILLISECONDS, () => request.destroy(new Error('no answer in time')))
        request.on('error', fail)
        request.end(body)
      }),
    close: () => agent.destroy(),
  }
}

/** The handshake proves that the server has the key; the fingerprint says that it is the right one. Nothing is sent before. */
function pin(agent: Agent, fingerprint: string): void {
  const wanted = fingerprint.replaceAll(':', '').toLowerCase()
  agent.createConnection = ((options: ConnectionOptions, done: (error: Error | null, socket?: TLSSocket) => void) => {
    const socket = connect({ ...options, rejectUnauthorized: false })
    socket.once('error', done)
    socket.once('secureConnect', () => {
      socket.off('error', done)
      if (presents(socket, wanted)) return done(null, socket)
      socket.destroy()
      done(
        new RemoteRefusal(
          'unreachable',
          'otherServer',
          'The server presents another certificate than the one named. Do not go on before you know why.',
        ),
      )
    })
    return undefined
  }) as unknown as Agent['createConnection']
}

function presents(socket: TLSSocket, wanted: string): boolean {
  for (
    let certificate = socket.getPeerX509Certificate();
    certificate !== undefined;
    certificate = certificate.issuerCertificate
  ) {
    if (certificate.fingerprint256.replaceAll(':', '').toLowerCase() === wanted) return true
  }
  return false
}

/** The same router without a network: for commands on a local data directory. @param newRequestId for the log */
export const inProcessTransport = (router: Router, newRequestId: () => string): Transport => ({
  async send({ method, target, headers, body }) {
    const mark = target.indexOf('?')
    const octets = Buffer.from(body)
    const arrival: Arrival = {
      requestId: newRequestId(),
      method,
      path: mark === -1 ? target : target.slice(0, mark),
      query: mark === -1 ? '' : target.slice(mark + 1),
      headers: { ...headers, 'content-length': String(octets.length) },
      body: () => Promise.resolve(octets),
      async *stream() {
        yield octets
      },
      peer: { address: 'local', chain: [], tls: undefined },
    }
    const reply = await router(arrival)?.run()
    if (reply === undefined) return { status: 404, body: '' }
    return { status: reply.status, body: typeof reply.body === 'string' ? reply.body : Buffer.from(reply.body).toString() }
  },
  async transfer({ method, target, headers }, content) {
    const [path = '', query = ''] = target.split('?')
    const length = content === undefined ? {} : { 'content-length': String(content.octets) }
    const arrival: Arrival = {
      ...{ requestId: newRequestId(), method, path, query, headers: { ...headers, ...length } },
      body: () => Promise.resolve(new Uint8Array(0)),
      stream: () => content?.read() ?? (async function* () {})(),
      peer: { address: 'local', chain: [], tls: undefined },
    }
    const reply = await router(arrival)?.run()
    const { status, headers: fields, body, stream } = reply ?? { status: 404, headers: {}, body: '', stream: undefined }
    if (stream === undefined) {
      const text = Buffer.from(body as string)
      const read = async function* (): AsyncGenerator<Uint8Array> {
        yield text
      }
      return { status, headers: fields, content: { octets: text.length, read } }
    }
    async function* read(): AsyncGenerator<Uint8Array> {
      try {
        if (stream !== undefined) yield* stream.read()
      } finally {
        stream?.end?.()
      }
    }
    return { status, headers: fields, content: { octets: stream.octets, read } }
  },
  close() {},
})
