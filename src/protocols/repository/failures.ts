/** Refusals of the repository: an HTTP status and a sentence. @module */
import type { TrustError, TrustErrorCode } from '#base/errors.ts'
import type { Reply } from '../protocol.ts'

export const statusOf = {
  malformed: 400,
  tooLarge: 413,
  unsupported: 400,
  unauthenticated: 403, // nobody can say here who they are
  forbidden: 403,
  badProof: 403,
  policyRefused: 403,
  quotaExceeded: 429,
  notFound: 404,
  conflict: 409,
  rateLimited: 429,
  unavailable: 503,
  internal: 500,
} as const satisfies Record<TrustErrorCode, number>

export const failure = ({ code, reason, message, retryAfterSeconds }: TrustError): Reply => ({
  status: statusOf[code],
  headers: {
    'content-type': 'text/plain; charset=utf-8',
    'cache-control': 'no-store',
    ...(retryAfterSeconds !== undefined && { 'retry-after': String(retryAfterSeconds) }),
  },
  body: `${message} (${reason})\n`,
})
