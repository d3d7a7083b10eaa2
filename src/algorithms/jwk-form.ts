/**
 * Public keys by their members, as JSON Web Keys name them: the form in which OpenSSL's face in Node.js takes and gives
 * them, and of which JWK and COSE_Key are two encodings.
 *
 * Source: RFC 7518, 6; RFC 8037, 2; RFC 9964, 4 (ML-DSA).
 *
 * @module
 */
import { createPublicKey, type webcrypto } from 'node:crypto'
import { TrustError } from '#base/errors.ts'
import { importPublicKey, type PublicKey } from './public-key.ts'

/** What makes a key the one it is, by type, in the order of RFC 7638; all else says what a key is for. */
export const KEY_MEMBERS = {
  EC: ['crv', 'kty', 'x', 'y'],
  OKP: ['crv', 'kty', 'x'],
  RSA: ['e', 'kty', 'n'],
  AKP: ['alg', 'kty', 'pub'],
} as const
export type KeyMembers = Readonly<Record<string, string>>

/** @throws TrustError `unsupported` where no such form is registered */
export function keyMembers({ key, algorithm }: PublicKey): KeyMembers {
  if (algorithm.startsWith('slh-dsa'))
    throw new TrustError('unsupported', 'messageNameNone', { facts: { algorithm, key: algorithm } })
  const jwk = key.export({ format: 'jwk' }) as Record<string, string>
  const names: readonly string[] = KEY_MEMBERS[jwk['kty'] as keyof typeof KEY_MEMBERS]
  return Object.fromEntries(names.map((name) => [name, jwk[name] as string]))
}

/**
 * @param members those of the key's type and no others
 * @throws TrustError `malformed`, also for a key in another than its one form; `unsupported`; `policyRefused` for a weak key
 */
export function importKeyMembers(members: KeyMembers): PublicKey {
  return importPublicKey(spkiOf(members))
}

function spkiOf(members: webcrypto.JsonWebKey): Uint8Array {
  try {
    const key = createPublicKey({ key: members, format: 'jwk' })
    const again = key.export({ format: 'jwk' }) as Record<string, string>
    // coordinates of full length, numbers without leading zeros (RFC 7518, 6.2.1.2 and 6.3.1): OpenSSL takes others too
    if (Object.entries(members).some(([name, value]) => again[name] !== value)) throw new Error('not in its one form')
    return new Uint8Array(key.export({ type: 'spki', format: 'der' }))
  } catch (cause) {
    throw new TrustError('malformed', 'keyUnusable', { cause })
  }
}
