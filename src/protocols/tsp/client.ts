/**
 * The other side: asks an authority for a token. Whether to believe it is for `cms` and the caller to say.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import { parseTimeStampResponse, TIME_STAMP_TOKEN_MAX_OCTETS } from '#cms/timestamp.ts'
import { httpTransport, type Transport } from '../http-client.ts'
import { QUERY_MEDIA_TYPE, REPLY_MEDIA_TYPE } from './messages.ts'

export interface TSPClientOptions {
  /** Such as `http://pki.example:8080/tsa/time`. */
  readonly url: string
  /** Instead of one of its own. */
  readonly transport?: Transport
  /** 10 unless told. */
  readonly timeoutSeconds?: number
}

export interface TSPClient {
  /**
   * @param request DER TimeStampReq
   * @returns DER TimeStampToken, not looked at yet
   * @throws TrustError `unavailable`, `malformed`; `policyRefused` when the authority says no, with its words
   */
  ask(request: Uint8Array): Promise<Uint8Array>
  close(): void
}

export function tspClient({ url, transport: given, timeoutSeconds = 10 }: TSPClientOptions): TSPClient {
  const address = new URL(url)
  const transport = given ?? httpTransport(address)
  return {
    async ask(request) {
      const answer = await transport.ask({
        method: 'POST',
        url: address,
        headers: { 'content-type': QUERY_MEDIA_TYPE },
        body: request,
        timeoutSeconds,
        answerMaxOctets: TIME_STAMP_TOKEN_MAX_OCTETS,
      })
      if (answer.status !== 200 || answer.headers['content-type'] !== REPLY_MEDIA_TYPE) {
        const facts = { uri: address.href, problem: `status ${answer.status}` }
        throw new TrustError('unavailable', 'timeStampUnreachable', { facts })
      }
      return parseTimeStampResponse(answer.body)
    },
    close() {
      if (given === undefined) transport.close()
    },
  }
}
