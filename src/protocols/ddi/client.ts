/** The device's side: what an agent asks and says. Artifacts are fetched by their links, since they may be too long to be held. @module */
import { TrustError } from '#base/errors.ts'
import { type Answer, httpTransport } from '../http-client.ts'
import {
  ANSWER_MAX_OCTETS,
  type DeploymentAnswer,
  encodeFeedback,
  MOUNT,
  parseDeployment,
  parsePoll,
  type PollAnswer,
} from './messages.ts'
import type { Attributes, Execution, Feedback } from './service.ts'

export interface DdiClientOptions {
  /** `https://pki.example:8443` */
  readonly server: string
  readonly tenant: string
  /** The serial in the device's certificate. */
  readonly controllerId: string
  /** PEM. */
  readonly tls: { readonly ca: readonly string[]; readonly cert?: string; readonly key?: string }
  readonly timeoutSeconds: number
}

export interface DdiClient {
  /** @throws TrustError `unavailable` when the server is not reached; `forbidden` when it does not let this device in */
  poll(): Promise<PollAnswer>
  /** @param link of the poll @throws TrustError also `notFound` when it is not offered any more; `malformed` */
  deployment(link: string): Promise<DeploymentAnswer>
  feedback(link: string, action: number, said: { readonly execution: Execution } & Partial<Feedback>): Promise<void>
  confirm(
    link: string,
    answer: { readonly confirmation: 'confirmed' | 'denied'; readonly details?: readonly string[] },
  ): Promise<void>
  setAttributes(data: Attributes): Promise<void>
  close(): void
}

const SENTENCE_MAX_OCTETS = 1000

export function ddiClient({ server, tenant, controllerId, tls, timeoutSeconds }: DdiClientOptions): DdiClient {
  const root = new URL(`${MOUNT}/${tenant}/controller/v1/${encodeURIComponent(controllerId)}`, server)
  const transport = httpTransport(root, { ...tls, ca: [...tls.ca], minVersion: 'TLSv1.2' })
  const ask = async (method: 'GET' | 'POST' | 'PUT', url: URL, body?: string): Promise<Uint8Array> => {
    if (url.origin !== root.origin)
      throw new TrustError('malformed', 'ddiMalformed', { facts: { detail: 'a link leads elsewhere' } })
    const headers = { accept: 'application/hal+json', ...(body !== undefined && { 'content-type': 'application/json' }) }
    const limits = { timeoutSeconds, answerMaxOctets: ANSWER_MAX_OCTETS }
    return checked(await transport.ask({ method, url, headers, ...(body !== undefined && { body }), ...limits }))
  }
  return {
    poll: async () => parsePoll(await ask('GET', root)),
    deployment: async (link) => parseDeployment(await ask('GET', new URL(link, root))),
    async feedback(link, action, said) {
      await ask('POST', new URL(`${new URL(link, root).pathname}/feedback`, root), encodeFeedback(action, said))
    },
    async confirm(link, answer) {
      await ask('POST', new URL(`${new URL(link, root).pathname}/feedback`, root), JSON.stringify(answer))
    },
    async setAttributes(data) {
      await ask('PUT', new URL(`${root.pathname}/configData`, root), JSON.stringify({ mode: 'merge', data }))
    },
    close: () => transport.close(),
  }
}

function checked({ status, body }: Answer): Uint8Array {
  if (status === 200) return body
  const detail = new TextDecoder().decode(body.subarray(0, SENTENCE_MAX_OCTETS)).trim()
  const code = status === 401 || status === 403 ? 'forbidden' : status === 404 || status === 410 ? 'notFound' : 'unavailable'
  throw new TrustError(code, 'ddiRefused', { facts: { status, detail } })
}
