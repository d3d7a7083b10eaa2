/** Organizations: who makes, owns or services devices. @module */
import { TrustError } from '#base/errors.ts'
import { uuidv7 } from '#base/world.ts'
import type { Queries, Row } from '#store/database.ts'
import { isDuplicate } from '#store/duplicate.ts'
import type { DevicesContext } from './context.ts'

export const organizationKinds = ['manufacturer', 'contract-manufacturer', 'owner', 'integrator', 'service'] as const
export type OrganizationKind = (typeof organizationKinds)[number]

export interface Organization {
  readonly id: string
  /** As commands and addresses write it; for good. */
  readonly name: string
  readonly title: string
  readonly kind: OrganizationKind
  readonly createdAt: number
}

/** @throws TrustError `conflict` when the name is taken */
export async function createOrganization(
  { db, world, audit, organizationId }: DevicesContext,
  { name, title, kind }: Pick<Organization, 'name' | 'title' | 'kind'>,
  actor: string,
): Promise<Organization> {
  const organization: Organization = { id: uuidv7(world), name, title, kind, createdAt: world.clock.now() }
  try {
    await db.transaction(async (tx) => {
      await tx.query(
        `INSERT INTO organization (id, organization_id, version, name, title, kind, speakers, created_at)
          VALUES (?, ?, 1, ?, ?, ?, 'bound', ?)`,
        ...[organization.id, organizationId, name, title, kind, organization.createdAt],
      )
      // whoever records it speaks for it: speakers.ts
      await tx.query(
        'INSERT INTO organization_speaker (party_id, actor, organization_id, created_at) VALUES (?, ?, ?, ?)',
        ...[organization.id, actor, organizationId, organization.createdAt],
      )
      const object = `organization:${organization.id}`
      await audit.record(tx, { actor, act: 'organization.create', object, outcome: 'done', facts: { kind } })
    })
  } catch (error) {
    throw isDuplicate(error, 'organization') ? new TrustError('conflict', 'nameTaken', { facts: { name }, cause: error }) : error
  }
  return organization
}

/** By name. */
export async function listOrganizations({ db, organizationId }: DevicesContext): Promise<readonly Organization[]> {
  const rows = await db.query(`SELECT ${COLUMNS} FROM organization WHERE organization_id = ? ORDER BY name`, organizationId)
  return rows.map(organizationOf)
}

/** @throws TrustError `notFound` */
export async function findOrganization(
  { organizationId }: Pick<DevicesContext, 'organizationId'>,
  db: Queries,
  name: string,
): Promise<Organization> {
  const [row] = await db.query(
    `SELECT ${COLUMNS} FROM organization WHERE organization_id = ? AND name = ?`,
    ...[organizationId, name],
  )
  if (row === undefined) throw new TrustError('notFound', 'organizationUnknown', { facts: { name } })
  return organizationOf(row)
}

/** @throws TrustError `notFound` */
export async function openOrganization(db: Queries, id: string): Promise<Organization> {
  const [row] = await db.query(`SELECT ${COLUMNS} FROM organization WHERE id = ?`, id)
  if (row === undefined) throw new TrustError('notFound', 'organizationUnknown', { facts: { name: id } })
  return organizationOf(row)
}

const COLUMNS = 'id, name, title, kind, created_at'

const organizationOf = (row: Row): Organization => ({
  id: row['id'] as string,
  name: row['name'] as string,
  title: row['title'] as string,
  kind: row['kind'] as OrganizationKind,
  createdAt: row['created_at'] as number,
})
