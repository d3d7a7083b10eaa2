/**
 * Reads what a `file:` or `env:` reference names. The only place where a secret enters from outside.
 *
 * @module
 */
import { readFileSync, statSync } from 'node:fs'
import { TrustError } from '#base/errors.ts'
import { type Secret, secret } from '#base/secret.ts'
import { utf8 } from '#base/bytes.ts'
import { referenceText } from './config.ts'
import type { SecretReference } from './setting.ts'

/** Keys, passwords and tokens are short; a longer file is the wrong one. */
const SECRET_MAX_BYTES = 65_536

/** Bits that expose a file. Reading by the group is left out: that is how Kubernetes hands secrets to an unprivileged user. */
const EXPOSED = 0o027

/**
 * @returns the octets as stored, without one line break at the end (editors and `echo` add it)
 * @throws TrustError `notFound` where nothing is there, `policyRefused` for a file that others may read
 */
export function readSecret(
  reference: SecretReference,
  environment: Readonly<Record<string, string | undefined>>,
  platform: NodeJS.Platform = process.platform,
): Secret {
  const facts = { reference: referenceText(reference) }
  if (reference.kind === 'env') {
    const value = environment[reference.name]
    if (value === undefined || value === '') throw new TrustError('notFound', 'secretMissing', { facts })
    return secret(utf8(value))
  }
  try {
    const { mode, size } = statSync(reference.path)
    if (platform !== 'win32' && (mode & EXPOSED) !== 0) throw new TrustError('policyRefused', 'secretExposed', { facts })
    if (size > SECRET_MAX_BYTES)
      throw new TrustError('tooLarge', 'secretTooLarge', { facts: { ...facts, limit: SECRET_MAX_BYTES } })
    return secret(withoutLineBreak(readFileSync(reference.path)))
  } catch (cause) {
    if (cause instanceof TrustError) throw cause
    throw new TrustError('notFound', 'secretMissing', { facts, cause })
  }
}

/** Binary keys end in any octet, so only a text file loses its line break. */
function withoutLineBreak(octets: Uint8Array): Uint8Array {
  if (octets.at(-1) !== 0x0a || octets.some((octet) => octet >= 0x80 || (octet < 0x20 && octet !== 0x0a && octet !== 0x0d)))
    return octets
  return octets.subarray(0, octets.at(-2) === 0x0d ? -2 : -1)
}
