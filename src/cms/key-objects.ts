/**
 * Private keys in memory that open messages: for recovery keys that people keep in files, and for tests. Keys of a store
 * open theirs through the same ports.
 *
 * @module
 */
import { constants, createPublicKey, decapsulate, diffieHellman, type KeyObject, privateDecrypt } from 'node:crypto'
import { TrustError } from '#base/errors.ts'
import type { Agreer, Decapsulator, Decrypter } from './decrypt.ts'

/** @throws TrustError `unsupported` for a key that only signs */
export function openerKey(privateKey: KeyObject): Decrypter | Agreer | Decapsulator {
  const type = privateKey.asymmetricKeyType ?? 'none'
  if (type === 'rsa') return decrypter(privateKey)
  if (type === 'ec' || type === 'x25519') return agreer(privateKey)
  if (type.startsWith('ml-kem-'))
    return { decapsulate: async (ciphertext) => new Uint8Array(decapsulate(privateKey, ciphertext)) }
  throw new TrustError('unsupported', 'keyAlgorithm')
}

const decrypter = (key: KeyObject): Decrypter => ({
  async decrypt(encrypted, scheme) {
    // OpenSSL answers a wrong PKCS #1 v1.5 padding with octets of chance, so that there is nothing to see
    if (scheme === 'rsaEncryption')
      return new Uint8Array(privateDecrypt({ key, padding: constants.RSA_PKCS1_PADDING }, encrypted))
    const padding = constants.RSA_PKCS1_OAEP_PADDING
    return new Uint8Array(privateDecrypt({ key, padding, oaepHash: scheme.oaep }, encrypted))
  },
})

const agreer = (privateKey: KeyObject): Agreer => ({
  async agree(spki) {
    // the import checks that the point lies on its curve
    const publicKey = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' })
    return new Uint8Array(diffieHellman({ privateKey, publicKey }))
  },
})
