/**
 * Time stamps from an authority of somebody: asked for over HTTP, believed only for the question that was asked.
 *
 * Whether the authority is to be trusted is for whoever verifies to say; what does not fit the question is not handed on.
 *
 * Source: RFC 3161, 2.4 and 3.4.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import type { Random } from '#base/world.ts'
import { digestOf } from '#cms/digests.ts'
import { encodeTimeStampRequest, parseTimeStampResponse, TIME_STAMP_TOKEN_MAX_OCTETS, verifyTimeStamp } from '#cms/timestamp.ts'

/** A time stamp takes an authority some milliseconds; whoever waits for a signature waits for this too. */
const TIMEOUT_SECONDS = 10
const NONCE_OCTETS = 8
const DIGEST = 'sha256'

/** Whether it is an authority elsewhere, and not a signer of this installation, whose names have no colon. */
export const isTimeStampURL = (place: string): boolean => /^https?:/.test(place)

/** @returns DER TimeStampToken over these octets @throws TrustError `unavailable`, `policyRefused` where the authority says no, `malformed` */
export async function askForTimeStamp(
  uri: string,
  octets: Uint8Array,
  { random }: { readonly random: Random },
): Promise<Uint8Array> {
  const nonce = new Uint8Array(random.octets(NONCE_OCTETS))
  nonce[0] = ((nonce[0] ?? 0) & 0x3f) | 0x40 // positive, and no octet too many
  const imprint = { digestAlgorithm: DIGEST, digest: digestOf(DIGEST, octets) } as const
  const request = encodeTimeStampRequest({ imprint, nonce, certReq: true, extensions: [] })
  const token = await askAuthority(uri, request)
  await verifyTimeStamp(token, { digestWith: (id) => digestOf(id, octets), nonce })
  return token
}

/** @returns DER TimeStampToken, not looked at yet @throws TrustError as {@link askForTimeStamp} */
export const askAuthority = async (uri: string, request: Uint8Array): Promise<Uint8Array> =>
  parseTimeStampResponse(await post(uri, request))

async function post(uri: string, request: Uint8Array): Promise<Uint8Array> {
  try {
    const response = await fetch(uri, {
      method: 'POST',
      headers: { 'content-type': 'application/timestamp-query' },
      body: new Uint8Array(request),
      redirect: 'error',
      signal: AbortSignal.timeout(TIMEOUT_SECONDS * 1000),
    })
    if (!response.ok || response.body === null) throw new Error(`status ${response.status}`)
    const parts: Uint8Array[] = []
    let size = 0
    for await (const part of response.body as AsyncIterable<Uint8Array>) {
      size += part.length
      if (size > TIME_STAMP_TOKEN_MAX_OCTETS) throw new Error('the answer is too long')
      parts.push(part)
    }
    return Buffer.concat(parts)
  } catch (cause) {
    const problem = cause instanceof Error ? cause.message : 'it cannot be used'
    throw new TrustError('unavailable', 'timeStampUnreachable', { facts: { uri, problem }, cause, retryAfterSeconds: 10 })
  }
}
