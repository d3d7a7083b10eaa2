/**
 * Where a list of revoked certificates is found, and the reasons why a certificate may be on it.
 *
 * Source: RFC 5280, 4.2.1.13.
 *
 * @module
 */
import { choice, implicit, type Infer } from '#asn1/codec.ts'
import { namedBits } from '#asn1/types.ts'
import { RelativeDistinguishedName } from '../name.ts'
import { GeneralNames } from './general-name.ts'

export const DistributionPointName = choice('DistributionPointName', {
  fullName: implicit(0, GeneralNames),
  nameRelativeToCRLIssuer: implicit(1, RelativeDistinguishedName),
})
export type DistributionPointName = Infer<typeof DistributionPointName>

/** Bits of ReasonFlags in their order; the first has no meaning. */
export const ReasonFlags = namedBits('ReasonFlags', [
  'unused',
  'keyCompromise',
  'cACompromise',
  'affiliationChanged',
  'superseded',
  'cessationOfOperation',
  'certificateHold',
  'privilegeWithdrawn',
  'aACompromise',
])
