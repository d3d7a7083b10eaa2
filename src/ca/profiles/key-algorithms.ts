/** Which keys the built-in profiles take, by what the holder does with them. @module */

/** Whoever signs certificates: none below 128 bits of strength; SLH-DSA for roots that must outlive lattices. */
export const AUTHORITY_KEYS = [
  'ecdsa-p256',
  'ecdsa-p384',
  'ecdsa-p521',
  'rsa-3072',
  'rsa-4096',
  'ed25519',
  'ed448',
  'ml-dsa-44',
  'ml-dsa-65',
  'ml-dsa-87',
  'slh-dsa-sha2-128s',
  'slh-dsa-sha2-192s',
  'slh-dsa-sha2-256s',
]

/** Whoever shows a certificate in TLS, which has no SLH-DSA; RSA 2048 is what many machines in the field have. */
export const HOLDER_KEYS = [
  'ecdsa-p256',
  'ecdsa-p384',
  'ecdsa-p521',
  'rsa-2048',
  'rsa-3072',
  'rsa-4096',
  'ed25519',
  'ed448',
  'ml-dsa-44',
  'ml-dsa-65',
  'ml-dsa-87',
]
