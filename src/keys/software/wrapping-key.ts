/**
 * The file that holds the key-wrapping key: 32 raw octets outside the database, readable by its owner only.
 *
 * Whoever has this file and the database has every software key. All nodes of an installation share it.
 *
 * @module
 */
import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { dirname } from 'node:path'
import { TrustError } from '#base/errors.ts'
import { type Secret, secret } from '#base/secret.ts'
import type { Random } from '#base/world.ts'

export const WRAPPING_KEY_OCTETS = 32
const OWNER_ONLY = 0o600
const GROUP_AND_OTHERS = 0o077

/**
 * Makes a new wrapping key. On disk, name and content, when this returns.
 *
 * @throws TrustError `conflict` when the file exists: keys may already be wrapped with what it holds
 */
export async function makeWrappingKey(path: string, random: Random): Promise<Secret> {
  const octets = random.octets(WRAPPING_KEY_OCTETS)
  const file = await openKeyFile(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL)
  try {
    await file.chmod(OWNER_ONLY) // a umask may only have taken rights away, but an inherited ACL adds some
    await file.writeFile(octets)
    await file.sync()
  } finally {
    await file.close()
  }
  const directory = await open(dirname(path), constants.O_RDONLY)
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
  return secret(octets)
}

/** @throws TrustError `unavailable` when the file is missing, not ours alone, or not a wrapping key */
export async function readWrappingKey(path: string): Promise<Secret> {
  const file = await openKeyFile(path, constants.O_RDONLY)
  try {
    const { mode, size } = await file.stat() // of the open file: the name may lead elsewhere a moment later
    if ((mode & GROUP_AND_OTHERS) !== 0) throw new TrustError('unavailable', 'wrappingKeyReadable', { facts: { path } })
    const facts = { path, size, expected: WRAPPING_KEY_OCTETS }
    if (size !== WRAPPING_KEY_OCTETS) throw new TrustError('unavailable', 'wrappingKeySize', { facts })
    const octets = new Uint8Array(WRAPPING_KEY_OCTETS)
    const { bytesRead } = await file.read(octets, 0, WRAPPING_KEY_OCTETS, 0)
    if (bytesRead !== WRAPPING_KEY_OCTETS) throw new TrustError('unavailable', 'wrappingKeySize', { facts })
    return secret(octets)
  } finally {
    await file.close()
  }
}

async function openKeyFile(path: string, flags: number) {
  try {
    return await open(path, flags, OWNER_ONLY)
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    if (code === 'EEXIST') throw new TrustError('conflict', 'wrappingKeyExists', { facts: { path }, cause })
    if (code === 'ENOENT' && (flags & constants.O_CREAT) === 0)
      throw new TrustError('unavailable', 'wrappingKeyMissing', { facts: { path }, cause })
    throw new TrustError('unavailable', 'wrappingKeyUnopened', { facts: { path, problem: code ?? 'unknown' }, cause })
  }
}
