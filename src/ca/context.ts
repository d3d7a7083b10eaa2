/** What every function of this room works with: handed down once, from `server/compose.ts`. @module */
import type { AlgorithmPolicy } from '#algorithms/policy.ts'
import type { World } from '#base/world.ts'
import type { Audit } from '#audit/audit.ts'
import type { KeyStore } from '#keys/key-store.ts'
import type { Database } from '#store/database.ts'

export interface CASettings {
  /** Where relying parties reach the public listener, without a slash at the end; undefined until it is set. */
  readonly publicUrl: string | undefined
  /** How far notBefore lies in the past, to allow for slow clocks. */
  readonly backdateSeconds: number
  /** How long the same request by the same identity gets the same certificate again. */
  readonly retryWindowSeconds: number
  /** CRLs are not made more often than this, however many revocations come. */
  readonly crlMinIntervalSeconds: number
  /** How long an OCSP answer may be believed. */
  readonly ocspValiditySeconds: number
  /** Keys that others have too, which get no certificate: see `weak-keys.ts`. */
  readonly weakKeys: ReadonlySet<string>
  /** The database was restored, and what was issued since its backup is not known: nothing is issued, see `restoration.ts`. */
  readonly issuanceClosed?: boolean
  /** Of this program: it stands in ceremony records. */
  readonly programVersion: string
}

export interface CAContext {
  readonly db: Database
  readonly keys: KeyStore
  readonly audit: Audit
  readonly world: World
  readonly settings: CASettings
  /** Which algorithms are made and taken; `keys` signs under it already. */
  readonly policy: AlgorithmPolicy
}
