/** What every function of this room works with: handed down once, from `server/compose.ts`. @module */
import type { Audit } from '#audit/audit.ts'
import type { World } from '#base/world.ts'
import type { Database } from '#store/database.ts'
import type { CommandedDevice } from './policy/messages.ts'

/** What is known to hold when a command is to go to a device: what the rule `command` asks for. */
export interface CommandStanding {
  readonly roleHasOperation: boolean
  /** Who ordered it signed with a key of their own. */
  readonly isSignedByOperator: boolean
  readonly isAssuranceReached: boolean
  readonly areEnoughAgreed: boolean
}

export interface CommandsContext {
  readonly db: Database
  readonly audit: Audit
  readonly world: World
  readonly organizationId: string
  /** The name under which this installation counts; with `/agreed` behind it for what others have to agree to. */
  readonly issuer: string
  /** DER: who signs policies, and the authorities of people who order and agree. */
  readonly anchors: readonly Uint8Array[]
  /** @throws TrustError `notFound`; `policyRefused` for a device that is not born, or in no area */
  device(id: string): Promise<CommandedDevice>
  /** Whether this certificate is one of the device that may be used now. @throws TrustError `unauthenticated`, `forbidden` */
  checkCertificate(deviceId: string, der: Uint8Array): Promise<void>
  /** By the rule `command`. @throws TrustError `forbidden`, once it is in the audit log */
  checkMayCommand(asked: {
    readonly actor: string
    readonly deviceId: string
    readonly command: string
    readonly standing: CommandStanding
  }): Promise<void>
  /** Whether this was not said lately: what devices repeat does not fill the log. */
  isNews(key: string): boolean
  /** @throws TrustError `notFound` for an area that is not here */
  checkArea(name: string): Promise<void>
}
