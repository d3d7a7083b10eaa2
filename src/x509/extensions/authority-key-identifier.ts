/**
 * Which key signed this.
 *
 * Source: RFC 5280, 4.2.1.1.
 *
 * @module
 */
import { implicit, type Infer, optional, sequence } from '#asn1/codec.ts'
import { INTEGER_OCTETS, OCTET_STRING } from '#asn1/types.ts'
import { extensionType } from './extension.ts'
import { GeneralNames } from './general-name.ts'

export const AuthorityKeyIdentifier = sequence('AuthorityKeyIdentifier', {
  keyIdentifier: optional(implicit(0, OCTET_STRING)),
  authorityCertIssuer: optional(implicit(1, GeneralNames)),
  authorityCertSerialNumber: optional(implicit(2, INTEGER_OCTETS)),
})
export type AuthorityKeyIdentifier = Infer<typeof AuthorityKeyIdentifier>

export const authorityKeyIdentifier = extensionType<AuthorityKeyIdentifier>({
  oid: '2.5.29.35',
  id: 'authorityKeyIdentifier',
  codec: AuthorityKeyIdentifier,
  criticality: 'non-critical',
  places: ['certificate', 'crl'],
  source: 'RFC 5280, 4.2.1.1',
})
