/**
 * What EST puts into HTTP bodies and header fields, both directions.
 *
 * Source: RFC 7030, 3.2.4; RFC 8951, 3 (base64 without Content-Transfer-Encoding); RFC 7617 (Basic).
 *
 * @module
 */
import { utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { type Secret, secret } from '#base/secret.ts'

export const mediaTypes = {
  request: 'application/pkcs10',
  certificates: 'application/pkcs7-mime; smime-type=certs-only',
  csrAttributes: 'application/csrattrs',
} as const

/** 64 KiB of DER (the limit of requests) in base64 with line breaks. */
export const REQUEST_BODY_MAX_OCTETS = 96 << 10
/** What a client reads at most: a bundle of trust anchors is the largest answer. */
export const ANSWER_MAX_OCTETS = 1 << 20

/** One line: some clients stop reading at the first line break. */
export const encodeBody = (der: Uint8Array): string => der.toBase64()

/** Line breaks and spaces are tolerated (RFC 8951, 3.1), other characters are not. @throws TrustError `malformed` */
export function parseBody(body: Uint8Array): Uint8Array {
  let der
  try {
    der = Uint8Array.fromBase64(latin1(body), { lastChunkHandling: 'strict' })
  } catch {
    throw new TrustError('malformed', 'notBase64')
  }
  if (der.length === 0) throw new TrustError('malformed', 'bodyEmpty')
  return der
}

const latin1 = (octets: Uint8Array): string => Buffer.from(octets.buffer, octets.byteOffset, octets.length).toString('latin1')

/** Parameters are not compared: clients add a charset. @throws TrustError `unsupported` */
export function checkMediaType(contentType: string | undefined, expected: string): void {
  if (typeOf(contentType ?? '') !== typeOf(expected)) throw new TrustError('unsupported', 'mediaType', { facts: { expected } })
}

const typeOf = (mediaType: string): string => (mediaType.split(';', 1)[0] as string).trim().toLowerCase()

export interface Basic {
  readonly userName: string
  readonly password: Secret
}

/** The field has the name and the password in base64; longer ones were not made here. */
const AUTHORIZATION_MAX_CHARACTERS = 1024
const USER_NAME_MAX_OCTETS = 128
const PASSWORD_MAX_OCTETS = 512

const COLON = 0x3a

/**
 * RFC 7617, 2: `Basic base64(user-id ":" password)`, UTF-8 without control characters.
 *
 * @returns undefined where the field is absent
 * @throws TrustError `unauthenticated` for another scheme, `malformed`
 */
export function parseAuthorization(field: string | undefined): Basic | undefined {
  if (field === undefined) return undefined
  if (field.length > AUTHORIZATION_MAX_CHARACTERS) throw new TrustError('tooLarge', 'basicTooLong')
  const [, scheme = '', token = ''] = /^([!-~]+)(?: +([A-Za-z0-9+/]+={0,2}))?$/.exec(field) ?? []
  if (scheme.toLowerCase() !== 'basic') throw new TrustError('unauthenticated', 'authorizationScheme')
  let octets
  try {
    octets = Uint8Array.fromBase64(token, { lastChunkHandling: 'strict' })
    strictUTF8.decode(octets)
  } catch {
    throw new TrustError('malformed', 'basicMalformed')
  }
  const colon = octets.indexOf(COLON)
  const password = octets.subarray(colon + 1)
  if (colon < 1 || password.length === 0 || octets.some((octet) => octet < 0x20 || octet === 0x7f))
    throw new TrustError('malformed', 'basicMalformed')
  if (colon > USER_NAME_MAX_OCTETS || password.length > PASSWORD_MAX_OCTETS) throw new TrustError('tooLarge', 'basicTooLong')
  return { userName: strictUTF8.decode(octets.subarray(0, colon)), password: secret(password) }
}

/** A mark of order at the beginning is part of the name, not of the encoding. */
const strictUTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

export function encodeAuthorization({ userName, password }: Basic): string {
  const octets = password.reveal('HTTP Basic authentication')
  return `Basic ${Buffer.concat([utf8(`${userName}:`), octets]).toString('base64')}`
}
