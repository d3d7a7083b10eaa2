/**
 * DSSE envelopes: a payload with its type and the signatures over both.
 *
 * Source: DSSE protocol and envelope, v1.0.
 *
 * @module
 */
import { encodePEM, parsePEM } from '#asn1/pem.ts'
import { concat, utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { isJSONObject, type JSONValue, parseJSONObject } from '#jose/json.ts'

/** More than any envelope needs; each may be tried with each certificate. */
const SIGNATURES_MAX = 16
const CHAIN_MAX = 16

export interface EnvelopeSignature {
  /** A hint, which nothing is decided by. */
  readonly keyid: string
  readonly sig: Uint8Array
  /**
   * The signer's certificate first, then those above it, DER. Not in the specification, which lets envelopes have more
   * fields; SLSA's generators write it so.
   */
  readonly certificates: readonly Uint8Array[]
}

export interface Envelope {
  readonly payloadType: string
  /** As it came. */
  readonly encodedPayload: string
  readonly payload: Uint8Array
  readonly signatures: readonly EnvelopeSignature[]
}

const malformed = (detail: string): TrustError => new TrustError('malformed', 'notDSSE', { facts: { detail } })

/** What is signed (DSSE protocol, PAE), up to the payload, which ends it. */
export function encodePAEHead(payloadType: string, payloadOctets: number): Uint8Array {
  const type = utf8(payloadType)
  return concat([utf8(`DSSEv1 ${type.length} `), type, utf8(` ${payloadOctets} `)])
}

/** @throws TrustError `malformed`, `tooLarge` */
export function parseEnvelope(octets: Uint8Array, maxOctets: number): Envelope {
  const { payloadType, payload = '', signatures } = parseJSONObject(octets, maxOctets)
  if (typeof payloadType !== 'string' || payloadType === '') throw malformed('it has no payloadType')
  if (typeof payload !== 'string') throw malformed('its payload is no text')
  if (!Array.isArray(signatures) || signatures.length === 0) throw malformed('it has no signatures')
  if (signatures.length > SIGNATURES_MAX)
    throw new TrustError('tooLarge', 'messageSignatures', { facts: { limit: SIGNATURES_MAX } })
  return {
    payloadType,
    encodedPayload: payload,
    payload: fromEitherBase64(payload),
    signatures: (signatures as readonly JSONValue[]).map(signatureIn),
  }
}

function signatureIn(item: JSONValue): EnvelopeSignature {
  if (!isJSONObject(item)) throw malformed('a signature is no object')
  const { keyid = '', sig, cert = '' } = item
  if (typeof keyid !== 'string' || typeof sig !== 'string' || typeof cert !== 'string')
    throw malformed('a signature is not as it must be')
  return { keyid, sig: fromEitherBase64(sig), certificates: cert === '' ? [] : certificatesIn(cert) }
}

function certificatesIn(pem: string): readonly Uint8Array[] {
  const blocks = parsePEM(pem)
  if (blocks.length === 0 || blocks.length > CHAIN_MAX || blocks.some(({ label }) => label !== 'CERTIFICATE'))
    throw malformed('cert holds something else than certificates')
  return blocks.map(({ der }) => der)
}

/** Signers may use either alphabet, and verifiers must take both (DSSE protocol); each in its one form. */
function fromEitherBase64(text: string): Uint8Array {
  const alphabet = /[-_]/.test(text) ? 'base64url' : 'base64'
  try {
    const octets = Uint8Array.fromBase64(text, { alphabet })
    if (octets.toBase64({ alphabet }) === text || octets.toBase64({ alphabet, omitPadding: true }) === text) return octets
  } catch {
    // said below
  }
  throw malformed('a field is not base64')
}

/** The payload comes last, so that what it is shows at the beginning, however long it is. */
export function encodeEnvelope({ payloadType, payload, signatures }: Omit<Envelope, 'encodedPayload'>): Uint8Array {
  return utf8(
    JSON.stringify({
      payloadType,
      signatures: signatures.map(({ keyid, sig, certificates }) => ({
        keyid,
        sig: sig.toBase64(),
        ...(certificates.length > 0 && { cert: certificates.map((der) => encodePEM('CERTIFICATE', der)).join('') }),
      })),
      payload: payload.toBase64(),
    }),
  )
}
