/**
 * JWS: what was signed, by whom and how, in each of its serializations.
 *
 * A header is read once and strictly. The algorithm and what must be understood stand in the protected header, or the
 * message is refused. Keys in a header (`jwk`, `jku`, `x5u`) are never used: whoever signs would choose whom to believe.
 *
 * Source: RFC 7515; RFC 7797 (payload that is not encoded).
 *
 * @module
 */
import { utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { fromBase64url, toBase64url } from './base64url.ts'
import { isJSONObject, type JSONObject, type JSONValue, parseJSONObject } from './json.ts'

export const JWS_SERIALIZATIONS = ['compact', 'flattened', 'general'] as const
export type JWSSerialization = (typeof JWS_SERIALIZATIONS)[number]

export interface JWSSignature {
  /** As it came; it is signed as it came. */
  readonly encodedHeader: string
  /** As the protected header names it. */
  readonly algorithm: string
  readonly protectedHeader: JSONObject
  readonly unprotectedHeader: JSONObject
  readonly signature: Uint8Array
}

export interface JWS {
  readonly serialization: JWSSerialization
  /** Not there when it is detached; base64url, or the text itself when it is not encoded. */
  readonly encodedPayload?: string
  /** Whether base64url of the payload is signed, or the payload (RFC 7797); the same for every signature. */
  readonly isEncoded: boolean
  readonly signatures: readonly JWSSignature[]
}

/** More than any message needs; each costs a verification. */
export const JWS_SIGNATURES_MAX = 16
/** With a chain of ML-DSA certificates some 40 KiB. */
const HEADER_MAX_OCTETS = 256 << 10

const malformed = (detail: string): TrustError => new TrustError('malformed', 'notJWS', { facts: { detail } })

/**
 * @param maxOctets of the whole message
 * @throws TrustError `malformed`, `tooLarge`
 */
export function parseJWS(octets: Uint8Array, maxOctets: number): JWS {
  if (octets.length > maxOctets) throw new TrustError('tooLarge', 'jsonTooLarge', { facts: { limit: maxOctets } })
  return octets.find((octet) => !SPACES.has(octet)) === BRACE ? parseJSONForm(octets, maxOctets) : parseCompact(octets)
}

const BRACE = 0x7b
const SPACES: ReadonlySet<number> = new Set([0x20, 0x09, 0x0a, 0x0d])

function parseCompact(octets: Uint8Array): JWS {
  const text = Buffer.from(octets.buffer, octets.byteOffset, octets.length)
    .toString('latin1')
    .replace(/\r?\n$/, '')
  // oxlint-disable-next-line no-control-regex -- what is not ASCII is no compact form
  if (/[^\u0021-\u007e]/.test(text)) throw malformed('it is neither JSON nor of the compact form')
  const [encodedHeader = '', payload, signature, ...more] = text.split('.')
  if (payload === undefined || signature === undefined || more.length > 0) throw malformed('it has not three parts')
  return messageOf('compact', payload === '' ? undefined : payload, [signatureOf({ encodedHeader, signature })])
}

function parseJSONForm(octets: Uint8Array, maxOctets: number): JWS {
  const { payload, signatures, ...rest } = parseJSONObject(octets, maxOctets)
  if (payload !== undefined && typeof payload !== 'string') throw malformed('the payload is no text')
  if (signatures === undefined) return messageOf('flattened', payload, [signatureIn(rest)])
  if ('signature' in rest || 'protected' in rest || 'header' in rest)
    throw malformed('it is of the flattened and of the general form at once') // RFC 7515, 7.2.2
  if (!Array.isArray(signatures) || signatures.length === 0) throw malformed('it has no signatures')
  if (signatures.length > JWS_SIGNATURES_MAX)
    throw new TrustError('tooLarge', 'messageSignatures', { facts: { limit: JWS_SIGNATURES_MAX } })
  return messageOf('general', payload, (signatures as readonly JSONValue[]).map(signatureIn))
}

function signatureIn(item: JSONValue): JWSSignature {
  if (!isJSONObject(item)) throw malformed('a signature is no object')
  const { protected: encodedHeader = '', header, signature } = item
  if (typeof encodedHeader !== 'string' || typeof signature !== 'string') throw malformed('a signature or its header is no text')
  if (header !== undefined && !isJSONObject(header)) throw malformed('the unprotected header is no object')
  return signatureOf({ encodedHeader, signature, ...(header !== undefined && { header }) })
}

function signatureOf({
  encodedHeader,
  header = {},
  signature,
}: {
  readonly encodedHeader: string
  readonly header?: JSONObject
  readonly signature: string
}): JWSSignature {
  const protectedHeader =
    encodedHeader === '' ? {} : parseJSONObject(fromBase64url(encodedHeader, 'the protected header'), HEADER_MAX_OCTETS)
  for (const name of Object.keys(header))
    if (name in protectedHeader) throw malformed('a header parameter stands in both headers') // RFC 7515, 4
  const { alg: algorithm } = protectedHeader
  if (typeof algorithm !== 'string') throw malformed('the protected header names no algorithm')
  if ('crit' in header || 'b64' in header) throw malformed('the parameter crit or b64 is not protected')
  const octets = fromBase64url(signature, 'the signature')
  return { encodedHeader, algorithm, protectedHeader, unprotectedHeader: header, signature: octets }
}

function messageOf(
  serialization: JWSSerialization,
  encodedPayload: string | undefined,
  signatures: readonly JWSSignature[],
): JWS {
  const [isEncoded = true, ...others] = signatures.map(isPayloadEncoded)
  if (others.some((other) => other !== isEncoded)) throw malformed('its signatures disagree about b64') // RFC 7797, 3
  return { serialization, isEncoded, signatures, ...(encodedPayload !== undefined && { encodedPayload }) }
}

function isPayloadEncoded({ protectedHeader: { b64, crit } }: JWSSignature): boolean {
  if (b64 === undefined) return true
  if (typeof b64 !== 'boolean') throw malformed('b64 is neither true nor false')
  if (!Array.isArray(crit) || !crit.includes('b64')) throw malformed('b64 is not named in crit') // RFC 7797, 6
  return b64
}

/** @throws TrustError `malformed` */
export const payloadOf = ({ isEncoded }: Pick<JWS, 'isEncoded'>, encodedPayload: string): Uint8Array =>
  isEncoded ? fromBase64url(encodedPayload, 'the payload') : utf8(encodedPayload)

/** Names that RFC 7515 and RFC 7518 define, which must not be in crit (RFC 7515, 4.1.11). */
const DEFINED: ReadonlySet<string> = new Set(
  'alg jku jwk kid x5u x5c x5t x5t#S256 typ cty crit enc zip epk apu apv iv tag p2s p2c'.split(' '),
)

/**
 * @param understood names that whoever asks looks at, beside `b64`
 * @throws TrustError `unsupported` for a parameter that must be understood and is not; `malformed`
 */
export function checkCritical({ protectedHeader }: JWSSignature, understood: readonly string[]): void {
  const { crit } = protectedHeader
  if (crit === undefined) return
  if (!Array.isArray(crit) || crit.length === 0 || new Set(crit).size !== crit.length) throw malformed('crit is no list of names')
  for (const name of crit as readonly JSONValue[]) {
    if (typeof name !== 'string' || DEFINED.has(name)) throw malformed('crit holds what must not be in it')
    if (!(name in protectedHeader)) throw malformed('crit names what is not in the protected header')
    if (name !== 'b64' && !understood.includes(name))
      throw new TrustError('unsupported', 'criticalHeader', { facts: { name: name.slice(0, 80) } })
  }
}

/** More than any path is long. */
const CHAIN_MAX = 16

/** @returns DER certificates, the signer's first; nothing says yet that they are anybody's */
export function chainOf({ protectedHeader, unprotectedHeader }: JWSSignature): readonly Uint8Array[] {
  const chain = protectedHeader['x5c'] ?? unprotectedHeader['x5c']
  if (chain === undefined) return []
  if (!Array.isArray(chain) || chain.length === 0 || chain.length > CHAIN_MAX)
    throw malformed('x5c is no list, empty or too long')
  return (chain as readonly JSONValue[]).map(certificateIn)
}

/** RFC 7515, 4.1.6: base64, not base64url. */
function certificateIn(text: JSONValue): Uint8Array {
  try {
    return Uint8Array.fromBase64(text as string, { lastChunkHandling: 'strict' })
  } catch {
    throw malformed('a certificate in x5c is not base64')
  }
}

/** @returns SHA-256 of the signer's certificate; undefined when it is not named so */
export function thumbprintOf({ protectedHeader, unprotectedHeader }: JWSSignature): Uint8Array | undefined {
  const thumbprint = protectedHeader['x5t#S256'] ?? unprotectedHeader['x5t#S256']
  if (thumbprint === undefined) return undefined
  if (typeof thumbprint !== 'string') throw malformed('x5t#S256 is no text')
  return fromBase64url(thumbprint, 'x5t#S256')
}

/** @param members in the order in which they are written */
export const encodeHeader = (members: Readonly<Record<string, unknown>>): string => toBase64url(utf8(JSON.stringify(members)))

/** What is signed, up to the payload as it is signed, which ends it (RFC 7515, 5.1). */
export const encodeSigningInputHead = (encodedHeader: string): Uint8Array => utf8(`${encodedHeader}.`)

/** The payload comes last, so that what it is shows at the beginning, however long it is. */
export function encodeJWS({
  serialization,
  encodedPayload,
  signatures,
}: {
  readonly serialization: JWSSerialization
  readonly encodedPayload?: string
  readonly signatures: readonly Pick<JWSSignature, 'encodedHeader' | 'signature'>[]
}): Uint8Array {
  const parts = signatures.map(({ encodedHeader, signature }) => ({
    protected: encodedHeader,
    signature: toBase64url(signature),
  }))
  const [only, ...others] = parts
  const payload = encodedPayload === undefined ? {} : { payload: encodedPayload }
  if (serialization === 'general') return utf8(JSON.stringify({ signatures: parts, ...payload }))
  if (only === undefined || others.length > 0) throw new TypeError(`the ${serialization} form has one signature`)
  if (serialization === 'flattened') return utf8(JSON.stringify({ ...only, ...payload }))
  return utf8(`${only.protected}.${encodedPayload ?? ''}.${only.signature}`)
}
