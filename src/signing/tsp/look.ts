/** How many signers state times, for `doctor`. @module */
import type { Database } from '#store/database.ts'
import { TIME_STAMP_FORMAT } from './terms.ts'

export async function countTimeStampers(db: Pick<Database, 'query'>, organizationId: string): Promise<number> {
  const rows = await db.query<{ readonly record: string }>(
    "SELECT record FROM signer WHERE organization_id = ? AND state = 'enabled'",
    organizationId,
  )
  return rows.filter(({ record }) =>
    (JSON.parse(record) as { readonly formats: readonly string[] }).formats.includes(TIME_STAMP_FORMAT),
  ).length
}
