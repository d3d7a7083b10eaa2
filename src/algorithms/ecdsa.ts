/**
 * ECDSA signatures as X.509 has them (DER) and as JOSE and COSE have them: r and s, each as long as the curve's order.
 *
 * Source: RFC 3279, 2.2.3; RFC 7518, 3.4; RFC 9053, 2.1.
 *
 * @module
 */
import { decode, encode, sequence } from '#asn1/codec.ts'
import { INTEGER } from '#asn1/types.ts'
import { concat } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { type KeyAlgorithm, keyAlgorithm, type KeyAlgorithmId } from './table.ts'

const ECDSASigValue = sequence('ECDSA-Sig-Value', { r: INTEGER, s: INTEGER })

/** @returns undefined for keys whose signatures are the same everywhere */
function coordinateOctets(id: KeyAlgorithmId): number | undefined {
  const { parameters }: KeyAlgorithm = keyAlgorithm(id)
  return 'pointOctets' in parameters ? (parameters.pointOctets - 1) / 2 : undefined
}

/** @param signature as X.509 carries it @throws TrustError `malformed` */
export function toMessageSignature(signature: Uint8Array, key: KeyAlgorithmId): Uint8Array {
  const octets = coordinateOctets(key)
  if (octets === undefined) return signature
  const { r, s } = decode(ECDSASigValue, signature)
  return concat([fixed(r, octets), fixed(s, octets)])
}

function fixed(value: bigint, octets: number): Uint8Array {
  const hex = value.toString(16).padStart(2 * octets, '0')
  if (value <= 0n || hex.length > 2 * octets)
    throw new TrustError('malformed', 'signatureLength', { facts: { octets: 2 * octets } })
  return Uint8Array.fromHex(hex)
}

/** @param signature as JOSE and COSE carry it @throws TrustError `malformed` for another length than the curve's */
export function fromMessageSignature(signature: Uint8Array, key: KeyAlgorithmId): Uint8Array {
  const octets = coordinateOctets(key)
  if (octets === undefined) return signature
  if (signature.length !== 2 * octets) throw new TrustError('malformed', 'signatureLength', { facts: { octets: 2 * octets } })
  const at = (start: number): bigint => BigInt(`0x${signature.subarray(start, start + octets).toHex()}`)
  return encode(ECDSASigValue, { r: at(0), s: at(octets) })
}
