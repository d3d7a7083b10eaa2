/** base64url without padding, in its one form: trailing bits are zero, and nothing else stands in it (RFC 7515, 2). @module */
import { TrustError } from '#base/errors.ts'

export const toBase64url = (octets: Uint8Array): string => octets.toBase64({ alphabet: 'base64url', omitPadding: true })

/** @throws TrustError `malformed` */
export function fromBase64url(text: string, what: string): Uint8Array {
  try {
    const octets = Uint8Array.fromBase64(text, { alphabet: 'base64url' })
    if (toBase64url(octets) === text) return octets
  } catch {
    // said below
  }
  throw new TrustError('malformed', 'notBase64url', { facts: { what } })
}
