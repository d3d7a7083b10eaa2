/**
 * Calls the REST interface with the types of its own table: over HTTPS, or in process through the same router.
 *
 * @module
 */
import { request as httpsRequest, Agent } from 'node:https'
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
  close(): void
}

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
  close(): void
}

export interface ClientOptions {
  readonly transport: Transport
  /** Of a person or service; absent for public routes, or where a client certificate speaks. */
  readonly token?: Secret
}

export function restClient({ transport, token }: ClientOptions): Client {
  return {
    async call(id, input) {
      const { params = {}, query = {}, body, idempotencyKey } = input as LooseInput
      const [method, path] = operations[id].split(' ') as [string, string]
      const answer = await transport.send({
        method,
        target: targetOf(path, params, query),
        headers: {
          accept: 'application/json',
          ...(method === 'GET' ? {} : { 'content-type': 'application/json' }),
          ...(token === undefined
            ? {}
            : { authorization: `Bearer ${new TextDecoder().decode(token.reveal('authenticate to the server'))}` }),
          ...(idempotencyKey === undefined ? {} : { 'idempotency-key': idempotencyKey }),
        },
        body: method === 'GET' ? '' : JSON.stringify(body ?? {}),
      })
      if (answer.status >= 400) throw refusalOf(answer)
      return (answer.body === '' ? undefined : parseAnswer(answer.body)) as never // as the route's schema says
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

  return {
    send: ({ method, target, headers, body }) =>
      new Promise((resolve, reject) => {
        const fail = (cause: Error) => {
          const refusal = cause instanceof RemoteRefusal
          reject(
            refusal
              ? cause
              : new RemoteRefusal('unreachable', 'unreachable', `${server} cannot be reached: ${cause.message}.`, { cause }),
          )
        }
        const length = { 'content-length': String(Buffer.byteLength(body)) }
        const options = { agent, host, port: port === '' ? 443 : port, method, path: target, headers: { ...headers, ...length } }
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
      peer: { address: 'local', chain: [], tls: undefined },
    }
    const reply = await router(arrival)?.run()
    if (reply === undefined) return { status: 404, body: '' }
    return { status: reply.status, body: typeof reply.body === 'string' ? reply.body : Buffer.from(reply.body).toString() }
  },
  close() {},
})
