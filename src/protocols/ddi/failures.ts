/** Refusals as hawkBit's clients see them: the status of HTTP, and a JSON object with a stable word and the sentence. @module */
import type { TrustError, TrustErrorCode } from '#base/errors.ts'
import type { Reply } from '../protocol.ts'

export const failureOf = {
  malformed: 400,
  tooLarge: 413,
  unsupported: 415,
  unauthenticated: 401,
  forbidden: 403,
  badProof: 400,
  policyRefused: 403,
  quotaExceeded: 403,
  notFound: 404,
  conflict: 410, // hawkBit's clients take it for an action that is over, and do not ask again
  rateLimited: 429,
  unavailable: 503,
  internal: 500,
} as const satisfies Record<TrustErrorCode, number>

export function failure({ code, reason, message, retryAfterSeconds }: TrustError): Reply {
  const retry = retryAfterSeconds !== undefined && { 'retry-after': String(retryAfterSeconds) }
  const headers = { 'content-type': 'application/json', 'cache-control': 'no-store', ...retry }
  return { status: failureOf[code], headers, body: JSON.stringify({ errorCode: reason, message }) }
}
