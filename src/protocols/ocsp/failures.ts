/**
 * Refusals as OCSP clients see them: an OCSPResponse without an answer. The HTTP status stays 200, since the exchange
 * itself went well (RFC 6960, 2.3 and A.2); such a response is not signed, so nobody may keep it.
 *
 * @module
 */
import type { TrustError, TrustErrorCode } from '#base/errors.ts'
import { encodeOCSPError, type OCSPError } from '#x509/ocsp.ts'
import type { Reply } from '../protocol.ts'
import { ANSWER_MEDIA_TYPE } from './messages.ts'

export const errorOf = {
  malformed: 'malformedRequest',
  tooLarge: 'malformedRequest',
  unsupported: 'unauthorized', // not capable of answering: RFC 9919, 3.2.3
  unauthenticated: 'sigRequired',
  forbidden: 'unauthorized',
  badProof: 'unauthorized',
  policyRefused: 'unauthorized',
  notFound: 'unauthorized', // RFC 9919, 3.2.3: also for "not capable of answering authoritatively"
  conflict: 'internalError',
  quotaExceeded: 'tryLater',
  rateLimited: 'tryLater',
  unavailable: 'tryLater',
  internal: 'internalError',
} as const satisfies Record<TrustErrorCode, OCSPError>

export const failure = ({ code, retryAfterSeconds }: TrustError): Reply => ({
  status: 200,
  headers: {
    'content-type': ANSWER_MEDIA_TYPE,
    'cache-control': 'no-store',
    ...(retryAfterSeconds !== undefined && { 'retry-after': String(retryAfterSeconds) }),
  },
  body: encodeOCSPError(errorOf[code]),
})
