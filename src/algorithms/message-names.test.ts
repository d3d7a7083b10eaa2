import assert from 'node:assert/strict'
import { generateKeyPairSync, sign } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import { asTrustError } from '#base/errors.ts'
import { fromMessageSignature, toMessageSignature } from './ecdsa.ts'
import { messageNames, namedSignature, namedSignatures, NAME_STYLES } from './message-names.ts'
import { keyAlgorithms, type KeyAlgorithmId, signaturesOf, type SignatureAlgorithmId } from './table.ts'

const answer = (ask: () => unknown): unknown => {
  try {
    return ask()
  } catch (error) {
    const { code, reason } = asTrustError(error)
    return `${code} ${reason}`
  }
}

test('every name leads back to its algorithm, for each key that it goes with and no other', () => {
  let seen = 0
  for (const id of namedSignatures)
    for (const { id: key } of keyAlgorithms) {
      const fits = signaturesOf(key).some((one) => one.id === id)
      const isItsCurve = !key.startsWith('ecdsa') || { p256: '256', p384: '384', p521: '512' }[key.slice(6)] === id.slice(-3)
      for (const style of NAME_STYLES) {
        if (!fits || !isItsCurve) {
          assert.equal(
            answer(() => messageNames(id, key)),
            'unsupported messageNameNone',
          )
          continue
        }
        const { jose, cose } = messageNames(id, key)
        assert.equal(namedSignature(jose[style], key), id)
        assert.equal(namedSignature(cose[style], key), id)
        seen++
      }
    }
  assert.equal(seen, 2 * (3 + 6 * 3 + 2 + 3)) // three curves, six RSA signatures for three sizes, Edwards, ML-DSA
})

const confusions: readonly (readonly [string | number, KeyAlgorithmId, string])[] = [
  ['none', 'rsa-2048', 'unsupported messageNameUnknown'],
  ['None', 'rsa-2048', 'unsupported messageNameUnknown'],
  ['', 'rsa-2048', 'unsupported messageNameUnknown'],
  ['HS256', 'rsa-2048', 'unsupported messageNameUnknown'],
  ['HS512', 'ecdsa-p521', 'unsupported messageNameUnknown'],
  [5, 'ecdsa-p256', 'unsupported messageNameUnknown'], // HMAC 256/256
  ['es256', 'ecdsa-p256', 'unsupported messageNameUnknown'],
  ['RS1', 'rsa-2048', 'unsupported messageNameUnknown'],
  [-65535, 'rsa-2048', 'unsupported messageNameUnknown'], // RS1
  ['ES256K', 'ecdsa-p256', 'unsupported messageNameUnknown'],
  ['-7', 'ecdsa-p256', 'unsupported messageNameUnknown'],
  ['ES256', 'ecdsa-p384', 'badProof messageNameOther'],
  ['ES512', 'ecdsa-p256', 'badProof messageNameOther'],
  [-7, 'ecdsa-p521', 'badProof messageNameOther'],
  ['RS256', 'ecdsa-p256', 'badProof messageNameOther'],
  ['EdDSA', 'rsa-2048', 'badProof messageNameOther'],
  ['Ed25519', 'ed448', 'badProof messageNameOther'],
  ['ML-DSA-65', 'ml-dsa-44', 'badProof messageNameOther'],
  ['EdDSA', 'ed448', 'ed448'],
  [-8, 'ed25519', 'ed25519'],
  [-9, 'ecdsa-p256', 'ecdsa-sha256'],
]
for (const [name, key, expected] of confusions) {
  test(`the name ${JSON.stringify(name)} with a key of ${key}: ${expected}`, () => {
    assert.equal(
      answer(() => namedSignature(name, key)),
      expected,
    )
  })
}

test('nothing is registered for SLH-DSA', () => {
  assert.equal(
    namedSignatures.some((id) => id.startsWith('slh')),
    false,
  )
  assert.equal(
    answer(() => messageNames('slh-dsa-sha2-128s', 'slh-dsa-sha2-128s')),
    'unsupported messageNameNone',
  )
})

for (const [key, id, octets] of [
  ['ecdsa-p256', 'ecdsa-sha256', 64],
  ['ecdsa-p384', 'ecdsa-sha384', 96],
  ['ecdsa-p521', 'ecdsa-sha512', 132],
] as const satisfies readonly (readonly [KeyAlgorithmId, SignatureAlgorithmId, number])[]) {
  test(`${key}: a signature has the same r and s in both forms`, () => {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: `P-${key.slice(7)}` })
    for (let i = 0; i < 20; i++) {
      const der = new Uint8Array(sign(`sha${id.slice(-3)}`, Uint8Array.of(i), privateKey))
      const fixed = toMessageSignature(der, key)
      assert.equal(fixed.length, octets)
      assert.deepEqual(fromMessageSignature(fixed, key), der)
    }
    assert.ok(publicKey)
  })

  test(`${key}: no octets make a fault, and no other length is taken`, () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 150 }), (signature) => {
        const seen = answer(() => fromMessageSignature(signature, key))
        assert.equal(seen instanceof Uint8Array, signature.length === octets)
        if (seen instanceof Uint8Array && seen.length > 8) answer(() => toMessageSignature(seen, key))
        const other = answer(() => toMessageSignature(signature, key))
        assert.ok(other instanceof Uint8Array || String(other).startsWith('malformed'))
      }),
    )
    assert.equal(
      answer(() => fromMessageSignature(new Uint8Array(octets - 1), key)),
      'malformed signatureLength',
    )
  })
}

test('signatures of other families are the same everywhere', () => {
  const signature = Uint8Array.of(1, 2, 3)
  assert.equal(toMessageSignature(signature, 'rsa-2048'), signature)
  assert.equal(fromMessageSignature(signature, 'ml-dsa-65'), signature)
})

test('numbers that the curve cannot hold, and zero, are no signature to carry', () => {
  assert.equal(
    answer(() => toMessageSignature(Uint8Array.fromHex('3006020100020101'), 'ecdsa-p256')),
    'malformed signatureLength',
  )
  const long = `3026022101${'00'.repeat(32)}020101`
  assert.equal(
    answer(() => toMessageSignature(Uint8Array.fromHex(long), 'ecdsa-p256')),
    'malformed signatureLength',
  )
})
