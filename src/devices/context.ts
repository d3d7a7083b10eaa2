/** What every function of this room works with: handed down once, from `server/compose.ts`. @module */
import type { Audit } from '#audit/audit.ts'
import type { World } from '#base/world.ts'
import type { Database } from '#store/database.ts'

export interface DevicesContext {
  readonly db: Database
  readonly audit: Audit
  readonly world: World
  readonly organizationId: string
}
