/** What may be signed as a digest: the same in every key store. @module */
import { TrustError } from '#base/errors.ts'
import type { SignatureAlgorithm } from '#algorithms/table.ts'

const DIGEST_OCTETS = { sha256: 32, sha384: 48, sha512: 64 } as const

/** @throws TrustError `unsupported`, `malformed` */
export function checkDigest(octets: Uint8Array, { id, digest }: SignatureAlgorithm): void {
  if (digest === null) throw new TrustError('unsupported', 'digestNotTaken', { facts: { signature: id } })
  const expected = DIGEST_OCTETS[digest]
  if (octets.length !== expected) {
    throw new TrustError('malformed', 'digestLength', { facts: { signature: id, expected, octets: octets.length } })
  }
}
