/**
 * Signature algorithms as a signer of CMS names them: as certificates do, except for RSA.
 *
 * Source: RFC 5754, 3.2: `rsaEncryption` leaves the digest to the signer's digestAlgorithm, and is what all programs
 * write; the identifiers with a digest are read too. Android's tools name ECDSA by its key in the same way.
 *
 * @module
 */
import { identifySignature } from '#algorithms/public-key.ts'
import { signatureAlgorithm, type SignatureAlgorithmId, signatureAlgorithms } from '#algorithms/table.ts'
import { TrustError } from '#base/errors.ts'
import { signatureIdentifier } from '#x509/signed.ts'
import { checkDigestFits, type DigestId } from './digests.ts'

const RSA_ENCRYPTION = '300d06092a864886f70d0101010500'
const RSA_ENCRYPTION_BARE = '300b06092a864886f70d010101'
const rsaEncryption = Uint8Array.fromHex(RSA_ENCRYPTION)

const EC_PUBLIC_KEY = '300b06072a8648ce3d02010500'
const EC_PUBLIC_KEY_BARE = '300906072a8648ce3d0201'

const byDigest = (family: 'rsa' | 'ec'): ReadonlyMap<string, SignatureAlgorithmId> =>
  new Map(
    signatureAlgorithms
      .filter((row) => row.family === family && !('saltOctets' in row))
      .map(({ digest, id }) => [String(digest), id]),
  )
const pkcs1ByDigest = byDigest('rsa')
const ecdsaByDigest = byDigest('ec')

/** DER AlgorithmIdentifier of a signer that is written here. */
export const signerIdentifier = (id: SignatureAlgorithmId): Uint8Array =>
  [...pkcs1ByDigest.values()].includes(id) ? rsaEncryption : signatureIdentifier(id)

/** @param identifier DER @throws TrustError `unsupported`; `policyRefused` when the digest does not go with it */
export function identifySigner(identifier: Uint8Array, digest: DigestId): SignatureAlgorithmId {
  const hex = identifier.toHex()
  const isRSA = hex === RSA_ENCRYPTION || hex === RSA_ENCRYPTION_BARE
  const isEC = hex === EC_PUBLIC_KEY || hex === EC_PUBLIC_KEY_BARE
  const id = isRSA ? pkcs1ByDigest.get(digest) : isEC ? ecdsaByDigest.get(digest) : identifySignature(identifier)
  if (id === undefined || signatureAlgorithm(id).standing === 'refused') throw new TrustError('unsupported', 'signatureAlgorithm')
  checkDigestFits(id, digest)
  return id
}
