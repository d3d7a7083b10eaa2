/**
 * The other side of EST: for the agent, the trial factory, tests and load.
 *
 * @module
 */
import type { TLSSocket } from 'node:tls'
import { encodePEM } from '#asn1/pem.ts'
import { equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import type { Secret } from '#base/secret.ts'
import { parseCertsOnly } from '#cms/certs-only.ts'
import { parseCertificate } from '#x509/certificate.ts'
import { parseCertificationRequest } from '#x509/certification-request.ts'
import { type Answer, httpTransport, type Question, type Transport } from '../http-client.ts'
import { type CsrAttributes, parseCsrAttributes } from './csr-attributes.ts'
import {
  ANSWER_MAX_OCTETS,
  type Basic,
  checkMediaType,
  encodeAuthorization,
  encodeBody,
  mediaTypes,
  parseBody,
} from './messages.ts'

export interface EstClientOptions {
  /** With the label, such as `https://pki.example:8443/.well-known/est/line-1`. */
  readonly url: string
  /** Who may have issued the server's certificate: DER. Nobody else is believed. */
  readonly trust: readonly Uint8Array[]
  readonly certificate?: {
    /** The client's own first. DER */
    readonly chain: readonly Uint8Array[]
    /** DER PKCS #8. */
    readonly privateKey: Secret
  }
  readonly basic?: Basic
  /** Instead of one of its own: connections that many clients share, or those for load. */
  readonly transport?: Transport
  /** Connections at once; 1 unless told. */
  readonly connectionsMax?: number
  /** How long to wait for the server; 30 unless told. */
  readonly timeoutSeconds?: number
}

export type Enrolled =
  | { readonly state: 'issued'; /** DER */ readonly certificate: Uint8Array }
  | { readonly state: 'pending'; readonly retryAfterSeconds: number }

/** DER, or how to make it for the connection that carries it: the value goes into challengePassword. */
export type RequestToSend = Uint8Array | ((channelBinding: string) => Promise<Uint8Array>)

export interface EstClient {
  /** DER. What they are worth is for the caller to say (RFC 7030, 4.1.3). */
  caCertificates(): Promise<readonly Uint8Array[]>
  /** @returns undefined when the server has none */
  csrAttributes(): Promise<CsrAttributes | undefined>
  simpleEnroll(request: RequestToSend): Promise<Enrolled>
  simpleReenroll(request: RequestToSend): Promise<Enrolled>
  /** Ends the connections, unless they are the caller's. */
  close(): void
}

/** What the server said no to. */
export class EstRefusal extends Error {
  override readonly name = 'EstRefusal'
  readonly status: number
  /** The stable word of a Sealworks server. */
  readonly reason: string | undefined
  readonly retryAfterSeconds: number | undefined

  constructor({ status, headers, body }: Answer) {
    const text = new TextDecoder().decode(body.subarray(0, SENTENCE_MAX_OCTETS)).trim()
    super(text === '' ? `the EST server answered ${status}` : text)
    this.status = status
    this.reason = / \(([A-Za-z]+)\)$/.exec(text)?.[1]
    this.retryAfterSeconds = secondsOf(headers['retry-after'])
  }
}

const SENTENCE_MAX_OCTETS = 4096
/** RFC 9110, 10.2.3 also allows a date; who sends one gets the default wait. */
const RETRY_DEFAULT_SECONDS = 60

const secondsOf = (field: string | undefined): number | undefined =>
  field !== undefined && /^\d{1,9}$/.test(field) ? Number(field) : undefined

export function estClient(options: EstClientOptions): EstClient {
  const { basic, timeoutSeconds = 30 } = options
  const base = new URL(options.url.replace(/\/*$/, '/'))
  if (base.protocol !== 'https:') throw new TypeError('EST runs over https')
  const transport = options.transport ?? httpTransport(base, connectionOptions(options))
  const authorization = basic === undefined ? {} : { authorization: encodeAuthorization(basic) }
  const addresses = {
    cacerts: new URL('cacerts', base),
    csrattrs: new URL('csrattrs', base),
    simpleenroll: new URL('simpleenroll', base),
    simplereenroll: new URL('simplereenroll', base),
  }

  const exchange = (
    method: 'GET' | 'POST',
    operation: keyof typeof addresses,
    headers: Question['headers'],
    body?: Question['body'],
  ): Promise<Answer> =>
    transport.ask({
      method,
      url: addresses[operation],
      headers,
      timeoutSeconds,
      answerMaxOctets: ANSWER_MAX_OCTETS,
      ...(body !== undefined && { body }),
    })

  async function enroll(operation: 'simpleenroll' | 'simplereenroll', request: RequestToSend): Promise<Enrolled> {
    let sent: Uint8Array | undefined
    const make = async (socket: TLSSocket | undefined) => {
      sent = typeof request === 'function' ? await request(channelBindingOf(socket as TLSSocket)) : request
      return encodeBody(sent)
    }
    const body = typeof request === 'function' ? make : encodeBody((sent = request))
    const answer = await exchange('POST', operation, { 'content-type': mediaTypes.request, ...authorization }, body)
    if (answer.status === 202)
      return { state: 'pending', retryAfterSeconds: secondsOf(answer.headers['retry-after']) ?? RETRY_DEFAULT_SECONDS }
    if (answer.status !== 200) throw new EstRefusal(answer)
    return { state: 'issued', certificate: certificateFor(sent as Uint8Array, certificatesOf(answer)) }
  }

  return {
    async caCertificates() {
      const answer = await exchange('GET', 'cacerts', {})
      if (answer.status !== 200) throw new EstRefusal(answer)
      return certificatesOf(answer)
    },
    async csrAttributes() {
      const answer = await exchange('GET', 'csrattrs', authorization)
      if (answer.status === 204 || answer.status === 404) return undefined // RFC 7030, 4.5.2
      if (answer.status !== 200) throw new EstRefusal(answer)
      checkMediaType(answer.headers['content-type'], mediaTypes.csrAttributes)
      return parseCsrAttributes(parseBody(answer.body))
    },
    simpleEnroll: (request) => enroll('simpleenroll', request),
    simpleReenroll: (request) => enroll('simplereenroll', request),
    close() {
      if (options.transport === undefined) transport.close()
    },
  }
}

function connectionOptions({ trust, certificate, connectionsMax = 1 }: EstClientOptions) {
  return {
    ca: trust.map((der) => encodePEM('CERTIFICATE', der)),
    minVersion: 'TLSv1.2',
    maxSockets: connectionsMax,
    ...(certificate !== undefined && {
      cert: certificate.chain.map((der) => encodePEM('CERTIFICATE', der)).join(''),
      key: encodePEM('PRIVATE KEY', certificate.privateKey.reveal('TLS client authentication')),
    }),
  } as const
}

/** RFC 9266, 2. On TLS 1.2 it is as good as the handshake's extended master secret, which the server checks. */
const channelBindingOf = (socket: TLSSocket): string =>
  socket.exportKeyingMaterial(32, 'EXPORTER-Channel-Binding', Buffer.alloc(0)).toString('base64')

function certificatesOf(answer: Answer): readonly Uint8Array[] {
  checkMediaType(answer.headers['content-type'], mediaTypes.certificates)
  return parseCertsOnly(parseBody(answer.body)).certificates
}

/** RFC 7030, 4.2.3 sends one; some servers add its chain. @throws TrustError `malformed` when none has the request's key */
function certificateFor(request: Uint8Array, certificates: readonly Uint8Array[]): Uint8Array {
  const { subjectPublicKeyInfo } = parseCertificationRequest(request)
  const own = certificates.find((der) => equal(parseCertificate(der).subjectPublicKeyInfo, subjectPublicKeyInfo))
  if (own === undefined) throw new TrustError('malformed', 'answerForAnotherKey')
  return own
}
