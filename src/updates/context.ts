/** What every function of this room works with, and what it must know of others: handed down from `server/updates.ts`. @module */
import type { Approvals } from '#approvals/approvals.ts'
import type { Audit } from '#audit/audit.ts'
import type { World } from '#base/world.ts'
import type { Signing } from '#signing/service.ts'
import type { Database } from '#store/database.ts'
import type { ReleaseFiles } from './files.ts'

export interface UpdatesContext {
  readonly db: Database
  readonly audit: Audit
  readonly world: World
  readonly organizationId: string
  readonly approvals: Approvals
  readonly signing: Signing
  readonly files: ReleaseFiles
  readonly devices: UpdateDevices
  readonly licenses: UpdateLicenses
  readonly settings: UpdateSettings
}

export interface UpdateSettings {
  /** Name of the signer that signs what the director says; undefined where nothing is directed. */
  readonly directorSigner: string | undefined
  /** How long a device may take to begin with what it was told. */
  readonly statementHours: number
}

/** A product model as its maker and the records call it. */
export interface KnownModel {
  readonly id: string
  readonly manufacturer: string
  readonly model: string
  /** Of its hardware. */
  readonly revisions: readonly string[]
}

/** A device as the records have it. */
export interface DirectedDevice {
  readonly id: string
  readonly manufacturer: string
  readonly productSerial: string
  /** SHA-256 of the SubjectPublicKeyInfo that it was born with; undefined for one that was not born. */
  readonly birthKey: Uint8Array | undefined
  readonly modelId: string
  readonly model: string
  readonly revision: string | undefined
  readonly owner: string | undefined
  readonly epoch: number
  readonly area: string | undefined
  /** Its state, and nobody says that it was lost, stolen or copied. */
  readonly isInUse: boolean
}

export interface UpdateDevices {
  /** @throws TrustError `notFound` */
  modelNamed(manufacturer: string, model: string): Promise<KnownModel>
  /** @throws TrustError `notFound` */
  open(deviceId: string): Promise<DirectedDevice>
  /** What the rule for the act `update` says. */
  mayUpdate(holding: { readonly isApproved: boolean; readonly isAgreed: boolean }): boolean
}

export interface UpdateLicenses {
  /** Whether the device is licensed for it now. */
  isLicensed(deviceId: string, feature: string): Promise<boolean>
}
