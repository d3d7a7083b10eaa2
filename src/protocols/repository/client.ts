/**
 * The other side of the repository: gets a CRL or an authority's certificates, and asks again without paying twice.
 *
 * @module
 */
import type { Agent } from 'node:http'
import { TrustError } from '#base/errors.ts'
import { ask, keepAliveAgent } from '../http-client.ts'

export interface Fetched {
  /** DER */
  readonly body: Uint8Array
  readonly mediaType: string
  /** For the next question. */
  readonly etag: string | undefined
}

export interface RepositoryClient {
  /** @param etag of what the caller has @returns undefined when that is still the newest @throws TrustError `notFound`, `unavailable`, `tooLarge` */
  fetch(url: string, etag?: string): Promise<Fetched | undefined>
  close(): void
}

/** A CRL of a million entries has 50 MB. */
const ANSWER_MAX_OCTETS = 128 << 20

export function repositoryClient({
  agent: given,
  timeoutSeconds = 30,
}: { readonly agent?: Agent; readonly timeoutSeconds?: number } = {}): RepositoryClient {
  const agents = new Map<string, Agent>()
  const agentFor = (url: URL): Agent => {
    if (given !== undefined) return given
    const agent = agents.get(url.protocol) ?? keepAliveAgent(url)
    agents.set(url.protocol, agent)
    return agent
  }
  return {
    async fetch(address, etag) {
      const url = new URL(address)
      const headers = etag === undefined ? {} : { 'if-none-match': etag }
      const answer = await ask({
        method: 'GET',
        url,
        headers,
        agent: agentFor(url),
        timeoutSeconds,
        answerMaxOctets: ANSWER_MAX_OCTETS,
      })
      if (answer.status === 304) return undefined
      if (answer.status === 404) throw new TrustError('notFound', 'unknownPath')
      if (answer.status !== 200) throw new TrustError('unavailable', 'notRepositoryAnswer', { facts: { status: answer.status } })
      return { body: answer.body, mediaType: answer.headers['content-type'] ?? '', etag: answer.headers['etag'] }
    },
    close: () => agents.forEach((agent) => agent.destroy()),
  }
}
