/** ML-DSA and SLH-DSA against code that is not OpenSSL: the same keys, and each verifies what the other signed (R31). @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ml_dsa44, ml_dsa65, ml_dsa87 } from '@noble/post-quantum/ml-dsa.js'
import { slh_dsa_sha2_128s, slh_dsa_sha2_192s, slh_dsa_sha2_256s } from '@noble/post-quantum/slh-dsa.js'
import { generateKey, signMessage } from './private-key.ts'
import { importPublicKey, verifySignature } from './public-key.ts'
import { keyAlgorithms, signatureAlgorithm } from './table.ts'

const message = new TextEncoder().encode('sealed')

const lattices = { 'ml-dsa-44': ml_dsa44, 'ml-dsa-65': ml_dsa65, 'ml-dsa-87': ml_dsa87 } as const
const hashes = {
  'slh-dsa-sha2-128s': slh_dsa_sha2_128s,
  'slh-dsa-sha2-192s': slh_dsa_sha2_192s,
  'slh-dsa-sha2-256s': slh_dsa_sha2_256s,
} as const
const others = { ...lattices, ...hashes }

test('every post-quantum row is here', () => {
  const rows = keyAlgorithms.map(({ id }) => id).filter((id) => /dsa-(\d|sha)/.test(id) && !id.startsWith('ecdsa'))
  assert.deepEqual(rows, Object.keys(others))
})

for (const id of Object.keys(others) as (keyof typeof others)[]) {
  test(`${id}: signed here, verified by other code`, async () => {
    const { privateKey, publicKey } = await generateKey(id)
    const key = importPublicKey(new Uint8Array(publicKey.export({ format: 'der', type: 'spki' })))
    const octets = await signMessage(message, signatureAlgorithm(id), privateKey, true)
    assert.equal(octets.length, others[id].lengths.signature)
    assert.equal(key.subjectPublicKey.length, others[id].lengths.publicKey)
    assert.equal(others[id].verify(octets, message, key.subjectPublicKey), true)
    assert.equal(others[id].verify(octets, message.subarray(1), key.subjectPublicKey), false)
  })
}

for (const id of Object.keys(lattices) as (keyof typeof lattices)[]) {
  test(`${id}: a seed gives the same key there, and what is signed there verifies here, if without a context`, async () => {
    const { privateKey, publicKey } = await generateKey(id)
    const pkcs8 = privateKey.export({ format: 'der', type: 'pkcs8' })
    assert.equal(pkcs8.length, 54, 'RFC 9881, 6: the seed and nothing else')
    const { secretKey, publicKey: theirs } = lattices[id].keygen(new Uint8Array(pkcs8.subarray(-32)))
    const key = importPublicKey(new Uint8Array(publicKey.export({ format: 'der', type: 'spki' })))
    assert.equal(theirs.toHex(), key.subjectPublicKey.toHex())
    const verify = (octets: Uint8Array) => verifySignature({ algorithm: id, octets }, key, message)
    assert.equal(await verify(lattices[id].sign(message, secretKey)), true)
    assert.equal(await verify(lattices[id].sign(message, secretKey, { context: new Uint8Array([1]) })), false)
  })
}

test('slh-dsa-sha2-128s: what is signed there verifies here, if without a context', { timeout: 120_000 }, async () => {
  const id = 'slh-dsa-sha2-128s'
  const { privateKey, publicKey } = await generateKey(id)
  const pkcs8 = privateKey.export({ format: 'der', type: 'pkcs8' })
  const secretKey = new Uint8Array(pkcs8.subarray(-64)) // RFC 9909, 6: SK.seed, SK.prf, PK.seed, PK.root
  const key = importPublicKey(new Uint8Array(publicKey.export({ format: 'der', type: 'spki' })))
  assert.equal(secretKey.subarray(32).toHex(), key.subjectPublicKey.toHex())
  const octets = hashes[id].sign(message, secretKey)
  assert.equal(await verifySignature({ algorithm: id, octets }, key, message), true)
})
