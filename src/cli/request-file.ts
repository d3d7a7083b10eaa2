/** Certificate requests (PKCS #10) in the forms that programs write. @module */
import { parsePEM } from '#asn1/pem.ts'
import { TrustError } from '#base/errors.ts'

/** @returns DER of a request that is PEM (old and new label), DER or base64 */
export function requestIn(octets: Uint8Array): Uint8Array {
  if (octets[0] === 0x30) return octets
  const written = new TextDecoder().decode(octets)
  try {
    if (!written.includes('-----BEGIN ')) return Uint8Array.fromBase64(written)
  } catch (cause) {
    throw new TrustError('malformed', 'notRequest', { cause })
  }
  const request = parsePEM(written).find(({ label }) => /^(?:NEW )?CERTIFICATE REQUEST$/.test(label))
  if (request === undefined) throw new TrustError('malformed', 'notRequest')
  return request.der
}
