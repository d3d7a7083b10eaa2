/**
 * Reads a request body that may be too long, too slow or cut off.
 *
 * @module
 */
import type { IncomingMessage } from 'node:http'
import { TrustError } from '#base/errors.ts'

/**
 * How much of a body that nobody wants is read and thrown away, so that the client gets to read the refusal before
 * the connection ends. Closing at once would reset the connection, and the answer with it (RFC 9112, 9.6).
 */
const DISCARD_MAX_BYTES = 1_048_576

/**
 * @param announce called when the body is wanted and the client waits to be told so (`Expect: 100-continue`)
 * @throws TrustError `tooLarge` as soon as the length is known to be too long, `malformed` when the peer stops half way
 */
export function readBody(request: IncomingMessage, maxOctets: number, announce?: () => void): Promise<Uint8Array> {
  const refusal = () => new TrustError('tooLarge', 'bodyTooLarge', { facts: { limit: maxOctets } })
  if (Number(request.headers['content-length'] ?? 0) > maxOctets) return Promise.reject(refusal())
  if (request.readableAborted || (request.destroyed && !request.readableEnded)) return Promise.reject(incomplete())
  announce?.()
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let size = 0
    const onData = (chunk: Buffer) => {
      size += chunk.length
      if (size > maxOctets) {
        forget()
        reject(refusal())
      } else chunks.push(chunk)
    }
    const onEnd = () => {
      forget()
      const [only] = chunks
      resolve(chunks.length === 1 && only !== undefined ? only : Buffer.concat(chunks))
    }
    const onStop = () => {
      forget()
      reject(incomplete())
    }
    const forget = () => {
      request.off('data', onData).off('end', onEnd).off('close', onStop).off('error', onStop)
      request.on('error', ignore)
    }
    request.on('data', onData).on('end', onEnd).on('close', onStop).on('error', onStop)
  })
}

/**
 * The same for what is too long to be held: piece by piece, as fast as they are taken.
 *
 * @param bounds `octets` in all; `seconds` for all of it. Standing still is the listener's matter
 */
export async function* streamBody(
  request: IncomingMessage,
  { octets, seconds }: { readonly octets: number; readonly seconds: number },
  announce?: () => void,
): AsyncGenerator<Uint8Array> {
  const refusal = () => new TrustError('tooLarge', 'bodyTooLarge', { facts: { limit: octets } })
  if (Number(request.headers['content-length'] ?? 0) > octets) throw refusal()
  if (request.readableAborted || (request.destroyed && !request.readableEnded)) throw incomplete()
  announce?.()
  const bound = setTimeout(() => request.destroy(), seconds * 1000)
  let size = 0
  try {
    for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      size += chunk.length
      if (size > octets) throw refusal()
      yield chunk
    }
  } catch (thrown) {
    throw thrown instanceof TrustError ? thrown : incomplete(thrown)
  } finally {
    clearTimeout(bound)
    request.on('error', ignore)
  }
  if (!request.complete) throw incomplete()
}

const incomplete = (cause?: unknown) => new TrustError('malformed', 'bodyIncomplete', { cause })

/** Lets the rest of an unread body run out, within bounds, so that the answer arrives. */
export function discardRest(request: IncomingMessage): void {
  if (request.complete) return
  let discarded = 0
  request.on('data', (chunk: Buffer) => {
    discarded += chunk.length
    if (discarded > DISCARD_MAX_BYTES) request.destroy()
  })
  request.on('error', ignore)
}

/** The peer's going away was already told to whoever read the body. */
const ignore = () => {}
