import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { test } from 'node:test'
import { generateKey } from '#algorithms/private-key.ts'
import { importPublicKey, type PublicKey } from '#algorithms/public-key.ts'
import type { KeyAlgorithmId } from '#algorithms/table.ts'
import { asTrustError } from '#base/errors.ts'
import { type CBOR, type CBORMap, encodeCBOR, type Label, parseCBOR } from './cbor.ts'
import { coseKeyThumbprint, encodeCOSEKey, parseCOSEKey } from './cose-key.ts'

const hex = (text: string): Uint8Array => Uint8Array.fromHex(text)
const made = async (id: KeyAlgorithmId): Promise<PublicKey> => {
  const { publicKey } = await generateKey(id)
  return importPublicKey(new Uint8Array(publicKey.export({ type: 'spki', format: 'der' })))
}
const refusal = (octets: Uint8Array): string => {
  try {
    parseCOSEKey(octets)
    return 'accepted'
  } catch (error) {
    const { code, reason } = asTrustError(error)
    return `${code} ${reason}`
  }
}
const changed = (key: Uint8Array, ...entries: readonly (readonly [Label, CBOR])[]): Uint8Array =>
  encodeCBOR(new Map([...(parseCBOR(key) as CBORMap), ...entries]))

for (const id of ['ecdsa-p256', 'ecdsa-p384', 'ecdsa-p521', 'ed25519', 'ed448', 'rsa-2048', 'ml-dsa-44', 'ml-dsa-65'] as const) {
  test(`${id}: written and read again it is the same key`, async () => {
    const key = await made(id)
    const again = parseCOSEKey(encodeCOSEKey(key))
    assert.equal(again.algorithm, id)
    assert.deepEqual(again.spki, key.spki)
    assert.deepEqual(coseKeyThumbprint(again), coseKeyThumbprint(key))
  })
}

test('RFC 9679, 6: the thumbprint of its example', () => {
  const key = parseCOSEKey(
    encodeCBOR(
      new Map<Label, CBOR>([
        [1, 2],
        [2, hex('1234')],
        [-1, 1],
        [-2, hex('65eda5a12577c2bae829437fe338701a10aaa375e1bb5b5de108de439c08551d')],
        [-3, hex('1e52ed75701163f7f9e40ddf9f341b3dc9ba860af7e0ca7ca7e9eecd0084d19c')],
      ]),
    ),
  )
  assert.equal(coseKeyThumbprint(key).toHex(), '496bd8afadf307e5b08c64b0421bf9dc01528a344a43bda88fadd1669da253ec')
})

test('what is private, compressed, of another curve or in another form is refused', async () => {
  const ec = encodeCOSEKey(await made('ecdsa-p256'))
  const pq = encodeCOSEKey(await made('ml-dsa-44'))
  const rsa = encodeCOSEKey(await made('rsa-2048'))
  const modulus = (parseCBOR(rsa) as CBORMap).get(-1) as Uint8Array
  for (const [octets, expected] of [
    [changed(ec, [-4, new Uint8Array(32)]), 'malformed notCOSE'],
    [changed(pq, [-2, new Uint8Array(32)]), 'malformed notCOSE'],
    [changed(rsa, [-3, new Uint8Array(32)]), 'malformed notCOSE'],
    [changed(ec, [-3, true]), 'unsupported pointForm'],
    [changed(ec, [-1, 8]), 'unsupported keyAlgorithm'], // secp256k1
    [changed(ec, [-1, 2]), 'malformed keyUnusable'],
    [changed(ec, [-2, new Uint8Array(32)]), 'malformed keyUnusable'],
    [changed(ec, [1, 4]), 'unsupported keyAlgorithm'], // symmetric
    [changed(pq, [3, -49]), 'malformed keyUnusable'],
    [changed(pq, [3, -7]), 'unsupported keyAlgorithm'],
    [changed(rsa, [-1, new Uint8Array([0, ...modulus])]), 'malformed keyUnusable'],
    [changed(rsa, [-2, Uint8Array.of(3)]), 'policyRefused keyExponent'],
    [encodeCBOR([]), 'malformed notCBOR'],
  ] as const)
    assert.equal(refusal(octets), expected)
})

test('SLH-DSA has no such form', () => {
  const { publicKey } = generateKeyPairSync('slh-dsa-sha2-128s')
  const key = importPublicKey(new Uint8Array(publicKey.export({ type: 'spki', format: 'der' })))
  assert.throws(() => encodeCOSEKey(key), { code: 'unsupported', reason: 'messageNameNone' })
})
