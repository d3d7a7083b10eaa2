/** What every function of this room works with: handed down once, from `server/compose.ts`. @module */
import type { PublicKey } from '#algorithms/public-key.ts'
import type { Audit } from '#audit/audit.ts'
import type { World } from '#base/world.ts'
import type { Requester } from '#signing/context.ts'
import type { Signing } from '#signing/service.ts'
import type { Database } from '#store/database.ts'

/** A device, as far as licenses go. */
export interface LicensedDevice {
  readonly id: string
  readonly productSerial: string
  /** Name of the organization that made it. */
  readonly manufacturer: string
  /** `MANUFACTURER/MODEL` */
  readonly model: string
  /** Undefined before it is born, or where its birth certificate is not known here. */
  readonly birthKey: PublicKey | undefined
  /** It has ended, or was cut off: nothing is licensed to it. */
  readonly isCutOff: boolean
  readonly owner: string | undefined
  readonly epoch: number
}

export interface LicensesContext {
  readonly db: Database
  readonly audit: Audit
  readonly world: World
  readonly organizationId: string
  readonly signing: Signing
  /** @throws TrustError `notFound` */
  device(id: string): Promise<LicensedDevice>
  /** @returns the epoch of each that is known */
  epochsOf(deviceIds: readonly string[]): Promise<ReadonlyMap<string, number>>
  /** Whether they speak for the maker. @throws TrustError `forbidden`; `notFound` */
  checkSpeaks(maker: string, actor: string): Promise<void>
  /** By the rule `license.issue`: whoever made the device, and those who speak for it. @throws TrustError `forbidden`, once it is in the audit log */
  checkMayIssue(asked: { readonly by: Requester; readonly deviceId: string; readonly maker: string }): Promise<void>
}
