/**
 * Where the issuer's certificate and its OCSP responder are found.
 *
 * Source: RFC 5280, 4.2.2.1 and 4.2.2.2.
 *
 * @module
 */
import { type Infer, sequence, sequenceOf } from '#asn1/codec.ts'
import { OBJECT_IDENTIFIER } from '#asn1/types.ts'
import { extensionType, LIST_MAX } from './extension.ts'
import { GeneralName } from './general-name.ts'

export const AccessDescription = sequence('AccessDescription', {
  accessMethod: OBJECT_IDENTIFIER,
  accessLocation: GeneralName,
})
export type AccessDescription = Infer<typeof AccessDescription>

export const InfoAccess = sequenceOf('InfoAccessSyntax', AccessDescription, { min: 1, max: LIST_MAX })
export type InfoAccess = readonly AccessDescription[]

export const accessMethods = {
  ocsp: '1.3.6.1.5.5.7.48.1',
  caIssuers: '1.3.6.1.5.5.7.48.2',
  timeStamping: '1.3.6.1.5.5.7.48.3',
  caRepository: '1.3.6.1.5.5.7.48.5',
} as const
export type AccessMethod = keyof typeof accessMethods

const methods = new Map<string, AccessMethod>(
  (Object.entries(accessMethods) as [AccessMethod, string][]).map(([name, oid]) => [oid, name]),
)

/** Name of an access method, or its dotted form. */
export const accessMethodLabel = (oid: string): string => methods.get(oid) ?? oid

export const accessAt = (method: AccessMethod, uri: string): AccessDescription => ({
  accessMethod: accessMethods[method],
  accessLocation: { type: 'uniformResourceIdentifier', value: uri },
})

export const authorityInfoAccess = extensionType<InfoAccess>({
  oid: '1.3.6.1.5.5.7.1.1',
  id: 'authorityInfoAccess',
  codec: InfoAccess,
  criticality: 'non-critical',
  places: ['certificate', 'crl'],
  source: 'RFC 5280, 4.2.2.1',
})

export const subjectInfoAccess = extensionType<InfoAccess>({
  oid: '1.3.6.1.5.5.7.1.11',
  id: 'subjectInfoAccess',
  codec: InfoAccess,
  criticality: 'non-critical',
  places: ['certificate'],
  source: 'RFC 5280, 4.2.2.2',
})
