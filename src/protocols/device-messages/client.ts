/** The device's side of its messages. @module */
import { TrustError } from '#base/errors.ts'
import { type Answer, httpTransport, type Question } from '../http-client.ts'
import {
  LIST_ANSWER_MAX_OCTETS,
  MESSAGE_MEDIA_TYPE,
  type MessageKind,
  MOUNT,
  type NumberedMessage,
  parseList,
} from './messages.ts'

export interface DeviceMessagesOptions {
  /** `https://pki.example:8443` */
  readonly server: string
  /** PEM. */
  readonly tls: { readonly ca: readonly string[]; readonly cert: string; readonly key: string }
  readonly timeoutSeconds: number
}

export interface DeviceMessagesClient {
  /** @returns what the server has with greater numbers, in their order; empty when there is nothing more */
  list(kind: MessageKind, after: number): Promise<readonly NumberedMessage[]>
  /**
   * @returns what the server says to it, where it says something
   * @throws TrustError `forbidden` when the server does not want it, with its word in the fact `reason`; `unavailable` when it was not heard
   */
  send(kind: MessageKind, message: Uint8Array): Promise<Uint8Array | undefined>
  close(): void
}

const SENTENCE_MAX_OCTETS = 400

export function deviceMessagesClient({ server, tls, timeoutSeconds }: DeviceMessagesOptions): DeviceMessagesClient {
  const base = new URL(server)
  const transport = httpTransport(base, { ...tls, ca: [...tls.ca], minVersion: 'TLSv1.2' })

  const ask = (kind: MessageKind, query: string, rest: Pick<Question, 'method' | 'headers' | 'body'>): Promise<Answer> =>
    transport.ask({
      url: new URL(`${MOUNT}/${kind}${query}`, base),
      timeoutSeconds,
      answerMaxOctets: LIST_ANSWER_MAX_OCTETS,
      ...rest,
    })

  return {
    async list(kind, after) {
      const answer = await ask(kind, `?after=${after}`, { method: 'GET', headers: {} })
      if (answer.status !== 200) throw refusalIn(answer)
      return parseList(answer.body, after)
    },
    async send(kind, message) {
      const headers = { 'content-type': MESSAGE_MEDIA_TYPE }
      const answer = await ask(kind, '', { method: 'POST', headers, body: message })
      if (answer.status === 204) return undefined
      if (answer.status === 200) return answer.body
      throw refusalIn(answer)
    },
    close: () => transport.close(),
  }
}

/** What the server judged is not said again; what it could not do now is tried later. */
function refusalIn({ status, body }: Answer): TrustError {
  const detail = new TextDecoder().decode(body.subarray(0, SENTENCE_MAX_OCTETS)).trim()
  const isJudged = status >= 400 && status < 500 && status !== 429
  return new TrustError(isJudged ? 'forbidden' : 'unavailable', 'deviceMessageRefused', {
    facts: { status, detail, reason: / \((\w+)\)$/.exec(detail)?.[1] ?? '' },
  })
}
