/** What campaigns work with, and what they must know of devices and releases: handed in from `server/campaigns.ts`. @module */
import type { Audit } from '#audit/audit.ts'
import type { World } from '#base/world.ts'
import type { Database } from '#store/database.ts'
import type { Who } from './terms.ts'

export interface CampaignsContext {
  readonly db: Database
  readonly audit: Audit
  readonly world: World
  readonly organizationId: string
  readonly devices: CampaignDevices
  readonly releases: CampaignReleases
}

/** A device that shows who it is, or that a token names. */
export interface KnownDevice {
  readonly deviceId: string
  /** Its serial. */
  readonly name: string
  readonly ownerId: string | undefined
  /** Of its ownership: what was given or agreed to in another one holds no more. */
  readonly epoch: number
}

export interface CampaignDevices {
  /**
   * Ids in their order, a page of them, after one.
   *
   * @param who names are those of the records; `installed` is not asked here
   * @throws TrustError `notFound` for a name that nothing has
   */
  matching(who: Who, page: { readonly after: string; readonly limit: number }): Promise<readonly string[]>
  /** Who comes with this certificate and calls itself so: rule `connect`. @throws TrustError `unauthenticated`, `forbidden` */
  admit(chain: readonly Uint8Array[], name: string): Promise<KnownDevice>
  /** Those that are in use and have this serial, for who comes without a certificate. */
  named(name: string): Promise<readonly KnownDevice[]>
  /** @returns the serials of these devices, where they are recorded */
  serials(deviceIds: readonly string[]): Promise<ReadonlyMap<string, string>>
  /** Of its ownership. @throws TrustError `notFound` */
  epochOf(deviceId: string): Promise<number>
  /** An organization, for who speaks for it. @throws TrustError `notFound`, `forbidden` */
  ownerFor(name: string, actor: string): Promise<{ readonly id: string }>
}

export interface CampaignRelease {
  readonly id: string
  readonly component: string
  readonly version: string
  readonly counter: number
  readonly artifacts: readonly CampaignArtifact[]
}

export interface CampaignArtifact {
  readonly name: string
  /** Signing format. */
  readonly format: string
  readonly octets: number
  /** Hexadecimal. */
  readonly sha256: string
}

export interface DirectorOrder {
  readonly releaseId: string
  readonly deviceId: string
  readonly kind: 'install' | 'rollback'
  /** What the device's answers name. */
  readonly action: number
  /** SHA-256 of what was agreed to. */
  readonly consent: Uint8Array | undefined
}

/** What a device needs beside the artifacts: the director's statement for it, and the manifest that this rests on. */
export interface Papers {
  readonly files: readonly { readonly name: string; readonly octets: Uint8Array }[]
  /** After this, another one is made. */
  readonly expiresAt: number
}

export interface CampaignReleases {
  /** @throws TrustError `notFound`, `policyRefused` unless it may be rolled out */
  open(id: string): Promise<CampaignRelease>
  /** Whether this device may install it now, signed. @throws TrustError `policyRefused` when it may not; `unavailable` */
  direct(order: DirectorOrder): Promise<Papers>
  /** Octets of an artifact, from one to before another. */
  read(artifact: CampaignArtifact, start: number, end: number): AsyncIterable<Uint8Array>
}
