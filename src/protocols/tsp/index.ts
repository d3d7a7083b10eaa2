/**
 * Time stamps over HTTP: a question in, an answer out, from the authority that the path names.
 *
 * Source: RFC 3161, 3.4.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import { TIME_STAMP_REQUEST_MAX_OCTETS } from '#cms/timestamp.ts'
import type { Operation, Protocol } from '../protocol.ts'
import { failure } from './failures.ts'
import { QUERY_MEDIA_TYPE, REPLY_MEDIA_TYPE } from './messages.ts'

/** What this protocol needs from the one who holds the keys. */
export interface TSPService {
  /**
   * @param name of the authority
   * @param request DER TimeStampReq
   * @throws TrustError of any refusal
   */
  answer(name: string, request: Uint8Array): Promise<{ /** DER TimeStampResp. */ readonly response: Uint8Array }>
}

const timeStamp: Operation<TSPService> = {
  method: 'POST',
  path: '',
  section: 'RFC 3161, 3.4',
  async handle({ headers, body, label }, service) {
    if (label === undefined) throw new TrustError('notFound', 'unknownPath')
    const mediaType = (headers['content-type'] ?? '').split(';', 1)[0] as string
    if (mediaType.trim().toLowerCase() !== QUERY_MEDIA_TYPE)
      throw new TrustError('malformed', 'mediaType', { facts: { expected: QUERY_MEDIA_TYPE } })
    const { response } = await service.answer(label, await body(TIME_STAMP_REQUEST_MAX_OCTETS))
    return { status: 200, headers: { 'content-type': REPLY_MEDIA_TYPE }, body: response }
  },
}

export const tsp: Protocol<TSPService> = {
  id: 'tsp',
  source: 'RFC 3161, RFC 5816, RFC 9882',
  mount: '/tsa',
  listener: 'public',
  operations: [timeStamp],
  failure,
}
