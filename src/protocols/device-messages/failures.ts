/** Refusals as devices see them: the status of HTTP, and the sentence with its stable word. @module */
import type { TrustError, TrustErrorCode } from '#base/errors.ts'
import type { Reply } from '../protocol.ts'

export const failureOf = {
  malformed: 400,
  tooLarge: 413,
  unsupported: 400,
  unauthenticated: 401,
  forbidden: 403,
  badProof: 400,
  policyRefused: 403,
  quotaExceeded: 403,
  notFound: 404,
  conflict: 409,
  rateLimited: 429,
  unavailable: 503,
  internal: 500,
} as const satisfies Record<TrustErrorCode, number>

export function failure({ code, reason, message, retryAfterSeconds }: TrustError): Reply {
  const retry = retryAfterSeconds !== undefined && { 'retry-after': String(retryAfterSeconds) }
  const headers = { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-store', ...retry }
  return { status: failureOf[code], headers, body: `${message} (${reason})\n` }
}
