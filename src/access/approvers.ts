/**
 * Who may approve now, for those who count approvals: in a query, or as a statement that a batch keeps itself to.
 *
 * @module
 */
import type { Statement } from '#store/batch.ts'
import type { Queries, SqlValue } from '#store/database.ts'

/** Whoever has one of the roles, and those who are named by id. */
interface Wanted {
  readonly roles: readonly string[]
  readonly people: readonly string[]
}

export function approvers(organizationId: string) {
  /** Active people of these ids who are wanted: services do not approve. */
  const where = (
    { roles, people }: Wanted,
    ids: readonly string[],
  ): { readonly sql: string; readonly parameters: SqlValue[] } => {
    const marks = (list: readonly string[]): string => list.map(() => '?').join(', ')
    const named = people.length === 0 ? [] : [`p.id IN (${marks(people)})`]
    const held =
      roles.length === 0
        ? []
        : [`EXISTS (SELECT 1 FROM role_assignment r WHERE r.principal_id = p.id AND r.role IN (${marks(roles)}))`]
    const either = [...named, ...held]
    return {
      sql: `FROM principal p WHERE p.organization_id = ? AND p.kind = 'person' AND p.state = 'active'
        AND p.id IN (${ids.length === 0 ? 'NULL' : marks(ids)}) AND (${either.length === 0 ? '1 = 0' : either.join(' OR ')})`,
      parameters: [organizationId, ...ids, ...people, ...roles],
    }
  }
  return {
    async counting(queries: Queries, wanted: Wanted, ids: readonly string[]): Promise<readonly string[]> {
      if (ids.length === 0) return []
      const { sql, parameters } = where(wanted, ids)
      const rows = await queries.query<{ id: string }>(`SELECT p.id AS id ${sql}`, ...parameters)
      return rows.map(({ id }) => id)
    },
    stillCount(wanted: Wanted, ids: readonly string[], least: number): Statement {
      const { sql, parameters } = where(wanted, ids)
      return {
        sql: `SELECT CASE WHEN COUNT(*) >= CAST(? AS INTEGER) THEN 1 ELSE 0 END AS holds ${sql}`,
        parameters: [least, ...parameters],
        expects: { holds: 1 },
      }
    },
  }
}
