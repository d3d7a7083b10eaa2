/** What checked evidence comes to, whatever the variant. @module */
import type { Step } from '#store/batch.ts'
import type { AssuranceLevel, BirthVariant } from '../device.ts'
import type { Birth } from '../birth-record.ts'
import type { BirthCertificateWanted, SignedBirthCertificate } from './context.ts'

export interface ProvenBirth {
  readonly assurance: AssuranceLevel
  readonly proof: BirthCertificateWanted['proof']
  /** For the birth record. */
  readonly evidence: Birth['evidence']
  /** What is used up by the birth: kept with it. */
  stepsFor(signed: SignedBirthCertificate): readonly Step[]
}

/** The level of each kind of evidence. No variant proves measured start; a model may ask for more than a variant gives. */
export const assuranceOfEvidence = {
  tpm: 4,
  'secure-element': 3,
  software: 2,
  vouched: 1,
  external: 1,
} as const satisfies Record<BirthVariant | 'vouched', AssuranceLevel>
