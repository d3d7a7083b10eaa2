/** What every function of this room works with: handed down once, from `server/compose.ts`. @module */
import type { Audit } from '#audit/audit.ts'
import type { World } from '#base/world.ts'
import type { KeyStore } from '#keys/key-store.ts'
import type { Database } from '#store/database.ts'

export interface SigningContext {
  readonly db: Database
  /** Under the algorithm policy. */
  readonly keys: KeyStore
  readonly audit: Audit
  readonly world: World
  readonly organizationId: string
}

/** Who asks. */
export interface Requester {
  /** As the audit log names them. */
  readonly actor: string
  readonly id: string
  readonly kind: 'person' | 'service'
  readonly roles: readonly string[]
}
