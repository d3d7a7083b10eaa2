/**
 * Puts CRLs and certificates of authorities where relying parties look for them, whenever they are new.
 *
 * What is published is compared with what there is, so that nothing is lost by a crash, a lost message or a target that
 * was away for a week. Issuing never waits for any of it.
 *
 * @module
 */
import { asTrustError } from '#base/errors.ts'
import type { Log } from '#base/log.ts'
import { uuidv7, type World } from '#base/world.ts'
import type { Authorities } from '#ca/authorities.ts'
import { encodeCertsOnly } from '#cms/certs-only.ts'
import type { PublishedCRL, RepositoryService, WhichCRL } from '#protocols/repository/index.ts'
import type { Database, Row } from '#store/database.ts'
import { acquireLease } from '#store/lease.ts'
import { fingerprint } from '#x509/certificate.ts'
import type { PublicationTarget } from './target.ts'

export interface PublisherOptions {
  readonly db: Database
  readonly world: World
  readonly organizationId: string
  readonly authorities: Authorities
  readonly repository: RepositoryService
  readonly targets: readonly PublicationTarget[]
  readonly log: Log
}

export interface Publisher {
  /** Puts what is new and due. @returns how many */
  runOnce(): Promise<number>
}

interface Item {
  readonly path: string
  readonly mediaType: string
  /** Another one for other octets. */
  readonly tag: string
  octets(): Promise<Uint8Array>
}

/** After a failure: 5 s, 10 s, 20 s, … */
const RETRY_FIRST_SECONDS = 5
/** A target that is away for long is asked every quarter of an hour. */
const RETRY_LAST_SECONDS = 900
/** Longer than a round of uploads takes; when it is not, two servers put the same, which does no harm. */
const LEASE_SECONDS = 60

export function publisher({ db, world, organizationId, authorities, repository, targets, log }: PublisherOptions): Publisher {
  const holder = uuidv7(world)

  async function runOnce(): Promise<number> {
    if (targets.length === 0) return 0
    const lease = await acquireLease(db, world, { name: 'publication', holder, seconds: LEASE_SECONDS })
    if (lease === undefined) return 0
    const items = await itemsOf(authorities, repository)
    let put = 0
    for (const target of targets) {
      const states = await readStates(db, organizationId, target.id)
      for (const item of items) {
        const state = states.get(item.path)
        if (state?.tag === item.tag || (state?.nextAttemptAt ?? 0) > world.clock.now()) continue
        if (await attempt(target, item, state)) put++
      }
    }
    return put
  }

  async function attempt(target: PublicationTarget, item: Item, state: State | undefined): Promise<boolean> {
    try {
      await target.put(item.path, await item.octets(), item.mediaType)
    } catch (thrown) {
      const attempts = (state?.attempts ?? 0) + 1
      const waitSeconds = Math.min(RETRY_LAST_SECONDS, RETRY_FIRST_SECONDS * 2 ** (attempts - 1))
      const error = asTrustError(thrown)
      log.warn('publication failed', { target: target.id, path: item.path, attempts, error })
      const nextAttemptAt = world.clock.now() + waitSeconds * 1000
      await keepState(target, item, {
        tag: state?.tag,
        publishedAt: state?.publishedAt,
        attempts,
        nextAttemptAt,
        error: error.message,
      })
      return false
    }
    const done = { tag: item.tag, publishedAt: world.clock.now(), attempts: 0, nextAttemptAt: undefined, error: undefined }
    await keepState(target, item, done)
    return true
  }

  async function keepState(target: PublicationTarget, { path }: Item, state: Omit<State, 'path'>): Promise<void> {
    await db.transaction((tx) =>
      tx.query(
        `INSERT INTO publication (id, organization_id, version, target, path, tag, published_at, attempts, next_attempt_at, error, created_at)
          VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?)
          ON CONFLICT (organization_id, target, path) DO UPDATE SET version = publication.version + 1, tag = excluded.tag,
            published_at = excluded.published_at, attempts = excluded.attempts, next_attempt_at = excluded.next_attempt_at,
            error = excluded.error`,
        ...[uuidv7(world), organizationId, target.id, path, state.tag ?? null, state.publishedAt ?? null, state.attempts],
        ...[state.nextAttemptAt ?? null, state.error ?? null, world.clock.now()],
      ),
    )
  }

  return { runOnce }
}

async function itemsOf(authorities: Authorities, repository: RepositoryService): Promise<readonly Item[]> {
  const items: Item[] = []
  const lists = async (path: string, address: string, which: WhichCRL): Promise<void> => {
    const crl = await repository.publishedCRL(address, which).catch((error: unknown) => {
      if (asTrustError(error).code === 'notFound') return undefined // none yet
      throw error
    })
    if (crl !== undefined) items.push({ path, mediaType: 'application/pkix-crl', tag: crl.tag, octets: () => whole(crl) })
  }
  for (const { address, crlShards, crlDeltaSeconds } of authorities.list()) {
    certificateItems(repository, address, items)
    await lists(`crl/${address}.crl`, address, { shard: undefined, isDelta: false })
    for (let shard = 0; shard < crlShards; shard++) {
      await lists(`crl/${address}/${shard}.crl`, address, { shard, isDelta: false })
      if (crlDeltaSeconds !== undefined) await lists(`crl/${address}/${shard}/delta.crl`, address, { shard, isDelta: true })
    }
  }
  for (const { address } of authorities.trusted().filter(({ kind }) => kind === 'offline')) {
    certificateItems(repository, address, items)
    await lists(`crl/${address}.crl`, address, { shard: undefined, isDelta: false })
    await lists(`crl/${address}/0.crl`, address, { shard: 0, isDelta: false })
  }
  return items
}

function certificateItems(repository: RepositoryService, address: string, items: Item[]): void {
  const certificates = repository.authorityCertificates(address)
  const [own] = certificates
  if (own === undefined) return
  const bundle = encodeCertsOnly(certificates)
  for (const [end, mediaType, octets] of [
    ['cer', 'application/pkix-cert', own],
    ['p7c', 'application/pkcs7-mime', bundle],
  ] as const)
    items.push({
      path: `ca/${address}.${end}`,
      mediaType,
      tag: fingerprint(octets).toHex(),
      octets: () => Promise.resolve(octets),
    })
}

async function whole(crl: PublishedCRL): Promise<Uint8Array> {
  const octets = new Uint8Array(crl.octets)
  let at = 0
  for await (const part of crl.read(0, crl.octets)) {
    octets.set(part, at)
    at += part.length
  }
  return octets
}

interface State {
  readonly path: string
  /** Of what is there; undefined before the first success. */
  readonly tag: string | undefined
  readonly publishedAt: number | undefined
  /** Failures since then. */
  readonly attempts: number
  readonly nextAttemptAt: number | undefined
  readonly error: string | undefined
}

async function readStates(db: Database, organizationId: string, target: string): Promise<ReadonlyMap<string, State>> {
  const rows = await db.query('SELECT * FROM publication WHERE organization_id = ? AND target = ?', organizationId, target)
  return new Map(rows.map((row) => [row['path'] as string, stateOf(row)]))
}

const stateOf = (row: Row): State => ({
  path: row['path'] as string,
  tag: (row['tag'] as string | null) ?? undefined,
  publishedAt: (row['published_at'] as number | null) ?? undefined,
  attempts: row['attempts'] as number,
  nextAttemptAt: (row['next_attempt_at'] as number | null) ?? undefined,
  error: (row['error'] as string | null) ?? undefined,
})

export interface Publication extends State {
  readonly target: string
}

/** Everything that was put somewhere, or should have been. */
export async function listPublications(db: Pick<Database, 'query'>, organizationId: string): Promise<readonly Publication[]> {
  const rows = await db.query('SELECT * FROM publication WHERE organization_id = ? ORDER BY target, path', organizationId)
  return rows.map((row) => ({ target: row['target'] as string, ...stateOf(row) }))
}
