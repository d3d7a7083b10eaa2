/**
 * Lists of keys that others have too, in the form of Debian's openssl-blacklist: a line for each modulus.
 *
 * Source: CVE-2008-0166; openssl-vulnkey(1): the last 20 hex digits of the SHA-1 of what `openssl rsa -modulus` prints.
 *
 * @module
 */
import { hash } from 'node:crypto'
import { TrustError } from '#base/errors.ts'

const HASH_DIGITS = 20

export const weakKeyHash = (modulus: bigint): string =>
  hash('sha1', `Modulus=${modulus.toString(16).toUpperCase()}\n`).slice(-HASH_DIGITS)

/** Debian's longest list has 200,000 lines; a setting that names something else is found here. */
const LINES_MAX = 5_000_000

/** @param text lines of 20 hexadecimal digits; empty lines and those that begin with # are left out @throws TrustError `malformed` */
export function parseWeakKeys(text: string, file: string): readonly string[] {
  const lines = text.split('\n')
  if (lines.length > LINES_MAX) throw new TrustError('tooLarge', 'weakKeyList', { facts: { file, line: LINES_MAX } })
  const hashes: string[] = []
  for (const [at, line] of lines.entries()) {
    const written = line.trim().toLowerCase()
    if (written === '' || written.startsWith('#')) continue
    if (!/^[0-9a-f]{20}$/.test(written)) throw new TrustError('malformed', 'weakKeyList', { facts: { file, line: at + 1 } })
    hashes.push(written)
  }
  return hashes
}
