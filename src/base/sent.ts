/**
 * What loses its class or drags too much along on the way to another thread, as plain values.
 *
 * @module
 */
import { asTrustError, type Facts, TrustError, type TrustErrorCode } from './errors.ts'
import type { Reason } from './sentences.ts'

/** A refusal or a programmer's mistake; whatever else was thrown becomes `internal`. */
export type SentError =
  | {
      readonly code: TrustErrorCode
      readonly reason: Reason
      readonly facts: Facts
      readonly retryAfterSeconds: number | undefined
    }
  | { readonly typeError: string }

export function sendError(error: unknown): SentError {
  if (error instanceof TypeError) return { typeError: error.message }
  const { code, reason, facts, retryAfterSeconds } = asTrustError(error)
  return { code, reason, facts, retryAfterSeconds }
}

export const receivedError = (error: SentError): Error =>
  'typeError' in error
    ? new TypeError(error.typeError)
    : new TrustError(error.code, error.reason, {
        facts: error.facts,
        ...(error.retryAfterSeconds !== undefined && { retryAfterSeconds: error.retryAfterSeconds }),
      })

/** A view would take the whole memory that it looks at with it. */
export const alone = (octets: Uint8Array): Uint8Array<ArrayBuffer> =>
  octets.byteLength === octets.buffer.byteLength && octets.buffer instanceof ArrayBuffer
    ? (octets as Uint8Array<ArrayBuffer>)
    : new Uint8Array(octets)
