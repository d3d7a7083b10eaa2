/**
 * Conduits: what may flow from one application area to another (IEC 62443). Without one, a device reaches its own subtree alone.
 *
 * A conduit names a filter of topics below the area: `DEVICE/down/…` is what devices of the first area may publish to devices of
 * the second, `DEVICE/evt/…` what devices of the second may hear of devices of the first. Orders are not among them: they come
 * from the server alone.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import { uuidv7 } from '#base/world.ts'
import type { Queries, Row } from '#store/database.ts'
import { isDuplicate } from '#store/duplicate.ts'
import { publish } from '#store/outbox.ts'
import { openArea } from './areas.ts'
import type { DevicesContext } from './context.ts'

export interface Conduit {
  readonly id: string
  readonly fromAreaId: string
  readonly toAreaId: string
  /** `+` or a device's name, then `down` or `evt`, then levels of which `+` is any and `#` at the end is the rest. */
  readonly topics: string
  readonly createdAt: number
}

/** Of one area, from it and to it. More than anybody reads; each subscription is held against all of its area. */
const CONDUITS_MAX = 200
const FILTER_MAX_LENGTH = 256
const FILTER = /^(?:\+|[^+#/\p{Cc}]+)\/(?:down|evt)(?:\/(?:\+|[^+#/\p{Cc}]+))*(?:\/#)?$/u

/** @throws TrustError `malformed`, `notFound`, `conflict`, `policyRefused` between areas of different owners */
export async function createConduit(
  { db, world, audit, organizationId }: DevicesContext,
  { fromAreaId, toAreaId, topics }: Pick<Conduit, 'fromAreaId' | 'toAreaId' | 'topics'>,
  actor: string,
): Promise<Conduit> {
  if (topics.length > FILTER_MAX_LENGTH || !FILTER.test(topics)) throw new TrustError('malformed', 'conduitTopics')
  const conduit: Conduit = { id: uuidv7(world), fromAreaId, toAreaId, topics, createdAt: world.clock.now() }
  try {
    await db.transaction(async (tx) => {
      const [from, to] = [await openArea(tx, fromAreaId), await openArea(tx, toAreaId)]
      if (from.ownerId !== to.ownerId) throw new TrustError('policyRefused', 'conduitOwners')
      for (const { id, name } of [from, to]) {
        const [count] = await tx.query<{ number: number }>(
          'SELECT COUNT(*) AS number FROM area_conduit WHERE from_area_id = ? OR to_area_id = ?',
          ...[id, id],
        )
        if ((count?.number ?? 0) >= CONDUITS_MAX)
          throw new TrustError('quotaExceeded', 'conduitsTooMany', { facts: { name, limit: CONDUITS_MAX } })
      }
      await tx.query(
        `INSERT INTO area_conduit (id, organization_id, version, from_area_id, to_area_id, topics, created_at)
          VALUES (?, ?, 1, ?, ?, ?, ?)`,
        ...[conduit.id, organizationId, fromAreaId, toAreaId, topics, conduit.createdAt],
      )
      const facts = { from: fromAreaId, to: toAreaId, topics }
      await audit.record(tx, { actor, act: 'conduit.create', object: `conduit:${conduit.id}`, outcome: 'done', facts })
      await publish(tx, world, { topic: 'conduit.create', organization: organizationId, payload: { conduit: conduit.id } })
    })
  } catch (error) {
    throw isDuplicate(error, 'area_conduit') ? new TrustError('conflict', 'conduitThere', { cause: error }) : error
  }
  return conduit
}

/** Sessions that used it are cut. @throws TrustError `notFound` */
export async function removeConduit(
  { db, world, audit, organizationId }: DevicesContext,
  id: string,
  actor: string,
): Promise<void> {
  await db.transaction(async (tx) => {
    const [row] = await tx.query(
      'DELETE FROM area_conduit WHERE id = ? AND organization_id = ? RETURNING topics',
      id,
      organizationId,
    )
    if (row === undefined) throw new TrustError('notFound', 'conduitUnknown')
    const facts = { topics: row['topics'] as string }
    await audit.record(tx, { actor, act: 'conduit.remove', object: `conduit:${id}`, outcome: 'done', facts })
    await publish(tx, world, { topic: 'conduit.remove', organization: organizationId, payload: { conduit: id } })
  })
}

export interface NamedConduit extends Conduit {
  readonly ownerName: string
  readonly fromName: string
  readonly toName: string
}

/** Oldest first. @param areaId from or to which; all unless told */
export async function listConduits(db: Queries, organizationId: string, areaId?: string): Promise<readonly NamedConduit[]> {
  const rows = await db.query(
    `SELECT k.*, f.name AS from_name, t.name AS to_name, o.name AS owner_name
      FROM area_conduit k JOIN application_area f ON f.id = k.from_area_id JOIN application_area t ON t.id = k.to_area_id
        JOIN organization o ON o.id = f.owner_id
      WHERE k.organization_id = ? ${areaId === undefined ? '' : 'AND (k.from_area_id = ? OR k.to_area_id = ?)'} ORDER BY k.id`,
    ...[organizationId, ...(areaId === undefined ? [] : [areaId, areaId])],
  )
  return rows.map(conduitOf)
}

const conduitOf = (row: Row): NamedConduit => ({
  id: row['id'] as string,
  fromAreaId: row['from_area_id'] as string,
  toAreaId: row['to_area_id'] as string,
  topics: row['topics'] as string,
  createdAt: row['created_at'] as number,
  ownerName: row['owner_name'] as string,
  fromName: row['from_name'] as string,
  toName: row['to_name'] as string,
})
