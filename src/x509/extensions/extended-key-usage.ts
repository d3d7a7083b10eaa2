/**
 * Which applications the certified key is for.
 *
 * Source: RFC 5280, 4.2.1.12; RFC 6402, 2.10 (cmcRA); RFC 9480 (CMP); RFC 9336 (document signing).
 *
 * @module
 */
import { sequenceOf } from '#asn1/codec.ts'
import { OBJECT_IDENTIFIER } from '#asn1/types.ts'
import { extensionType, LIST_MAX } from './extension.ts'

export const ExtKeyUsage = sequenceOf('ExtKeyUsageSyntax', OBJECT_IDENTIFIER, { min: 1, max: LIST_MAX })
/** Dotted identifiers. */
export type ExtKeyUsage = readonly string[]

export const keyPurposes = {
  anyExtendedKeyUsage: '2.5.29.37.0',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
  codeSigning: '1.3.6.1.5.5.7.3.3',
  emailProtection: '1.3.6.1.5.5.7.3.4',
  timeStamping: '1.3.6.1.5.5.7.3.8',
  OCSPSigning: '1.3.6.1.5.5.7.3.9',
  ipsecIKE: '1.3.6.1.5.5.7.3.17',
  cmcCA: '1.3.6.1.5.5.7.3.27',
  cmcRA: '1.3.6.1.5.5.7.3.28',
  cmKGA: '1.3.6.1.5.5.7.3.32',
  documentSigning: '1.3.6.1.5.5.7.3.36',
} as const
export type KeyPurpose = keyof typeof keyPurposes

const purposes = new Map<string, KeyPurpose>(
  (Object.entries(keyPurposes) as [KeyPurpose, string][]).map(([name, oid]) => [oid, name]),
)

/** Name of a purpose, or its dotted form. */
export const purposeLabel = (oid: string): string => purposes.get(oid) ?? oid

export const extKeyUsage = extensionType<ExtKeyUsage>({
  oid: '2.5.29.37',
  id: 'extKeyUsage',
  codec: ExtKeyUsage,
  criticality: 'either', // must be critical for timeStamping (RFC 3161, 2.3)
  places: ['certificate'],
  source: 'RFC 5280, 4.2.1.12',
})
