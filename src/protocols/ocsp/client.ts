/**
 * The other side of OCSP: asks and reads. Whether to believe the answer is for `x509` and the caller to say.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import { OCSP_REQUEST_MAX_OCTETS, type OCSPResponse, parseOCSPResponse } from '#x509/ocsp.ts'
import { httpTransport, type Transport } from '../http-client.ts'
import { ANSWER_MEDIA_TYPE, encodeRequestPath, REQUEST_MEDIA_TYPE } from './messages.ts'

export interface OCSPClientOptions {
  /** As the certificate names it, such as `http://pki.example:8080/ocsp/line1.1`. */
  readonly url: string
  /** Instead of one of its own. */
  readonly transport?: Transport
  /** 10 unless told. */
  readonly timeoutSeconds?: number
}

export interface OCSPClient {
  /**
   * @param request DER OCSPRequest
   * @param method GET lets caches answer; unless told, it is used where RFC 9919, 5 asks for it
   * @throws TrustError `unavailable`, `malformed`
   */
  ask(request: Uint8Array, method?: 'GET' | 'POST'): Promise<OCSPResponse>
  close(): void
}

/** RFC 9919, 5: shorter requests go by GET. Counted with the address. */
const GET_MAX_CHARACTERS = 255

export function ocspClient({ url, transport: given, timeoutSeconds = 10 }: OCSPClientOptions): OCSPClient {
  const address = new URL(url.replace(/\/*$/, ''))
  const transport = given ?? httpTransport(address)
  return {
    async ask(request, method) {
      const byPath = new URL(`${address.href}/${encodeRequestPath(request)}`)
      const isGet = method === undefined ? byPath.href.length <= GET_MAX_CHARACTERS : method === 'GET'
      const common = { timeoutSeconds, answerMaxOctets: OCSP_REQUEST_MAX_OCTETS }
      const answer = isGet
        ? await transport.ask({ method: 'GET', url: byPath, headers: {}, ...common })
        : await transport.ask({
            method: 'POST',
            url: address,
            headers: { 'content-type': REQUEST_MEDIA_TYPE },
            body: request,
            ...common,
          })
      if (answer.status !== 200 || answer.headers['content-type'] !== ANSWER_MEDIA_TYPE)
        throw new TrustError('unavailable', 'notOCSPAnswer', { facts: { status: answer.status } })
      return parseOCSPResponse(answer.body)
    },
    close() {
      if (given === undefined) transport.close()
    },
  }
}
