/** What several rules ask about an RSA key: found once for each key. @module */
import { type PublicKey, RSAPublicKey } from '#algorithms/public-key.ts'
import { keyAlgorithm } from '#algorithms/table.ts'
import { type RSAWeakness, rsaWeakness } from '#algorithms/weak-rsa.ts'
import { decode } from '#asn1/codec.ts'

interface RSA {
  readonly modulus: bigint
  readonly publicExponent: bigint
  readonly weakness: RSAWeakness | undefined
}
const known = new WeakMap<PublicKey, RSA>()

/** @returns undefined for a key of another family */
export function rsaOf(key: PublicKey): RSA | undefined {
  if (keyAlgorithm(key.algorithm).family !== 'rsa') return undefined
  const before = known.get(key)
  if (before !== undefined) return before
  const { modulus, publicExponent } = decode(RSAPublicKey, key.subjectPublicKey)
  const rsa = { modulus, publicExponent, weakness: rsaWeakness(modulus) }
  known.set(key, rsa)
  return rsa
}
