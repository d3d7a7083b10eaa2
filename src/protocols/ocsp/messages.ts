/**
 * OCSP in HTTP: the DER itself in a body, or in base64 as the end of a path.
 *
 * Source: RFC 6960, A.1; RFC 9919, 5 and 6.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'

export const REQUEST_MEDIA_TYPE = 'application/ocsp-request'
export const ANSWER_MEDIA_TYPE = 'application/ocsp-response'

/** RFC 6960, A.1: a client may use GET below 255 octets. Some use it for more, and proxies cut at a few thousand. */
const PATH_MAX_CHARACTERS = 4096

/**
 * An authority's slug, perhaps with its generation. It never begins with "m" and has no upper case, while the base64
 * of a SEQUENCE always begins with "M": the two cannot be taken for each other.
 */
const AUTHORITY = /^\/[a-ln-z0-9][a-z0-9]{0,31}(?:\.\d{1,5})?(?=\/)/

/**
 * @param path below `/ocsp`: `/BASE64` or `/CA/BASE64`, percent-escaped or not. Base64 has slashes of its own, and some
 * clients escape them and some do not.
 * @returns DER OCSPRequest
 * @throws TrustError `malformed`, `tooLarge`
 */
export function parseRequestPath(path: string): Uint8Array {
  if (path.length > PATH_MAX_CHARACTERS)
    throw new TrustError('tooLarge', 'ocspPathTooLong', { facts: { limit: PATH_MAX_CHARACTERS } })
  const escaped = path.replace(AUTHORITY, '').slice(1)
  let der
  try {
    const base64 = decodeURIComponent(escaped)
    if (/\s/.test(base64)) throw new Error('base64 in a path has no spaces')
    der = Uint8Array.fromBase64(base64, { lastChunkHandling: 'strict' })
  } catch (cause) {
    throw new TrustError('malformed', 'ocspPathNotBase64', { cause })
  }
  if (der.length === 0) throw new TrustError('malformed', 'ocspPathNotBase64')
  return der
}

/** Every octet that a path may not have as it is gets its escape. */
export const encodeRequestPath = (der: Uint8Array): string => encodeURIComponent(der.toBase64())
