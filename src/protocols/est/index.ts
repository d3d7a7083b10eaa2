/**
 * EST: enrollment over HTTPS.
 *
 * Source: RFC 7030, as corrected by RFC 8951 and, for CSR attributes, by RFC 9908.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import { encodeCertsOnly } from '#cms/certs-only.ts'
import { parseCertificationRequest } from '#x509/certification-request.ts'
import type { Exchange, Operation, Protocol, Reply } from '../protocol.ts'
import { checkChannelBinding } from './channel-binding.ts'
import { csrAttributes } from './csrattrs.ts'
import { failure } from './failures.ts'
import { checkMediaType, encodeBody, mediaTypes, parseAuthorization, parseBody, REQUEST_BODY_MAX_OCTETS } from './messages.ts'
import type { EstService } from './service.ts'

export type { EstService } from './service.ts'

/** Needs no authentication: a device may not trust anything yet (RFC 7030, 4.1.1). */
const caCertificates: Operation<EstService> = {
  method: 'GET',
  path: '/cacerts',
  section: 'RFC 7030, 4.1',
  async handle({ label }, service) {
    const endpoint = await service.openEndpoint('est', label)
    return certificates(service.authorityCertificates(endpoint))
  },
}

const simpleEnroll: Operation<EstService> = {
  method: 'POST',
  path: '/simpleenroll',
  section: 'RFC 7030, 4.2.1',
  handle: (exchange, service) => enroll(exchange, service, 'enroll'),
}

const simpleReenroll: Operation<EstService> = {
  method: 'POST',
  path: '/simplereenroll',
  section: 'RFC 7030, 4.2.2',
  handle: (exchange, service) => enroll(exchange, service, 'reenroll'),
}

/** Who asks is known before the body is read: strangers do not make the server parse. */
async function enroll(
  { label, headers, peer, body }: Exchange,
  service: EstService,
  operation: 'enroll' | 'reenroll',
): Promise<Reply> {
  const endpoint = await service.openEndpoint('est', label)
  const basic = parseAuthorization(headers['authorization'])
  const identity = await service.authenticate(endpoint, { chain: peer.chain, basic })
  checkMediaType(headers['content-type'], mediaTypes.request)
  const request = parseCertificationRequest(parseBody(await body(REQUEST_BODY_MAX_OCTETS)))
  const checkChannel = () => checkChannelBinding(request, peer.tls)
  const answer = await service.enroll({ endpoint, identity, operation, request, checkChannel })
  if (answer.state === 'pending') return waiting(answer.retryAfterSeconds)
  return certificates([answer.certificate]) // RFC 7030, 4.2.3: the issued certificate and no other
}

const certificates = (ders: readonly Uint8Array[]): Reply => ({
  status: 200,
  headers: { 'content-type': mediaTypes.certificates },
  body: encodeBody(encodeCertsOnly(ders)),
})

/** RFC 7030, 4.2.3: the client sends the same request again. */
const waiting = (retryAfterSeconds: number): Reply => ({
  status: 202,
  headers: { 'content-type': 'text/plain; charset=utf-8', 'retry-after': String(retryAfterSeconds) },
  body: 'The request waits for approval. Send the same request again after the time given.\n',
})

/** Known and optional in the standard, so a client learns more than "no such address". */
const notOffered = (path: string, section: string): Operation<EstService> => ({
  method: 'POST',
  path,
  section,
  handle: () =>
    Promise.resolve({
      ...failure(new TrustError('unsupported', 'operationNotOffered', { facts: { operation: path.slice(1) } })),
      status: 501,
    }),
})

export const est: Protocol<EstService> = {
  id: 'est',
  source: 'RFC 7030, RFC 8951, RFC 9908',
  mount: '/.well-known/est',
  listener: 'tls',
  operations: [
    caCertificates,
    simpleEnroll,
    simpleReenroll,
    csrAttributes,
    notOffered('/fullcmc', 'RFC 7030, 4.3'),
    notOffered('/serverkeygen', 'RFC 7030, 4.4'),
  ],
  failure,
}
