/** What births work with, and what they ask of others: ports that `server/compose.ts` fills. @module */
import type { Step } from '#store/batch.ts'
import type { EndorsementTrust } from '#tpm2/endorsement.ts'
import type { DevicesContext } from '../context.ts'
import type { AssuranceLevel } from '../device.ts'

export interface BirthsContext extends DevicesContext {
  readonly issuer: BirthIssuer
  readonly settings: BirthSettings
  readonly counting: BirthCounting
}

/** Who counts births against production orders, for lines that bear only what is ordered. */
export type BirthCounting = (toBe: {
  readonly lineId: string
  readonly line: string
  readonly productSerial: string
  readonly station: string
}) => Promise<CountedBirth>

interface CountedBirth {
  /** What it counts for. */
  readonly job: string
  readonly order: string
  /** Count it, in the batch that keeps it; they end where nothing is left. */
  stepsFor(signed: SignedBirthCertificate): readonly Step[]
}

export interface BirthSettings {
  /** The level's number is added to it, as the last arc; undefined leaves the level out of certificates. */
  readonly assurancePolicyArc: string | undefined
  /** How long a device may take to answer. */
  readonly challengeSeconds: number
  /** How long the same request of the same station gets the same certificate again. */
  readonly retryWindowSeconds: number
}

/** What issues birth certificates. */
export interface BirthIssuer {
  /** Signs and keeps nothing: the steps do. @throws TrustError of any refusal */
  sign(wanted: BirthCertificateWanted, actor: string): Promise<SignedBirthCertificate>
  /** One that was issued before. @throws TrustError `forbidden` when it was revoked since */
  again(certificateId: string): Promise<BirthCertificate>
  /** @throws TrustError `notFound`, `policyRefused` when births cannot be issued so */
  check(where: { readonly authority: string; readonly profile: string }): Promise<void>
  /** By the addresses of authorities that are trusted for the TPMs of a line. @throws TrustError `notFound`, `policyRefused` */
  endorsementTrust(addresses: readonly string[]): EndorsementTrust
}

export interface BirthCertificateWanted {
  readonly authority: string
  readonly profile: string
  readonly hardwareType: string | undefined
  /** Object identifiers. */
  readonly policies: readonly string[]
  /** Patterns of what the line may ask for. */
  readonly productSerials: readonly string[]
  readonly productSerial: string
  readonly proof: { readonly type: 'request'; readonly der: Uint8Array } | { readonly type: 'key'; readonly spki: Uint8Array }
}

export interface BirthCertificate {
  readonly certificateId: string
  /** DER */
  readonly certificate: Uint8Array
  /** The authorities above it, nearest first. DER */
  readonly chain: readonly Uint8Array[]
}

export interface SignedBirthCertificate extends BirthCertificate {
  /** SHA-256 of the SubjectPublicKeyInfo. */
  readonly keyHash: Uint8Array
  readonly steps: readonly Step[]
}

export const policiesFor = ({ assurancePolicyArc }: BirthSettings, level: AssuranceLevel): readonly string[] =>
  assurancePolicyArc === undefined ? [] : [`${assurancePolicyArc}.${level}`]
