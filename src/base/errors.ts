/**
 * The one error type that crosses room boundaries.
 *
 * Inner rooms throw {@link TrustError}; each protocol folder owns a `failures.ts` that maps every code to its own
 * wire form. No other file knows both sides. The words a person reads are in `sentences.ts`.
 *
 * @module
 */
import { type Reason, sentence } from './sentences.ts'

/** Why a request was not honored, in the platform's words. The list is closed on purpose. */
export type TrustErrorCode =
  | 'malformed' // bytes do not parse
  | 'tooLarge' // more bytes, entries or nesting than the limit
  | 'unsupported' // algorithm, version or type not offered here
  | 'unauthenticated' // we do not know who asks
  | 'forbidden' // we know, and they may not
  | 'badProof' // signature, MAC or proof of possession does not verify
  | 'policyRefused' // well formed and permitted, but the profile says no
  | 'quotaExceeded' // a counted allowance is used up
  | 'notFound'
  | 'conflict' // the object is already in a state that excludes this
  | 'rateLimited'
  | 'unavailable' // a dependency (HSM, database, upstream CA) is down
  | 'internal' // a bug, or anything thrown that is not a TrustError

export type Facts = Readonly<Record<string, string | number | boolean>>

export interface TrustErrorOptions {
  /** What went wrong underneath. Logged, never sent. */
  readonly cause?: unknown
  /**
   * Facts for the log and the audit trail; never a secret. Only those that the reason's sentence names in braces
   * are shown to the peer.
   */
  readonly facts?: Facts
  /** When asking again may help, in whole seconds. Only for `rateLimited` and `unavailable`. */
  readonly retryAfterSeconds?: number
}

export class TrustError extends Error {
  override readonly name = 'TrustError'
  readonly code: TrustErrorCode
  /** Stable key of what exactly was refused; finer than `code`, and safe to show. */
  readonly reason: Reason
  readonly facts: Facts
  readonly retryAfterSeconds: number | undefined

  /** @param code what the caller can act on @param reason names the sentence a person reads */
  constructor(code: TrustErrorCode, reason: Reason, options: TrustErrorOptions = {}) {
    const facts = options.facts ?? {}
    super(sentence(reason, facts), { cause: options.cause })
    this.code = code
    this.reason = reason
    this.facts = facts
    this.retryAfterSeconds = options.retryAfterSeconds
  }
}

/** Turns anything thrown into a TrustError. What we did not foresee is `internal` and says nothing. */
export function asTrustError(thrown: unknown): TrustError {
  if (thrown instanceof TrustError) return thrown
  return new TrustError('internal', 'internal', { cause: thrown })
}
