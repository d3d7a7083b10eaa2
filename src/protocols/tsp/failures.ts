/**
 * Refusals as clients of a time-stamping authority see them: a TimeStampResp without a token, with HTTP status 200, since the
 * exchange itself went well (RFC 3161, 2.4.2 and 3.4). What is no matter of time stamps is said by HTTP.
 *
 * @module
 */
import type { TrustError, TrustErrorCode } from '#base/errors.ts'
import type { Reason } from '#base/sentences.ts'
import { encodeRefusedTimeStamp, type TimeStampFailure } from '#cms/timestamp.ts'
import type { Reply } from '../protocol.ts'
import { REPLY_MEDIA_TYPE } from './messages.ts'

export const failureOf = {
  malformed: 'badDataFormat',
  tooLarge: 'badDataFormat',
  unsupported: 'badAlg',
  unauthenticated: 401,
  forbidden: 403,
  badProof: 'badRequest',
  policyRefused: 'badRequest', // "this transaction is not permitted or supported"
  quotaExceeded: 'badRequest',
  notFound: 404,
  conflict: 'systemFailure',
  rateLimited: 429,
  unavailable: 'systemFailure',
  internal: 'systemFailure',
} as const satisfies Record<TrustErrorCode, TimeStampFailure | number>

/** RFC 3161, 2.4.2 has finer words for these. */
const finer: Partial<Record<Reason, TimeStampFailure>> = {
  clockDoubtful: 'timeNotAvailable',
  timeStampPolicy: 'unacceptedPolicy',
  timeStampExtension: 'unacceptedExtension',
}

export function failure({ code, reason, message, retryAfterSeconds }: TrustError): Reply {
  const said = finer[reason] ?? failureOf[code]
  const retry = retryAfterSeconds !== undefined && { 'retry-after': String(retryAfterSeconds) }
  if (typeof said === 'number')
    return { status: said, headers: { 'content-type': 'text/plain; charset=utf-8', ...retry }, body: `${message} (${reason})\n` }
  const headers = { 'content-type': REPLY_MEDIA_TYPE, 'cache-control': 'no-store', ...retry }
  return { status: 200, headers, body: encodeRefusedTimeStamp(said, message) }
}
