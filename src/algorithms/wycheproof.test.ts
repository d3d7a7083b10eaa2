import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { importPublicKey, verifySignature } from './public-key.ts'
import { type SignatureAlgorithmId } from './table.ts'

interface Case {
  readonly tcId: number
  readonly comment: string
  readonly flags: readonly string[]
  readonly msg: string
  readonly sig: string
  /** ML-DSA only: not empty where the signature is for a protocol that names itself. */
  readonly ctx?: string
  readonly result: 'valid' | 'invalid' | 'acceptable'
}
interface Group {
  readonly publicKeyDer: string
  readonly publicKey: { readonly publicExponent?: string } | string
  readonly tests: readonly Case[]
}

const files: readonly (readonly [file: string, algorithm: SignatureAlgorithmId, cases: number])[] = [
  ['ecdsa_secp256r1_sha256_test', 'ecdsa-sha256', 484],
  ['ecdsa_secp384r1_sha384_test', 'ecdsa-sha384', 504],
  ['ecdsa_secp521r1_sha512_test', 'ecdsa-sha512', 542],
  ['rsa_signature_2048_sha256_test', 'rsa-sha256', 259],
  ['rsa_signature_3072_sha256_test', 'rsa-sha256', 259],
  ['rsa_pss_2048_sha256_mgf1_32_test', 'rsa-pss-sha256', 108],
  ['ed25519_test', 'ed25519', 151],
  ['ed448_test', 'ed448', 87],
  ['mldsa_65_verify_test', 'ml-dsa-65', 210],
]

/** Decided in testdata/wycheproof/README.md. */
const accepted = ({ result, ctx = '' }: Case): boolean => result === 'valid' && ctx === ''

for (const [file, algorithm, expected] of files) {
  describe(`Wycheproof ${file}`, () => {
    const { testGroups } = JSON.parse(readFileSync(new URL(`testdata/wycheproof/${file}.json`, import.meta.url), 'utf8')) as {
      readonly testGroups: readonly Group[]
    }
    test('every case agrees', async () => {
      let seen = 0
      const kinds = new Set<string>()
      for (const { publicKeyDer, publicKey, tests } of testGroups) {
        seen += tests.length
        const spki = Uint8Array.fromHex(publicKeyDer)
        if (typeof publicKey !== 'string' && publicKey.publicExponent === '03') {
          assert.throws(() => importPublicKey(spki), { code: 'policyRefused', reason: 'keyExponent' })
          continue
        }
        if (tests.some(({ flags }) => flags.includes('IncorrectPublicKeyLength'))) {
          assert.throws(() => importPublicKey(spki), { code: 'malformed', reason: 'keyUnusable' })
          continue
        }
        const key = importPublicKey(spki)
        for (const one of tests) {
          kinds.add(one.result)
          const octets = Uint8Array.fromHex(one.sig)
          const verified = await verifySignature({ algorithm, octets }, key, Uint8Array.fromHex(one.msg))
          assert.equal(verified, accepted(one), `${one.tcId}: ${one.comment} (${one.flags.join(', ')})`)
        }
      }
      assert.equal(seen, expected)
      assert.ok(kinds.has('valid') && kinds.has('invalid'))
    })
  })
}
