/**
 * The public half of a token's key, as X.509 carries it. What a token says is input like any other: it goes through
 * `importPublicKey` before it is believed.
 *
 * Source: PKCS #11 v2.40 current mechanisms, 2.3.3 (CKA_EC_POINT is an OCTET STRING) and v3.0, 2.3.5 (Edwards keys).
 *
 * @module
 */
import { ANY } from '#asn1/any.ts'
import { decode, encode, sequence } from '#asn1/codec.ts'
import { INTEGER, OCTET_STRING } from '#asn1/types.ts'
import { importPublicKey, type PublicKey, SubjectPublicKeyInfo } from '#algorithms/public-key.ts'
import { type KeyAlgorithm, keyAlgorithm, keyAlgorithms } from '#algorithms/table.ts'
import type { KeyAttributes } from './messages.ts'

const CKK_RSA = 0
const ID_EC_PUBLIC_KEY = '06072a8648ce3d0201'
const RSAPublicKey = sequence('RSAPublicKey', { modulus: INTEGER, publicExponent: INTEGER })
const AlgorithmIdentifier = sequence('AlgorithmIdentifier', { algorithm: ANY, parameters: ANY })

/** Names of Edwards curves that PKCS #11 v3.0 takes instead of their identifiers, as PrintableString. */
const edwardsNames: Readonly<Record<string, string>> = {
  '130c656477617264733235353139': '06032b6570',
  '130a65647761726473343438': '06032b6571',
}

/** @returns undefined where the token does not tell enough @throws TrustError as `importPublicKey` does */
export function publicKeyOf(attributes: KeyAttributes): PublicKey | undefined {
  const { keyType, modulus, publicExponent, ecParams, ecPoint } = attributes
  if (keyType === CKK_RSA) {
    if (modulus === undefined || publicExponent === undefined) return undefined
    const numbers = { modulus: BigInt(`0x${modulus}`), publicExponent: BigInt(`0x${publicExponent}`) }
    const { identifier } = keyAlgorithm('rsa-2048')
    return importPublicKey(spki(Uint8Array.fromHex(identifier), encode(RSAPublicKey, numbers)))
  }
  if (ecParams === undefined || ecPoint === undefined) return undefined
  const parameters = edwardsNames[ecParams] ?? ecParams
  // an Edwards curve's identifier names key and curve; with the others the curve is the parameter of one algorithm
  const row = (keyAlgorithms as readonly KeyAlgorithm[]).find(({ identifier }) => identifier.endsWith(parameters))
  const identifier =
    row !== undefined && row.family !== 'ec'
      ? Uint8Array.fromHex(row.identifier)
      : encode(AlgorithmIdentifier, {
          algorithm: Uint8Array.fromHex(ID_EC_PUBLIC_KEY),
          parameters: Uint8Array.fromHex(parameters),
        })
  return importPublicKey(spki(identifier, pointIn(Uint8Array.fromHex(ecPoint), row)))
}

const spki = (algorithm: Uint8Array, subjectPublicKey: Uint8Array): Uint8Array =>
  encode(SubjectPublicKeyInfo, { algorithm, subjectPublicKey })

/** An OCTET STRING by the standard; older tokens, and some for Edwards keys, give the octets alone. */
function pointIn(octets: Uint8Array, row: KeyAlgorithm | undefined): Uint8Array {
  const parameters = row?.parameters
  const bare =
    parameters === undefined || 'modulusBits' in parameters
      ? undefined
      : 'pointOctets' in parameters
        ? parameters.pointOctets
        : parameters.publicKeyOctets
  return octets.length === bare ? octets : decode(OCTET_STRING, octets)
}
