/**
 * What a revocation list says of itself and of each entry.
 *
 * Source: RFC 5280, 5.2.3 to 5.2.5 and 5.3.
 *
 * @module
 */
import { type Codec, explicit, implicit, type Infer, optional, sequence, withDefault } from '#asn1/codec.ts'
import { malformed } from '#asn1/reader.ts'
import { BOOLEAN, ENUMERATED, GeneralizedTime, UNSIGNED_INTEGER } from '#asn1/types.ts'
import { DistributionPointName, ReasonFlags } from './distribution-point-name.ts'
import { extensionType } from './extension.ts'
import { GeneralNames } from './general-name.ts'

/** CRLReason by number; 7 is not used. */
export const crlReasons = {
  unspecified: 0,
  keyCompromise: 1,
  cACompromise: 2,
  affiliationChanged: 3,
  superseded: 4,
  cessationOfOperation: 5,
  certificateHold: 6,
  removeFromCRL: 8,
  privilegeWithdrawn: 9,
  aACompromise: 10,
} as const
export type CRLReason = keyof typeof crlReasons

const reasonsByNumber = new Map<number, CRLReason>(
  (Object.entries(crlReasons) as [CRLReason, number][]).map(([name, number]) => [number, name]),
)

export const CRLReason: Codec<CRLReason> = {
  name: 'CRLReason',
  accepts: ENUMERATED.accepts,
  read(from) {
    const number = ENUMERATED.read(from)
    const reason = reasonsByNumber.get(number)
    if (reason === undefined) throw malformed(`CRLReason ${number} is not defined`)
    return reason
  },
  write: (to, reason) => ENUMERATED.write(to, crlReasons[reason]),
}

export const crlNumber = extensionType<bigint>({
  oid: '2.5.29.20',
  id: 'cRLNumber',
  codec: UNSIGNED_INTEGER,
  criticality: 'non-critical',
  places: ['crl'],
  source: 'RFC 5280, 5.2.3',
})

export const deltaCRLIndicator = extensionType<bigint>({
  oid: '2.5.29.27',
  id: 'deltaCRLIndicator',
  codec: UNSIGNED_INTEGER,
  criticality: 'critical',
  places: ['crl'],
  source: 'RFC 5280, 5.2.4',
})

export const IssuingDistributionPoint = sequence('IssuingDistributionPoint', {
  distributionPoint: optional(explicit(0, DistributionPointName)),
  onlyContainsUserCerts: withDefault(implicit(1, BOOLEAN), false),
  onlyContainsCACerts: withDefault(implicit(2, BOOLEAN), false),
  onlySomeReasons: optional(implicit(3, ReasonFlags)),
  indirectCRL: withDefault(implicit(4, BOOLEAN), false),
  onlyContainsAttributeCerts: withDefault(implicit(5, BOOLEAN), false),
})
export type IssuingDistributionPoint = Infer<typeof IssuingDistributionPoint>

/** The scope of a shard of user certificates at one address: what the CA writes. */
export const issuingDistributionPointAt = (uri: string): IssuingDistributionPoint => ({
  distributionPoint: { type: 'fullName', value: [{ type: 'uniformResourceIdentifier', value: uri }] },
  onlyContainsUserCerts: false,
  onlyContainsCACerts: false,
  indirectCRL: false,
  onlyContainsAttributeCerts: false,
})

export const issuingDistributionPoint = extensionType<IssuingDistributionPoint>({
  oid: '2.5.29.28',
  id: 'issuingDistributionPoint',
  codec: IssuingDistributionPoint,
  criticality: 'critical',
  places: ['crl'],
  source: 'RFC 5280, 5.2.5',
})

export const reasonCode = extensionType<CRLReason>({
  oid: '2.5.29.21',
  id: 'cRLReasons',
  codec: CRLReason,
  criticality: 'non-critical',
  places: ['crlEntry'],
  source: 'RFC 5280, 5.3.1',
})

export const invalidityDate = extensionType<Date>({
  oid: '2.5.29.24',
  id: 'invalidityDate',
  codec: GeneralizedTime,
  criticality: 'non-critical',
  places: ['crlEntry'],
  source: 'RFC 5280, 5.3.2',
})

export const certificateIssuer = extensionType<GeneralNames>({
  oid: '2.5.29.29',
  id: 'certificateIssuer',
  codec: GeneralNames,
  criticality: 'critical',
  places: ['crlEntry'],
  source: 'RFC 5280, 5.3.3',
})
