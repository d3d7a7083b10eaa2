/**
 * Whether a certificate may issue others, and how deep.
 *
 * Source: RFC 5280, 4.2.1.9.
 *
 * @module
 */
import { type Infer, optional, sequence, withDefault } from '#asn1/codec.ts'
import { BOOLEAN, SMALL_INTEGER } from '#asn1/types.ts'
import { extensionType } from './extension.ts'

export const BasicConstraints = sequence('BasicConstraints', {
  cA: withDefault(BOOLEAN, false),
  pathLenConstraint: optional(SMALL_INTEGER),
})
export type BasicConstraints = Infer<typeof BasicConstraints>

export const basicConstraints = extensionType({
  oid: '2.5.29.19',
  id: 'basicConstraints',
  codec: BasicConstraints,
  criticality: 'either', // must be critical in CA certificates whose key validates signatures on certificates
  places: ['certificate'],
  source: 'RFC 5280, 4.2.1.9',
})
