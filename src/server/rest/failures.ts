/**
 * How a refusal looks on the REST interface: RFC 9457 problem documents.
 *
 * @module
 */
import type { TrustError, TrustErrorCode } from '#base/errors.ts'
import type { Reply } from '#protocols/protocol.ts'

/** RFC 9110, 15, and RFC 6585 for 429. */
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

export const titles = {
  malformed: 'The request cannot be read',
  tooLarge: 'The request is too large',
  unsupported: 'Not offered here',
  unauthenticated: 'Not signed in',
  forbidden: 'Not allowed',
  badProof: 'A proof does not verify',
  policyRefused: 'Refused by policy',
  quotaExceeded: 'An allowance is used up',
  notFound: 'Not found',
  conflict: 'In conflict with the present state',
  rateLimited: 'Too many requests',
  unavailable: 'Not available now',
  internal: 'A fault in the server',
} as const satisfies Record<TrustErrorCode, string>

/** One thing wrong with a request. */
export interface InputProblem {
  /** Where: `body/roles/0`, `query/limit`. */
  readonly at: string
  readonly problem: string
}

export interface ProblemDocument {
  readonly type: `urn:sealworks:error:${TrustErrorCode}`
  readonly title: string
  readonly status: number
  /** One sentence: what is wrong, and what to do next. */
  readonly detail: string
  readonly instance: string
  readonly reason: string
  readonly problems?: readonly InputProblem[]
}

export const problemType = (code: TrustErrorCode): ProblemDocument['type'] => `urn:sealworks:error:${code}`

export interface ProblemOptions {
  readonly requestId: string
  readonly problems?: readonly InputProblem[]
  readonly headers?: Readonly<Record<string, string>>
  /** Where HTTP has a finer number than the code: 405. */
  readonly status?: number
}

export function problem(
  error: TrustError,
  { requestId, problems, headers, status = statusOf[error.code] }: ProblemOptions,
): Reply {
  const document: ProblemDocument = {
    type: problemType(error.code),
    title: titles[error.code],
    status,
    detail: error.message,
    instance: `urn:sealworks:request:${requestId}`,
    reason: error.reason,
    ...(problems === undefined ? {} : { problems }),
  }
  return {
    status,
    headers: {
      'content-type': 'application/problem+json',
      ...(error.code === 'unauthenticated' ? { 'www-authenticate': 'Bearer realm="sealworks"' } : {}), // RFC 9110, 15.5.2
      ...(error.retryAfterSeconds === undefined ? {} : { 'retry-after': String(error.retryAfterSeconds) }),
      ...headers,
    },
    body: JSON.stringify(document),
  }
}
