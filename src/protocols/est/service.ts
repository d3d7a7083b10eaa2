/**
 * What EST needs from the one who issues; `server/compose.ts` hands it in.
 *
 * @module
 */
import type { CertificationRequest } from '#x509/certification-request.ts'
import type { KeyUsageBit } from '#x509/extensions/key-usage.ts'
import type { Basic } from './messages.ts'

/**
 * What the service knows an endpoint by. EST hands it back as it came, so the service may take its own narrower type:
 * methods are compared in both directions.
 */
export type Endpoint = object

/** Who asks, in the service's own words. */
export type Identity = object

export type EnrollmentAnswer =
  | { readonly state: 'issued'; /** DER */ readonly certificate: Uint8Array }
  | { readonly state: 'pending'; readonly retryAfterSeconds: number }

/** The part of a certificate profile that a client can be told of. */
export interface RequestableProfile {
  readonly keyAlgorithms: readonly string[]
  readonly keyUsage: readonly KeyUsageBit[]
  /** Object identifiers. */
  readonly extendedKeyUsage: readonly string[]
  /** By short name. */
  readonly subject: Readonly<Record<string, 'required' | 'optional'>>
  readonly subjectFixed?: Readonly<Record<string, string>>
  readonly subjectAltName: { readonly presence: 'required' | 'optional'; readonly hardwareModuleName?: boolean }
}

export interface EstService {
  /** @param label undefined on the unlabelled path @throws TrustError `notFound` */
  openEndpoint(protocol: 'est', label: string | undefined): Promise<Endpoint>
  /** DER */
  authorityCertificates(endpoint: Endpoint): readonly Uint8Array[]
  /** @throws TrustError `unauthenticated`, `forbidden` */
  authenticate(
    endpoint: Endpoint,
    credentials: { readonly chain: readonly Uint8Array[]; readonly basic: Basic | undefined },
  ): Promise<Identity>
  /** @throws TrustError of any refusal */
  enroll(input: {
    readonly endpoint: Endpoint
    readonly identity: Identity
    readonly operation: 'enroll' | 'reenroll'
    readonly request: CertificationRequest
    /** Throws when the request does not belong to its connection; the service keeps the refusal as it keeps its own. */
    readonly checkChannel?: () => void
  }): Promise<EnrollmentAnswer>
  profileOf(endpoint: Endpoint): Promise<RequestableProfile>
}
