/** What was said to which device, as it was signed. @module */
import type { Row } from '#store/database.ts'
import type { UpdatesContext } from './context.ts'
import type { DirectorStatement } from './messages.ts'

export interface KeptStatement {
  readonly id: string
  readonly sequence: number
  readonly releaseId: string
  readonly component: string
  readonly kind: DirectorStatement['kind']
  readonly action: string
  /** SHA-256 of the octets, hexadecimal. */
  readonly digest: string
  /** The audit entry of its signature. */
  readonly entry: string
  readonly issuedAt: number
  readonly expiresAt: number
  readonly octets: Uint8Array
}

interface StatementRow extends Row {
  readonly id: string
  readonly sequence: number
  readonly release_id: string
  readonly component: string
  readonly kind: DirectorStatement['kind']
  readonly action: string
  readonly digest: string
  readonly entry: string
  readonly issued_at: number
  readonly expires_at: number
  readonly octets: Uint8Array
}

export interface StatementPage {
  readonly limit: number
  /** Sequence of the last of the page before. */
  readonly before: number | undefined
}

/** Newest first. */
export async function listStatements(
  { db, organizationId }: Pick<UpdatesContext, 'db' | 'organizationId'>,
  deviceId: string,
  { limit, before }: StatementPage,
): Promise<readonly KeptStatement[]> {
  const rows = await db.query<StatementRow>(
    `SELECT id, sequence, release_id, component, kind, action, digest, entry, issued_at, expires_at, octets FROM director_statement
      WHERE device_id = ? AND organization_id = ? AND sequence < ? ORDER BY sequence DESC LIMIT ?`,
    ...[deviceId, organizationId, before ?? Number.MAX_SAFE_INTEGER, limit],
  )
  return rows.map(({ release_id: releaseId, issued_at: issuedAt, expires_at: expiresAt, ...row }) => ({
    ...{ id: row.id, sequence: row.sequence, component: row.component, kind: row.kind, action: row.action },
    ...{ digest: row.digest, entry: row.entry, octets: row.octets, releaseId, issuedAt, expiresAt },
  }))
}
