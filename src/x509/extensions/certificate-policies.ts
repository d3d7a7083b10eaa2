/**
 * Under which rules a certificate was issued, and how those rules meet others' and are narrowed.
 *
 * Source: RFC 5280, 4.2.1.4 (certificatePolicies), 4.2.1.5 (policyMappings), 4.2.1.11 (policyConstraints),
 * 4.2.1.14 (inhibitAnyPolicy).
 *
 * @module
 */
import { ANY } from '#asn1/any.ts'
import { choice, type Codec, implicit, type Infer, optional, sequence, sequenceOf } from '#asn1/codec.ts'
import { BMPString, IA5String, INTEGER, OBJECT_IDENTIFIER, SMALL_INTEGER, UTF8String, VisibleString } from '#asn1/types.ts'
import { extensionType, LIST_MAX } from './extension.ts'

/** RFC 5280 says at most 200 characters; longer ones exist, so the linter looks at that. */
export const DisplayText = choice('DisplayText', {
  ia5String: IA5String,
  visibleString: VisibleString,
  bmpString: BMPString,
  utf8String: UTF8String,
})
export type DisplayText = Infer<typeof DisplayText>

export const UserNotice = sequence('UserNotice', {
  noticeRef: optional(
    sequence('NoticeReference', {
      organization: DisplayText,
      noticeNumbers: sequenceOf('noticeNumbers', INTEGER, { max: LIST_MAX }),
    }),
  ),
  explicitText: optional(DisplayText),
})
export type UserNotice = Infer<typeof UserNotice>

/** The qualifier's type hangs on its identifier; {@link policyQualifiers} has the two that RFC 5280 defines. */
export const PolicyQualifierInfo = sequence('PolicyQualifierInfo', {
  policyQualifierId: OBJECT_IDENTIFIER,
  qualifier: ANY,
})
export type PolicyQualifierInfo = Infer<typeof PolicyQualifierInfo>

export const policyQualifiers: Readonly<Record<'cps' | 'unotice', { readonly oid: string; readonly codec: Codec<unknown> }>> = {
  cps: { oid: '1.3.6.1.5.5.7.2.1', codec: IA5String },
  unotice: { oid: '1.3.6.1.5.5.7.2.2', codec: UserNotice },
}

export const PolicyInformation = sequence('PolicyInformation', {
  policyIdentifier: OBJECT_IDENTIFIER,
  policyQualifiers: optional(sequenceOf('policyQualifiers', PolicyQualifierInfo, { min: 1, max: LIST_MAX })),
})
export type PolicyInformation = Infer<typeof PolicyInformation>

export const CertificatePolicies = sequenceOf('CertificatePolicies', PolicyInformation, { min: 1, max: LIST_MAX })
export type CertificatePolicies = readonly PolicyInformation[]

export const certificatePolicies = extensionType<CertificatePolicies>({
  oid: '2.5.29.32',
  id: 'certificatePolicies',
  codec: CertificatePolicies,
  criticality: 'either',
  places: ['certificate'],
  source: 'RFC 5280, 4.2.1.4',
})

export const PolicyMappings = sequenceOf(
  'PolicyMappings',
  sequence('PolicyMapping', { issuerDomainPolicy: OBJECT_IDENTIFIER, subjectDomainPolicy: OBJECT_IDENTIFIER }),
  { min: 1, max: LIST_MAX },
)
export type PolicyMappings = Infer<typeof PolicyMappings>

export const policyMappings = extensionType<PolicyMappings>({
  oid: '2.5.29.33',
  id: 'policyMappings',
  codec: PolicyMappings,
  criticality: 'either', // should be critical
  places: ['certificate'],
  source: 'RFC 5280, 4.2.1.5',
})

export const PolicyConstraints = sequence('PolicyConstraints', {
  requireExplicitPolicy: optional(implicit(0, SMALL_INTEGER)),
  inhibitPolicyMapping: optional(implicit(1, SMALL_INTEGER)),
})
export type PolicyConstraints = Infer<typeof PolicyConstraints>

export const policyConstraints = extensionType<PolicyConstraints>({
  oid: '2.5.29.36',
  id: 'policyConstraints',
  codec: PolicyConstraints,
  criticality: 'critical',
  places: ['certificate'],
  source: 'RFC 5280, 4.2.1.11',
})

export const inhibitAnyPolicy = extensionType<number>({
  oid: '2.5.29.54',
  id: 'inhibitAnyPolicy',
  codec: SMALL_INTEGER,
  criticality: 'critical',
  places: ['certificate'],
  source: 'RFC 5280, 4.2.1.14',
})
