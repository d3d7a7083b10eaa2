/**
 * TUF metadata as clients fetch it, on every listener: `/tuf/metadata/…`, and `/tuf/targets/…` where the setting says so. Metadata
 * is public by its nature; the released files may not be.
 *
 * Source: The Update Framework Specification 1.0.31, 5 (client workflow).
 *
 * @module
 */
import { asTrustError, TrustError } from '#base/errors.ts'
import { methodNotAllowed, type Router } from '#protocols/dispatch.ts'
import type { Reply } from '#protocols/protocol.ts'
import { findTargetFile, readMetadata } from '#updates/tuf/repository.ts'
import type { Updates } from '#updates/updates.ts'
import { problem } from './rest/failures.ts'

const METADATA = '/tuf/metadata/'
const TARGETS = '/tuf/targets/'
const IMMUTABLE = 'public, max-age=31536000, immutable'

export const tufRouter =
  ({ context, read }: Updates, servesTargets: boolean): Router =>
  ({ path, method, requestId }) => {
    const isMetadata = path.startsWith(METADATA)
    if (!isMetadata && !(servesTargets && path.startsWith(TARGETS))) return undefined
    const route = isMetadata ? 'tuf/metadata' : 'tuf/targets'
    if (method !== 'GET' && method !== 'HEAD') {
      return { route, run: () => Promise.resolve(methodNotAllowed(method, 'GET, HEAD')) }
    }
    const work = (): Promise<Reply> => (isMetadata ? metadata(path.slice(METADATA.length)) : target(path.slice(TARGETS.length)))
    /** All but the timestamp have a number in their names, by which they never change. */
    async function metadata(file: string): Promise<Reply> {
      const body = await readMetadata(context, file)
      if (body === undefined) throw new TrustError('notFound', 'tufFileUnknown')
      const caching = file === 'timestamp.json' ? 'no-cache' : IMMUTABLE
      return { status: 200, headers: { 'content-type': 'application/json', 'cache-control': caching }, body }
    }
    async function target(file: string): Promise<Reply> {
      const found = await findTargetFile(context, file)
      if (found === undefined) throw new TrustError('notFound', 'tufFileUnknown')
      const { octets, digest } = found
      const headers = { 'content-type': 'application/octet-stream', 'cache-control': IMMUTABLE }
      return { status: 200, headers, body: '', stream: { octets, read: () => read(digest, 0, octets) } }
    }
    return { route, run: () => work().catch((thrown: unknown) => problem(asTrustError(thrown), { requestId })) }
  }
