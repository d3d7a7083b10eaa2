/**
 * The audit log as other programs read it: `/tlog/checkpoint` and `/tlog/tile/…`.
 *
 * A checkpoint is a size and a hash, and the more people have it the better: anyone may, on every listener. Entries say
 * who did what on which record: they, and the tiles, which let entries be guessed, need the right to read the log, over
 * TLS.
 *
 * Source: C2SP tlog-tiles.
 *
 * @module
 */
import type { Access } from '#access/access.ts'
import { checkAllowed } from '#access/rights.ts'
import { latestCheckpoint } from '#audit/checkpoints.ts'
import { parseTilePath, readTile, type Tile } from '#audit/tiles.ts'
import { asTrustError, TrustError } from '#base/errors.ts'
import { type Arrival, methodNotAllowed, type Router } from '#protocols/dispatch.ts'
import type { Reply } from '#protocols/protocol.ts'
import type { Database } from '#store/database.ts'
import type { Listener } from './listener.ts'
import { authenticate } from './rest/authenticate.ts'
import { problem } from './rest/failures.ts'

export interface TlogParts {
  readonly access: Access
  readonly db: Database
  readonly organizationId: string
}

const MOUNT = '/tlog/'

export const tlogRouter =
  (parts: TlogParts, listener: Listener['id']): Router =>
  (arrival) => {
    if (!arrival.path.startsWith(MOUNT)) return undefined
    const path = arrival.path.slice(MOUNT.length)
    const tile = listener === 'public' ? undefined : parseTilePath(path)
    if (tile === undefined && path !== 'checkpoint') return undefined
    const route = tile === undefined ? 'tlog/checkpoint' : 'tlog/tile'
    if (arrival.method !== 'GET' && arrival.method !== 'HEAD') {
      return { route, run: () => Promise.resolve(methodNotAllowed(arrival.method, 'GET, HEAD')) }
    }
    return {
      route,
      run: () =>
        answer(arrival, () =>
          tile === undefined ? checkpoint(parts, arrival.query === 'cosigned') : serveTile(parts, arrival, tile),
        ),
    }
  }

async function answer({ requestId }: Arrival, work: () => Promise<Reply>): Promise<Reply> {
  try {
    return await work()
  } catch (thrown) {
    return problem(asTrustError(thrown), { requestId })
  }
}

/** @param cosigned the newest that a witness saw: most clients want it, and it may be a minute older */
async function checkpoint({ db, organizationId }: TlogParts, cosigned: boolean): Promise<Reply> {
  const newest = await latestCheckpoint(db, organizationId, { cosigned })
  if (newest === undefined) throw new TrustError('notFound', 'auditEntryUnsigned', { retryAfterSeconds: 1 })
  // as fresh as the sequencer makes it
  return {
    status: 200,
    headers: { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-cache' },
    body: newest.note,
  }
}

async function serveTile({ access, db, organizationId }: TlogParts, arrival: Arrival, tile: Tile): Promise<Reply> {
  const { principal } = await authenticate(access, arrival)
  checkAllowed(principal, 'audit.read')
  const octets = await readTile(db, organizationId, tile)
  if (octets === undefined) throw new TrustError('notFound', 'auditTileMissing')
  // never changes; but for its reader alone
  return {
    status: 200,
    headers: { 'content-type': 'application/octet-stream', 'cache-control': 'private, max-age=31536000, immutable' },
    body: octets,
  }
}
