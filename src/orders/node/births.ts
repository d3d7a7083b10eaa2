/**
 * What a node asks of whoever knows certificates: profile, rules and lint are those of the maker's authority.
 *
 * `server/node.ts` fills it with the same code that issues everywhere else.
 *
 * @module
 */
import type { Signer } from '#keys/key-store.ts'
import type { CertificationRequest } from '#x509/certification-request.ts'
import type { JobTicket } from '../messages.ts'

/** A birth that was held to the rules and waits for its position. */
export interface PlannedBirth {
  readonly productSerial: string
  /** SHA-256 of the SubjectPublicKeyInfo. */
  readonly keyHash: Uint8Array
  /** @returns DER */
  issue(serialNumber: Uint8Array): Promise<Uint8Array>
}

export interface BirthIssuer {
  /** @throws TrustError of any refusal: the proof of possession, the profile, the names, the lint */
  plan(request: CertificationRequest): Promise<PlannedBirth>
}

/** @throws TrustError when ticket and key do not make an authority */
export type OpenBirthIssuer = (ticket: JobTicket, signer: Signer) => BirthIssuer
