/**
 * What the certified key may be used for.
 *
 * Source: RFC 5280, 4.2.1.3.
 *
 * @module
 */
import { namedBits } from '#asn1/types.ts'
import { extensionType } from './extension.ts'

export const keyUsages = [
  'digitalSignature',
  'nonRepudiation', // renamed contentCommitment by later editions of X.509
  'keyEncipherment',
  'dataEncipherment',
  'keyAgreement',
  'keyCertSign',
  'cRLSign',
  'encipherOnly',
  'decipherOnly',
] as const
export type KeyUsageBit = (typeof keyUsages)[number]

export const KeyUsage = namedBits('KeyUsage', keyUsages)
export type KeyUsage = readonly KeyUsageBit[]

export const keyUsage = extensionType<KeyUsage>({
  oid: '2.5.29.15',
  id: 'keyUsage',
  codec: KeyUsage,
  criticality: 'critical',
  places: ['certificate'],
  source: 'RFC 5280, 4.2.1.3',
})
