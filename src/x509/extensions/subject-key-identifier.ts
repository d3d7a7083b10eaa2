/**
 * A short name for the certified key.
 *
 * Source: RFC 5280, 4.2.1.2; RFC 7093, 2 (identifiers from SHA-256).
 *
 * @module
 */
import { hash } from 'node:crypto'
import { OCTET_STRING } from '#asn1/types.ts'
import { extensionType } from './extension.ts'

export const KeyIdentifier = OCTET_STRING

export const subjectKeyIdentifier = extensionType<Uint8Array>({
  oid: '2.5.29.14',
  id: 'subjectKeyIdentifier',
  codec: KeyIdentifier,
  criticality: 'non-critical',
  places: ['certificate'],
  source: 'RFC 5280, 4.2.1.2',
})

/**
 * The leftmost 160 bits of SHA-256 over the key: RFC 7093, method 1. As long as the identifier of RFC 5280, made
 * without SHA-1.
 *
 * @param subjectPublicKey the BIT STRING's octets, without its count of unused bits
 */
export function keyIdentifierOf(subjectPublicKey: Uint8Array): Uint8Array {
  const digest = hash('sha256', subjectPublicKey, 'buffer')
  return new Uint8Array(digest.buffer, digest.byteOffset, 20)
}
