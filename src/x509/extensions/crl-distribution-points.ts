/**
 * Where the issuer's lists of revoked certificates are found.
 *
 * Source: RFC 5280, 4.2.1.13 and 4.2.1.15 (freshestCRL).
 *
 * @module
 */
import { explicit, implicit, type Infer, optional, sequence, sequenceOf } from '#asn1/codec.ts'
import { DistributionPointName, ReasonFlags } from './distribution-point-name.ts'
import { extensionType, LIST_MAX } from './extension.ts'
import { GeneralNames } from './general-name.ts'

export const DistributionPoint = sequence('DistributionPoint', {
  distributionPoint: optional(explicit(0, DistributionPointName)),
  reasons: optional(implicit(1, ReasonFlags)),
  cRLIssuer: optional(implicit(2, GeneralNames)),
})
export type DistributionPoint = Infer<typeof DistributionPoint>

export const CRLDistributionPoints = sequenceOf('CRLDistributionPoints', DistributionPoint, { min: 1, max: LIST_MAX })
export type CRLDistributionPoints = readonly DistributionPoint[]

/** One point with one address: what the CA writes. */
export const distributionPointAt = (uri: string): DistributionPoint => ({
  distributionPoint: { type: 'fullName', value: [{ type: 'uniformResourceIdentifier', value: uri }] },
})

export const crlDistributionPoints = extensionType<CRLDistributionPoints>({
  oid: '2.5.29.31',
  id: 'cRLDistributionPoints',
  codec: CRLDistributionPoints,
  criticality: 'either', // should not be critical
  places: ['certificate'],
  source: 'RFC 5280, 4.2.1.13',
})

export const freshestCRL = extensionType<CRLDistributionPoints>({
  oid: '2.5.29.46',
  id: 'freshestCRL',
  codec: CRLDistributionPoints,
  criticality: 'non-critical',
  places: ['certificate', 'crl'],
  source: 'RFC 5280, 4.2.1.15',
})
