/**
 * The other side of the repository: gets a CRL or an authority's certificates, and asks again without paying twice.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import { httpTransport, type Transport } from '../http-client.ts'

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

export function repositoryClient({ timeoutSeconds = 30 }: { readonly timeoutSeconds?: number } = {}): RepositoryClient {
  const transports = new Map<string, Transport>()
  const transportFor = (url: URL): Transport => {
    const transport = transports.get(url.protocol) ?? httpTransport(url)
    transports.set(url.protocol, transport)
    return transport
  }
  return {
    async fetch(address, etag) {
      const url = new URL(address)
      const headers = etag === undefined ? {} : { 'if-none-match': etag }
      const answer = await transportFor(url).ask({
        method: 'GET',
        url,
        headers,
        timeoutSeconds,
        answerMaxOctets: ANSWER_MAX_OCTETS,
      })
      if (answer.status === 304) return undefined
      if (answer.status === 404) throw new TrustError('notFound', 'unknownPath')
      if (answer.status !== 200) throw new TrustError('unavailable', 'notRepositoryAnswer', { facts: { status: answer.status } })
      return { body: answer.body, mediaType: answer.headers['content-type'] ?? '', etag: answer.headers['etag'] }
    },
    close: () => transports.forEach((transport) => transport.close()),
  }
}
