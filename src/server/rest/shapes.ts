/** Schemas that several route files share. @module */
import { Type } from 'typebox'
import { TrustError } from '#base/errors.ts'

/** Octets in base64, as JSON carries them. */
export const Base64 = Type.String({ pattern: '^[A-Za-z0-9+/]*={0,2}$', maxLength: 1 << 20, description: 'base64' })

/** The schema knows the letters; only the decoder knows whether they are whole. @throws TrustError `malformed` */
export function octetsOf(base64: string): Uint8Array<ArrayBuffer> {
  try {
    return Uint8Array.fromBase64(base64)
  } catch (cause) {
    throw new TrustError('malformed', 'notBase64', { cause })
  }
}

/** RFC 3339, UTC. */
export const Time = Type.String({ format: 'date-time' })

/** Decision 22: an OCSP request in a path begins with "M". */
export const Slug = Type.String({
  pattern: '^[a-ln-z0-9][a-z0-9]{0,31}$',
  description: '1 to 32 lower-case letters and digits that do not begin with "m"',
})

/** `slug.generation`, or a slug for its newest generation. */
export const Address = Type.String({
  pattern: '^[a-ln-z0-9][a-z0-9]{0,31}(\\.[1-9][0-9]{0,5})?$',
  description: 'an authority by its short name, such as line1 or line1.2 (short names do not begin with "m")',
})

export const Uuid = Type.String({ pattern: '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$', description: 'an id of a record' })

export const KeyAlgorithmName = Type.String({ pattern: '^[a-z0-9-]{3,32}$', description: 'a key algorithm, such as ecdsa-p256' })

/** RFC 4514 text. */
export const DistinguishedName = Type.String({ maxLength: 1024, description: 'a name such as CN=Line 1,O=Example' })

export const Empty = Type.Object({}, { additionalProperties: false })
