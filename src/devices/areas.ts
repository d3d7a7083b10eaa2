/**
 * Application areas: where an owner uses devices, each with an authority of its own, so that peers keep areas apart by
 * what they trust, without a network too.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import { uuidv7 } from '#base/world.ts'
import type { Queries, Row } from '#store/database.ts'
import { isDuplicate } from '#store/duplicate.ts'
import { publish } from '#store/outbox.ts'
import { readAreaPolicy } from './area-policy.ts'
import type { DevicesContext } from './context.ts'
import type { AssuranceLevel, Device } from './device.ts'

export interface AreaTerms {
  readonly title: string
  /** Address of the authority that issues the area's operational certificates. */
  readonly authority: string
  /** Of its operational certificates. */
  readonly profiles: readonly string[]
  /** For what connects and commands: read by those, not here. */
  readonly policy: Readonly<Record<string, unknown>>
  readonly assuranceMin: AssuranceLevel
  /** Ids of the models that may be used in it; undefined for any. */
  readonly models: readonly string[] | undefined
}

export interface ApplicationArea extends AreaTerms {
  readonly id: string
  readonly ownerId: string
  readonly name: string
  /** Into a disabled one no device comes, and from it none connects. */
  readonly state: 'enabled' | 'disabled'
  readonly createdAt: number
}

/** @throws TrustError `conflict` when the owner has an area of this name */
export async function createArea(
  { db, world, audit, organizationId }: DevicesContext,
  wanted: AreaTerms & Pick<ApplicationArea, 'ownerId' | 'name'>,
  actor: string,
): Promise<ApplicationArea> {
  readAreaPolicy(wanted.policy)
  const area: ApplicationArea = { ...wanted, id: uuidv7(world), state: 'enabled', createdAt: world.clock.now() }
  const { id, ownerId, name, title, authority, profiles, policy, assuranceMin, models } = area
  try {
    await db.transaction(async (tx) => {
      await tx.query(
        `INSERT INTO application_area (id, organization_id, version, owner_id, name, title, authority, profiles, policy, assurance_min,
          models, state, created_at) VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
        ...[id, organizationId, ownerId, name, title, authority, JSON.stringify(profiles), JSON.stringify(policy), assuranceMin],
        ...[models === undefined ? null : JSON.stringify(models), area.state, area.createdAt],
      )
      const facts = { authority, assuranceMin }
      await audit.record(tx, { actor, act: 'area.create', object: `area:${id}`, outcome: 'done', facts })
    })
  } catch (error) {
    throw isDuplicate(error, 'application_area')
      ? new TrustError('conflict', 'nameTaken', { facts: { name }, cause: error })
      : error
  }
  return area
}

/** By owner and name. */
export async function listAreas({ db, organizationId }: DevicesContext): Promise<readonly ApplicationArea[]> {
  const rows = await db.query('SELECT * FROM application_area WHERE organization_id = ? ORDER BY owner_id, name', organizationId)
  return rows.map(areaOf)
}

/** @throws TrustError `notFound` */
export async function openArea(db: Queries, id: string): Promise<ApplicationArea> {
  const [row] = await db.query('SELECT * FROM application_area WHERE id = ?', id)
  if (row === undefined) throw new TrustError('notFound', 'areaUnknown', { facts: { name: id } })
  return areaOf(row)
}

/** @throws TrustError `notFound` */
export async function findArea(db: Queries, ownerId: string, name: string): Promise<ApplicationArea> {
  const [row] = await db.query('SELECT * FROM application_area WHERE owner_id = ? AND name = ?', ownerId, name)
  if (row === undefined) throw new TrustError('notFound', 'areaUnknown', { facts: { name } })
  return areaOf(row)
}

/** Does nothing when it is so already. Devices that are in a disabled one stay, and none of them connects. @throws TrustError `notFound` */
export async function setAreaState(
  { db, audit, world, organizationId }: DevicesContext,
  id: string,
  state: ApplicationArea['state'],
  actor: string,
): Promise<ApplicationArea> {
  return db.transaction(async (tx) => {
    const area = await openArea(tx, id)
    if (area.state === state) return area
    await tx.query('UPDATE application_area SET state = ?, version = version + 1 WHERE id = ?', state, id)
    const act = state === 'enabled' ? 'area.enable' : 'area.disable'
    await audit.record(tx, { actor, act, object: `area:${id}`, outcome: 'done' })
    await publish(tx, world, { topic: act, organization: organizationId, payload: { area: id } })
    return { ...area, state }
  })
}

/** @throws TrustError `policyRefused` when the device may not come into the area */
export function checkAdmits(
  area: ApplicationArea,
  { ownerId, modelId, assurance }: Pick<Device, 'ownerId' | 'modelId' | 'assurance'>,
): void {
  const { name, assuranceMin, models } = area
  if (area.state !== 'enabled') throw new TrustError('policyRefused', 'areaDisabled', { facts: { name } })
  if (area.ownerId !== ownerId) throw new TrustError('policyRefused', 'areaOfAnother', { facts: { name } })
  if (models !== undefined && !models.includes(modelId)) throw new TrustError('policyRefused', 'areaModel', { facts: { name } })
  if (assurance < assuranceMin)
    throw new TrustError('policyRefused', 'areaAssurance', { facts: { name, least: assuranceMin, assurance } })
}

const areaOf = (row: Row): ApplicationArea => ({
  id: row['id'] as string,
  ownerId: row['owner_id'] as string,
  name: row['name'] as string,
  title: row['title'] as string,
  authority: row['authority'] as string,
  profiles: JSON.parse(row['profiles'] as string) as readonly string[],
  policy: JSON.parse(row['policy'] as string) as Readonly<Record<string, unknown>>,
  assuranceMin: row['assurance_min'] as AssuranceLevel,
  models: row['models'] === null ? undefined : (JSON.parse(row['models'] as string) as readonly string[]),
  state: row['state'] as ApplicationArea['state'],
  createdAt: row['created_at'] as number,
})
