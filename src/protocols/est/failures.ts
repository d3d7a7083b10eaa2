/**
 * Refusals as EST clients see them: an HTTP status and a sentence (RFC 7030, 4.2.3).
 *
 * @module
 */
import type { TrustError, TrustErrorCode } from '#base/errors.ts'
import type { Reply } from '../protocol.ts'

export const statusOf = {
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

/** RFC 7617, 2.1: the charset tells clients how to write names that are not ASCII. */
const CHALLENGE = 'Basic realm="Sealworks EST", charset="UTF-8"'

/** The sentence is for people; the word in parentheses is stable, for programs. */
export function failure(error: TrustError): Reply {
  const { code, reason, message, retryAfterSeconds } = error
  return {
    status: statusOf[code],
    headers: {
      'content-type': 'text/plain; charset=utf-8',
      ...(code === 'unauthenticated' && { 'www-authenticate': CHALLENGE }), // RFC 9110, 15.5.2
      ...(retryAfterSeconds !== undefined && { 'retry-after': String(retryAfterSeconds) }),
    },
    body: `${message} (${reason})\n`,
  }
}
