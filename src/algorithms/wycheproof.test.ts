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
  readonly result: 'valid' | 'invalid' | 'acceptable'
}
interface Group {
  readonly publicKeyDer: string
  readonly publicKey: { readonly publicExponent?: string }
  readonly tests: readonly Case[]
}

const files: readonly (readonly [file: string, algorithm: SignatureAlgorithmId, cases: number])[] = [
  ['ecdsa_secp256r1_sha256_test', 'ecdsa-sha256', 484],
  ['ecdsa_secp384r1_sha384_test', 'ecdsa-sha384', 504],
  ['rsa_signature_2048_sha256_test', 'rsa-sha256', 259],
  ['rsa_signature_3072_sha256_test', 'rsa-sha256', 259],
]

/** Decided in testdata/wycheproof/README.md. */
const accepted = ({ result }: Case): boolean => result === 'valid'

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
        if (publicKey.publicExponent === '03') {
          assert.throws(() => importPublicKey(spki), { code: 'policyRefused', reason: 'keyExponent' })
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
