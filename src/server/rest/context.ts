/** What the REST router itself needs; the services of a route are handed to the file that makes it. @module */
import type { Access } from '#access/access.ts'
import type { Audit } from '#audit/audit.ts'
import type { Log } from '#base/log.ts'
import type { World } from '#base/world.ts'
import type { Database } from '#store/database.ts'

export interface RestContext {
  readonly access: Access
  readonly audit: Audit
  readonly db: Database
  readonly organizationId: string
  readonly world: World
  readonly log: Log
  /** Of this build, for the OpenAPI document. */
  readonly version: string
}
