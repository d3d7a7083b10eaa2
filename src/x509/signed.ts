/**
 * The shape that certificates, requests, CRLs and OCSP answers share: what is signed, how, and the signature.
 *
 * Source: RFC 5280, 4.1.1; RFC 2986, 4; RFC 6960, 4.2.1.
 *
 * @module
 */
import { type SignatureAlgorithmId, signatureAlgorithms } from '#algorithms/table.ts'
import { BIT_STRING_OCTETS } from '#asn1/types.ts'
import { Writer } from '#asn1/writer.ts'

const SEQUENCE = 0x30

/**
 * @param tbs DER of what was signed
 * @param signatureAlgorithm DER AlgorithmIdentifier
 * @returns DER `SEQUENCE { tbs, signatureAlgorithm, BIT STRING signature }`
 */
export function encodeSigned(tbs: Uint8Array, signatureAlgorithm: Uint8Array, signature: Uint8Array): Uint8Array {
  const to = new Writer()
  BIT_STRING_OCTETS.write(to, signature)
  to.octets(signatureAlgorithm)
  to.octets(tbs)
  to.header(SEQUENCE, 0)
  return to.take()
}

/** Whoever can sign these bytes; {@link encodeSigned} does the rest. */
export interface SignatureMaker {
  readonly signatureAlgorithm: SignatureAlgorithmId
  sign(message: Uint8Array): Promise<Uint8Array> | Uint8Array
}

const identifiers = new Map<SignatureAlgorithmId, Uint8Array>(
  signatureAlgorithms.map(({ id, identifier }) => [id, Uint8Array.fromHex(identifier)]),
)

/** DER AlgorithmIdentifier; one shared array that must not be changed. */
export const signatureIdentifier = (id: SignatureAlgorithmId): Uint8Array => identifiers.get(id) as Uint8Array
