/** The chain of a device's owners as it is recorded here. @module */
import { TrustError } from '#base/errors.ts'
import { uuidv7 } from '#base/world.ts'
import { toBase64url } from '#jose/base64url.ts'
import type { Step } from '#store/batch.ts'
import type { Device } from '../device.ts'
import { openOrganization } from '../organizations.ts'
import type { OwnershipContext } from './context.ts'
import { type Standing, verifyChain } from './messages.ts'
import { partyKeys } from './parties.ts'
import { type Read, readStatement } from './statement.ts'

export interface ChainRecord {
  /** Hash of the birth key, as statements name the device. */
  readonly name: string
  readonly entries: readonly string[]
  /** Undefined while the device is its maker's. */
  readonly standing: Standing | undefined
}

/** Checked each time that it is read: the database is no place of trust. @throws TrustError `notFound`, `conflict` */
export async function openChain(context: OwnershipContext, device: Device): Promise<ChainRecord> {
  const { db } = context
  const [birth] = await db.query<{ key_hash: Uint8Array }>('SELECT key_hash FROM birth_record WHERE device_id = ?', device.id)
  if (birth === undefined) throw new TrustError('conflict', 'deviceState', { facts: { state: device.state, act: 'offer' } })
  const name = toBase64url(birth.key_hash)
  const entries = await entriesOf(context, device.id)
  const makers = (await partyKeys(context, await openOrganization(db, device.manufacturerId))).map(({ key }) => key)
  const standing = entries.length === 0 ? undefined : await verifyChain(entries, { makers, device: name })
  return { name, entries, standing }
}

export const entriesOf = async ({ db }: Pick<OwnershipContext, 'db'>, deviceId: string): Promise<readonly string[]> =>
  (
    await db.query<{ statement: string }>('SELECT statement FROM ownership_entry WHERE device_id = ? ORDER BY epoch', deviceId)
  ).map(({ statement }) => statement)

/** All that were signed or handed in here, against recoveries here and elsewhere. @param device as statements name it */
export async function objectionsTo(
  { db, organizationId }: Pick<OwnershipContext, 'db' | 'organizationId'>,
  device: string,
): Promise<readonly string[]> {
  const rows = await db.query<{ statement: string }>(
    `SELECT statement FROM ownership_objection WHERE device = ? AND organization_id = ?
      UNION SELECT r.objection FROM ownership_recovery r JOIN birth_record b ON b.device_id = r.device_id
      WHERE b.key_hash = ? AND r.organization_id = ? AND r.objection IS NOT NULL`,
    ...[device, organizationId, Uint8Array.fromBase64(device, { alphabet: 'base64url' }), organizationId],
  )
  return rows.map(({ statement }) => statement)
}

/** Ends with TrustError `conflict` when the epoch has an entry. */
export const entryStep = (
  { world, organizationId }: Pick<OwnershipContext, 'world' | 'organizationId'>,
  deviceId: string,
  { kind, payload, statement, hash }: Read<'release' | 'recovery'>,
): Step => ({
  sql: `INSERT INTO ownership_entry (id, organization_id, version, device_id, epoch, kind, statement, hash, created_at)
      VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?)`,
  parameters: [uuidv7(world), organizationId, deviceId, payload.epoch, kind, statement, hash, world.clock.now()],
  refusal: () => new TrustError('conflict', 'ownershipForked', { facts: { epoch: payload.epoch } }),
})

/** By what the entry says it is. @throws TrustError `malformed` */
export function readEntry(statement: string): Read<'release' | 'recovery'> {
  try {
    return readStatement('recovery', statement)
  } catch {
    return readStatement('release', statement)
  }
}

/**
 * Steps that bring what is recorded up to a chain from elsewhere.
 *
 * @throws TrustError `conflict` when the two part: somebody sold the device twice
 */
export function stepsToTakeOver(
  context: OwnershipContext,
  deviceId: string,
  recorded: readonly string[],
  entries: readonly string[],
): readonly Step[] {
  const parting = recorded.findIndex((entry, at) => entries[at] !== entry)
  if (parting >= 0 && parting < entries.length)
    throw new TrustError('conflict', 'ownershipForked', { facts: { epoch: parting + 1 } })
  return entries.slice(recorded.length).map((entry) => entryStep(context, deviceId, readEntry(entry)))
}
