/**
 * What nobody will ask for again: answers to requests whose window for retries is over, secrets that ended long ago.
 *
 * @module
 */
import type { CAContext } from './context.ts'
import { DEFAULT_ORGANIZATION } from './tables.ts'

/** A part of the table at a time: a million requests, looked at in one go, would hold up everybody else. */
export const SLICES = 256

/** After its end a secret says for a while why it is refused. */
const SECRET_KEPT_MILLISECONDS = 30 * 86_400_000

/**
 * Drops requests that were answered and cannot be asked again for the same answer: once in {@link SLICES} calls each.
 *
 * @param slice counts up from call to call
 * @returns how many it dropped
 */
export async function forgetAnswered({ db, world, settings }: CAContext, slice: number): Promise<number> {
  const until = world.clock.now() - settings.retryWindowSeconds * 1000
  const first = slice % SLICES
  const gone = await db.transaction((tx) =>
    tx.query(
      `DELETE FROM enrollment_request WHERE organization_id = ? AND claim >= ? AND claim < ? AND state = 'issued' AND created_at <= ?
        RETURNING id`,
      ...[DEFAULT_ORGANIZATION, Uint8Array.of(first), endOf(first), until],
    ),
  )
  return gone.length
}

/** A digest has 32 octets: what is longer and full of ones comes after all of them. */
const endOf = (first: number): Uint8Array => (first === SLICES - 1 ? new Uint8Array(33).fill(0xff) : Uint8Array.of(first + 1))

/** @returns how many it dropped */
export async function forgetSecrets({ db, world }: Pick<CAContext, 'db' | 'world'>): Promise<number> {
  const gone = await db.transaction((tx) =>
    tx.query('DELETE FROM enrollment_secret WHERE expires_at <= ? RETURNING id', world.clock.now() - SECRET_KEPT_MILLISECONDS),
  )
  return gone.length
}
