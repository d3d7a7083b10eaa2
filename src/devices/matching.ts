/** Devices by what they have in common, a page after the other in the order of their ids: for what is done to many. @module */
import type { Queries, Row, SqlValue } from '#store/database.ts'
import { findArea } from './areas.ts'
import type { DevicesContext } from './context.ts'
import { findModel } from './models.ts'
import { findOrganization } from './organizations.ts'
import { terminalStates } from './states.ts'

/** Names as records have them: `MAKER/MODEL`, `OWNER/AREA`. Whatever is named has to hold. */
export interface Common {
  readonly model?: string
  readonly revision?: string
  readonly owner?: string
  readonly area?: string
  /** Ids. */
  readonly devices?: readonly string[]
}

/** No machine stands anywhere yet, or any more. */
const NOWHERE = ['planned', 'keyed', ...terminalStates].map((state) => `'${state}'`).join(', ')

/** @returns ids @throws TrustError `notFound` for a name that nothing has */
export async function matchingDevices(
  context: DevicesContext,
  common: Common,
  { after, limit }: { readonly after: string; readonly limit: number },
): Promise<readonly string[]> {
  const { db, organizationId } = context
  const { devices } = common
  const wanted: readonly (readonly [clause: string, values: readonly SqlValue[]])[] = [
    ...(await recordsOf(context, common)),
    ...(devices === undefined ? [] : [[`id IN (${devices.map(() => '?').join(', ')})`, devices] as const]),
  ]
  const where = ['organization_id = ?', 'id > ?', `state NOT IN (${NOWHERE})`, ...wanted.map(([clause]) => clause)].join(' AND ')
  const rows = await db.query<Row & { readonly id: string }>(
    `SELECT id FROM device WHERE ${where} ORDER BY id LIMIT ?`,
    ...[organizationId, after, ...wanted.flatMap(([, values]) => values), limit],
  )
  return rows.map(({ id }) => id)
}

async function recordsOf(
  context: DevicesContext,
  { model, revision, owner, area }: Common,
): Promise<readonly (readonly [clause: string, values: readonly SqlValue[]])[]> {
  const { db } = context
  const within = async (name: string, find: (db: Queries, organizationId: string, name: string) => Promise<{ id: string }>) => {
    const [holder = '', rest = ''] = name.split(/\/(.*)/s)
    return (await find(db, (await findOrganization(context, db, holder)).id, rest)).id
  }
  return [
    ...(model === undefined ? [] : [['model_id = ?', [await within(model, findModel)]] as const]),
    ...(revision === undefined
      ? []
      : [
          [
            'revision_id IN (SELECT hardware_revision.id FROM hardware_revision WHERE hardware_revision.name = ?)',
            [revision],
          ] as const,
        ]),
    ...(owner === undefined ? [] : [['owner_id = ?', [(await findOrganization(context, db, owner)).id]] as const]),
    ...(area === undefined ? [] : [['area_id = ?', [await within(area, findArea)]] as const]),
  ]
}

/** Serials by id, of those that are recorded. */
export async function serialsOf(
  { db, organizationId }: Pick<DevicesContext, 'db' | 'organizationId'>,
  ids: readonly string[],
): Promise<ReadonlyMap<string, string>> {
  if (ids.length === 0) return new Map()
  const rows = await db.query<Row & { readonly id: string; readonly product_serial: string }>(
    `SELECT id, product_serial FROM device WHERE organization_id = ? AND id IN (${ids.map(() => '?').join(', ')})`,
    ...[organizationId, ...ids],
  )
  return new Map(rows.map(({ id, product_serial: serial }) => [id, serial]))
}
