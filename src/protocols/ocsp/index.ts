/**
 * OCSP over HTTP: whether a certificate is good, revoked or unknown.
 *
 * The authority in the path only makes addresses readable: which one is asked about stands in the request.
 *
 * Source: RFC 6960; RFC 9919 (lightweight profile, after RFC 5019); RFC 9654 (nonce).
 *
 * @module
 */
import { hash } from 'node:crypto'
import { TrustError } from '#base/errors.ts'
import { OCSP_REQUEST_MAX_OCTETS } from '#x509/ocsp.ts'
import type { Exchange, Operation, Protocol, Reply } from '../protocol.ts'
import { failure } from './failures.ts'
import { ANSWER_MEDIA_TYPE, parseRequestPath, REQUEST_MEDIA_TYPE } from './messages.ts'

export interface OCSPAnswer {
  /** DER OCSPResponse */
  readonly der: Uint8Array
  readonly producedAt: Date
  readonly nextUpdate: Date
  /** For how long a cache may keep it. */
  readonly maxAgeSeconds: number
  readonly hasNonce: boolean
}

/** What OCSP needs from the one who knows the states of certificates. */
export interface OCSPService {
  /** @param request DER OCSPRequest @throws TrustError `malformed`, `unsupported`, `tooLarge`, `notFound`, `unavailable` */
  answer(request: Uint8Array): Promise<OCSPAnswer>
}

const inBody = (path: string): Operation<OCSPService> => ({
  method: 'POST',
  path,
  section: 'RFC 6960, A.1',
  async handle({ headers, body }: Exchange, service) {
    const mediaType = (headers['content-type'] ?? '').split(';', 1)[0] as string
    if (mediaType.trim().toLowerCase() !== REQUEST_MEDIA_TYPE)
      throw new TrustError('malformed', 'mediaType', { facts: { expected: REQUEST_MEDIA_TYPE } })
    const { der } = await service.answer(await body(OCSP_REQUEST_MAX_OCTETS))
    return { status: 200, headers: { 'content-type': ANSWER_MEDIA_TYPE }, body: der } // nothing keeps the answer to a POST
  },
})

const inPath: Operation<OCSPService> = {
  method: 'GET',
  path: '/*',
  section: 'RFC 6960, A.1; RFC 9919, 6',
  async handle({ path, headers }, service) {
    const answer = await service.answer(parseRequestPath(path))
    const kept = cacheHeaders(answer)
    const given = headers['if-none-match']
    if (given !== undefined && kept['etag'] !== undefined && namesTag(given, kept['etag']))
      return { status: 304, headers: kept, body: '' }
    return { status: 200, headers: { 'content-type': ANSWER_MEDIA_TYPE, ...kept }, body: answer.der }
  },
}

/** RFC 9919, 7.2 (RFC 5019, 6.2): caches keep an answer until it ends, and none that was made for one client. */
function cacheHeaders({ der, producedAt, nextUpdate, maxAgeSeconds, hasNonce }: OCSPAnswer): Reply['headers'] {
  if (hasNonce) return { 'cache-control': 'no-store' }
  return {
    'last-modified': producedAt.toUTCString(),
    expires: nextUpdate.toUTCString(),
    etag: `"${hash('sha256', der, 'hex')}"`,
    'cache-control': `max-age=${maxAgeSeconds}, public, no-transform, must-revalidate`,
  }
}

/** RFC 9110, 13.1.2: compared weakly. */
const namesTag = (field: string, etag: string): boolean =>
  field.trim() === '*' || field.split(',').some((one) => one.trim().replace(/^W\//, '') === etag)

export const ocsp: Protocol<OCSPService> = {
  id: 'ocsp',
  source: 'RFC 6960, RFC 9919, RFC 9654',
  mount: '/ocsp',
  listener: 'public',
  operations: [inBody(''), inBody('/'), inPath],
  failure,
}
