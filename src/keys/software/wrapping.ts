/**
 * How a private key lies in the database: encrypted under the key-wrapping key and tied to the row that holds it.
 *
 * Layout of a wrapped key, version 1:
 *
 *     0x01 || wrapping key id (8) || nonce (12) || AES-256-GCM ciphertext of the PKCS #8 key || tag (16)
 *
 * The additional data names organization, label, algorithm and public key, so that a blob moved to another row does
 * not open. Nonces are random: one installation wraps far fewer than 2^32 keys (NIST SP 800-38D, 8.3).
 *
 * @module
 */
import { createCipheriv, createDecipheriv, createHmac } from 'node:crypto'
import { concat, equal, utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { type Secret, secret } from '#base/secret.ts'
import type { Random } from '#base/world.ts'

const VERSION = 1
const ID_OCTETS = 8
const NONCE_OCTETS = 12
const TAG_OCTETS = 16
const HEAD_OCTETS = 1 + ID_OCTETS + NONCE_OCTETS

/** The row that a wrapped key belongs to. */
export interface KeyRow {
  readonly organizationId: string
  readonly label: string
  readonly keyAlgorithm: string
  readonly publicKey: Uint8Array
}

/** @param pkcs8 DER PrivateKeyInfo */
export function wrapKey(pkcs8: Secret, wrappingKey: Secret, row: KeyRow, random: Random): Uint8Array {
  const nonce = random.octets(NONCE_OCTETS)
  const cipher = createCipheriv('aes-256-gcm', wrappingKey.reveal('wrap a key'), nonce)
  cipher.setAAD(additionalData(row))
  const ciphertext = cipher.update(pkcs8.reveal('wrap a key'))
  cipher.final() // GCM keeps nothing back
  return concat([Uint8Array.of(VERSION), wrappingKeyId(wrappingKey), nonce, ciphertext, cipher.getAuthTag()])
}

/** @throws TrustError `unavailable`: the wrapping key is another one, or the row was altered */
export function unwrapKey(wrapped: Uint8Array, wrappingKey: Secret, row: KeyRow): Secret {
  const facts = { label: row.label }
  if (wrapped[0] !== VERSION || wrapped.length < HEAD_OCTETS + TAG_OCTETS) {
    throw new TrustError('unavailable', 'wrappedKeyDamaged', { facts })
  }
  if (!equal(wrapped.subarray(1, 1 + ID_OCTETS), wrappingKeyId(wrappingKey))) {
    throw new TrustError('unavailable', 'wrappingKeyWrong', { facts })
  }
  const nonce = wrapped.subarray(1 + ID_OCTETS, HEAD_OCTETS)
  const decipher = createDecipheriv('aes-256-gcm', wrappingKey.reveal('unwrap a key'), nonce, { authTagLength: TAG_OCTETS })
  decipher.setAAD(additionalData(row))
  decipher.setAuthTag(wrapped.subarray(-TAG_OCTETS))
  try {
    const pkcs8 = decipher.update(wrapped.subarray(HEAD_OCTETS, -TAG_OCTETS))
    decipher.final()
    return secret(pkcs8)
  } catch (cause) {
    throw new TrustError('unavailable', 'wrappedKeyDamaged', { facts, cause })
  }
}

/** Tells wrapping keys apart without telling anything about them. */
function wrappingKeyId(wrappingKey: Secret): Uint8Array {
  const mac = createHmac('sha256', wrappingKey.reveal('name the wrapping key')).update('sealworks wrapping key id').digest()
  return mac.subarray(0, ID_OCTETS)
}

/** Each part behind its length, so that no two rows share one encoding. */
function additionalData({ organizationId, label, keyAlgorithm, publicKey }: KeyRow): Uint8Array {
  const parts = [utf8('sealworks wrapped key 1'), utf8(organizationId), utf8(label), utf8(keyAlgorithm), publicKey]
  return concat(parts.flatMap((part) => [lengthOf(part), part]))
}

function lengthOf({ length }: Uint8Array): Uint8Array {
  const octets = new Uint8Array(4)
  new DataView(octets.buffer).setUint32(0, length)
  return octets
}
