/**
 * Public keys as JSON Web Keys, and their thumbprints. Private keys are never read or written in this form.
 *
 * Source: RFC 7517; RFC 7518, 6; RFC 8037, 2; RFC 9964, 4 (ML-DSA); RFC 7638.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { importKeyMembers, KEY_MEMBERS, keyMembers } from '#algorithms/jwk-form.ts'
import type { PublicKey } from '#algorithms/public-key.ts'
import { utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { toBase64url } from './base64url.ts'
import type { JSONObject } from './json.ts'

const SECRET = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k', 'priv'] as const

/**
 * @param jwk from `parseJSONObject`
 * @throws TrustError `malformed`, also for a private key, which nobody must be sent; `unsupported`; `policyRefused`
 */
export function parseJWK(jwk: JSONObject): PublicKey {
  const { kty } = jwk
  if (SECRET.some((name) => name in jwk)) throw malformed('it is private, or a shared secret')
  if (typeof kty !== 'string' || !Object.hasOwn(KEY_MEMBERS, kty)) throw new TrustError('unsupported', 'keyAlgorithm')
  return importKeyMembers(
    Object.fromEntries(
      KEY_MEMBERS[kty as keyof typeof KEY_MEMBERS].map((name) => {
        const value = jwk[name]
        if (typeof value !== 'string') throw malformed(`its member ${name} is missing`)
        return [name, value]
      }),
    ),
  )
}

const malformed = (detail: string): TrustError => new TrustError('malformed', 'notJWK', { facts: { detail } })

/** SHA-256 over the members that make it the key it is, as base64url. @throws TrustError `unsupported` */
export const jwkThumbprint = (key: PublicKey): string =>
  toBase64url(
    createHash('sha256')
      .update(utf8(JSON.stringify(keyMembers(key))))
      .digest(),
  )
