/**
 * What OCSP messages and responders' certificates carry.
 *
 * Source: RFC 6960, 4.2.2.2.1 and 4.4; RFC 9654, 2.1 (nonce).
 *
 * @module
 */
import { type TaggedCodec, tagged } from '#asn1/codec.ts'
import { malformed } from '#asn1/reader.ts'
import { GeneralizedTime, NULL, OCTET_STRING } from '#asn1/types.ts'
import { extensionType } from './extension.ts'

/** RFC 9654, 2.1: OCTET STRING (SIZE (1..128)). */
export const NONCE_MAX_OCTETS = 128

const Nonce: TaggedCodec<Uint8Array> = tagged(
  'Nonce',
  OCTET_STRING.tag,
  (from) => {
    const nonce = OCTET_STRING.readContent(from)
    if (nonce.length < 1 || nonce.length > NONCE_MAX_OCTETS)
      throw malformed(`a nonce has ${nonce.length} octets instead of 1 to ${NONCE_MAX_OCTETS}`)
    return nonce
  },
  OCTET_STRING.writeContent,
)

export const ocspNonce = extensionType<Uint8Array>({
  oid: '1.3.6.1.5.5.7.48.1.2',
  id: 'nonce',
  codec: Nonce,
  criticality: 'non-critical',
  places: ['ocspRequest', 'ocspResponse'],
  source: 'RFC 9654, 2.1',
})

/** The responder's certificate need not be checked for revocation while it lives. */
export const ocspNoCheck = extensionType<null>({
  oid: '1.3.6.1.5.5.7.48.1.5',
  id: 'noCheck',
  codec: NULL,
  criticality: 'non-critical',
  places: ['certificate'],
  source: 'RFC 6960, 4.2.2.2.1',
})

export const archiveCutoff = extensionType<Date>({
  oid: '1.3.6.1.5.5.7.48.1.6',
  id: 'archiveCutoff',
  codec: GeneralizedTime,
  criticality: 'non-critical',
  places: ['ocspSingle'],
  source: 'RFC 6960, 4.4.4',
})

/** The responder answers `revoked` for certificates that were never issued. */
export const extendedRevoke = extensionType<null>({
  oid: '1.3.6.1.5.5.7.48.1.9',
  id: 'extendedRevoke',
  codec: NULL,
  criticality: 'non-critical',
  places: ['ocspResponse'],
  source: 'RFC 6960, 4.4.8',
})
