/** The tests every key store must pass. A store's own test file calls this first. @module */
import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { describe, test } from 'node:test'
import { inspect } from 'node:util'
import { importPublicKey, verifySignature } from '#algorithms/public-key.ts'
import {
  certificateSignatureOf,
  type KeyAlgorithmId,
  keyAlgorithm,
  type SignatureAlgorithmId,
  signatureAlgorithm,
  signatureAlgorithms,
} from '#algorithms/table.ts'
import { utf8 } from '#base/bytes.ts'
import { secret } from '#base/secret.ts'
import type { KeyStore, Signer } from './key-store.ts'

export interface KeyStoreUnderTest {
  readonly store: KeyStore
  /** The same keys as another process sees them. */
  again(): Promise<KeyStore>
  close(): Promise<void>
}

const message = utf8('firmware')

export function keyStoreContract(
  name: string,
  make: () => Promise<KeyStoreUnderTest>,
  algorithms: readonly KeyAlgorithmId[],
): void {
  const withStore = (title: string, body: (under: KeyStoreUnderTest) => Promise<void>): void => {
    test(title, async () => {
      const under = await make()
      try {
        await body(under)
      } finally {
        await under.close()
      }
    })
  }
  const cheapest = algorithms.find((id) => !keyAlgorithm(id).slow) ?? algorithms[0]
  assert.ok(cheapest !== undefined, 'a key store offers at least one algorithm')

  describe(`${name} keeps the key store contract`, () => {
    withStore('offers what its tests were told', async ({ store }) => {
      assert.deepEqual(store.algorithms, algorithms)
    })

    for (const algorithm of algorithms) {
      withStore(
        `${algorithm}: signs with each digest what its public key verifies, here and in another process`,
        async (under) => {
          const made = await under.store.generate('k1', algorithm)
          assert.equal(made.label, 'k1')
          assert.equal(made.keyAlgorithm, algorithm)
          assert.equal(importPublicKey(made.publicKey).algorithm, algorithm)
          const opened = await (await under.again()).open('k1')
          assert.deepEqual(opened.publicKey, made.publicKey)
          const matching = signatureAlgorithms.filter(({ family }) => family === keyAlgorithm(algorithm).family)
          assert.ok(matching.length > 0)
          for (const signer of [made, opened]) {
            for (const { id } of matching)
              assert.ok(await verifies(made.publicKey, id, message, await signer.sign(message, id)), id)
          }
        },
      )

      withStore(`${algorithm}: a signature is over the whole message`, async ({ store }) => {
        const signer = await store.generate('k1', algorithm)
        const id = certificateSignatureOf(algorithm)
        assert.ok(!(await verifies(signer.publicKey, id, utf8('firmwarf'), await signer.sign(message, id))))
        const large = new Uint8Array(3_000_000).fill(7)
        assert.ok(await verifies(signer.publicKey, id, large, await signer.sign(large, id)))
        assert.ok(await verifies(signer.publicKey, id, new Uint8Array(0), await signer.sign(new Uint8Array(0), id)))
      })

      withStore(`${algorithm}: a digest is signed as its message is, or not at all`, async (under) => {
        await under.store.generate('k1', algorithm)
        const { publicKey, signDigest } = await (await under.again()).open('k1')
        if (signDigest === undefined) return
        const family = signatureAlgorithms.filter((row) => row.family === keyAlgorithm(algorithm).family)
        assert.ok(family.length > 0)
        for (const { id, digest } of family) {
          if (digest === null) {
            await assert.rejects(signDigest(new Uint8Array(32), id), { code: 'unsupported' })
            continue
          }
          const octets = new Uint8Array(hash(digest, message, 'buffer'))
          const many: Uint8Array[] = await Promise.all(Array.from({ length: 5 }, () => signDigest(octets, id)))
          for (const signature of many) assert.ok(await verifies(publicKey, id, message, signature), id)
          assert.ok(!(await verifies(publicKey, id, utf8('firmwarf'), many[0] as Uint8Array)))
          await assert.rejects(signDigest(octets.subarray(1), id), { code: 'malformed' })
        }
      })

      const foreign = signatureAlgorithms.filter(({ family }) => family !== keyAlgorithm(algorithm).family)
      withStore(`${algorithm}: another family's signature is unsupported`, async ({ store }) => {
        const signer = await store.generate('k1', algorithm)
        assert.ok(foreign.length > 0)
        for (const { id } of foreign) await assert.rejects(signer.sign(message, id), { code: 'unsupported' })
      })
    }

    withStore('an algorithm not listed is unsupported', async ({ store }) => {
      await assert.rejects(store.generate('k1', 'rot13' as KeyAlgorithmId), { code: 'unsupported' })
    })

    withStore('a label is used once', async (under) => {
      await under.store.generate('k1', cheapest)
      await assert.rejects(under.store.generate('k1', cheapest), { code: 'conflict' })
      await assert.rejects((await under.again()).generate('k1', cheapest), { code: 'conflict' })
    })

    withStore('one of many at once gets the label', async (under) => {
      const stores = [under.store, await under.again()]
      const results = await Promise.allSettled(
        Array.from({ length: 8 }, (_, n) => (stores[n % 2] as KeyStore).generate('k1', cheapest)),
      )
      const refusals = results.filter((result) => result.status === 'rejected')
      assert.equal(refusals.length, 7)
      for (const { reason } of refusals) assert.equal((reason as { code?: string }).code, 'conflict')
      const winner = results.find((result) => result.status === 'fulfilled')
      assert.deepEqual((await under.store.open('k1')).publicKey, winner?.value.publicKey)
    })

    withStore('many signatures at once do not disturb each other', async ({ store }) => {
      const signers = await Promise.all(['k1', 'k2', 'k3'].map((label) => store.generate(label, cheapest)))
      const id = certificateSignatureOf(cheapest)
      const jobs = Array.from({ length: 60 }, async (_, n) => {
        const signer = signers[n % signers.length] as Signer
        const text = utf8(`message ${n}`)
        return verifies(signer.publicKey, id, text, await signer.sign(text, id))
      })
      assert.ok((await Promise.all(jobs)).every(Boolean))
    })

    withStore('an unknown label is notFound', async ({ store }) => {
      await assert.rejects(store.open('nope'), { code: 'notFound' })
      await assert.rejects(store.destroy('nope'), { code: 'notFound' })
    })

    withStore('lists what there is, by label', async ({ store }) => {
      assert.deepEqual(await store.list(), [])
      const b = await store.generate('b', cheapest)
      const a = await store.generate('a', cheapest)
      const entries = await store.list()
      assert.deepEqual(
        entries.map(({ label, keyAlgorithm, publicKey }) => ({ label, keyAlgorithm, publicKey })),
        [a, b].map(({ label, keyAlgorithm, publicKey }) => ({ label, keyAlgorithm, publicKey })),
      )
      for (const { createdAt } of entries) assert.ok(Number.isFinite(createdAt.getTime()))
    })

    withStore('a destroyed key signs no more, and its label is not given to another', async (under) => {
      const signer = await under.store.generate('k1', cheapest)
      await under.store.destroy('k1')
      await assert.rejects(signer.sign(message, certificateSignatureOf(cheapest)), { code: 'notFound' })
      const { digest } = signatureAlgorithm(certificateSignatureOf(cheapest))
      if (signer.signDigest !== undefined && digest !== null) {
        const octets = new Uint8Array(hash(digest, message, 'buffer'))
        await assert.rejects(signer.signDigest(octets, certificateSignatureOf(cheapest)), { code: 'notFound' })
      }
      for (const store of [under.store, await under.again()]) {
        await assert.rejects(store.open('k1'), { code: 'notFound' })
        await assert.rejects(store.destroy('k1'), { code: 'notFound' })
        assert.deepEqual(await store.list(), [])
      }
      await assert.rejects(under.store.generate('k1', cheapest), { code: 'conflict' })
    })

    withStore('no private key shows in what can be printed', async ({ store }) => {
      const signer = await store.generate('k1', cheapest)
      const shown = `${inspect(signer, { depth: 20, showHidden: true })} ${JSON.stringify(signer)} ${inspect(store, { depth: 20, showHidden: true })}`
      assert.doesNotMatch(shown, /PRIVATE|PrivateKeyObject/)
    })

    withStore('an imported key signs; what is no key is malformed; none of it is repeated in the refusal', async ({ store }) => {
      if (store.import === undefined) return
      const signer = await store.import('k1', secret(IMPORTED_PKCS8))
      assert.equal(signer.keyAlgorithm, 'ecdsa-p256')
      assert.ok(await verifies(signer.publicKey, 'ecdsa-sha256', message, await signer.sign(message, 'ecdsa-sha256')))
      const again = await thrownBy(store.import('k1', secret(IMPORTED_PKCS8)))
      assert.equal(again.code, 'conflict')
      const cut = await thrownBy(store.import('k2', secret(IMPORTED_PKCS8.subarray(0, 60))))
      assert.equal(cut.code, 'malformed')
      const mismatched = Uint8Array.from(IMPORTED_PKCS8)
      mismatched[40] = (mismatched[40] as number) ^ 1
      assert.equal((await thrownBy(store.import('k2', secret(mismatched)))).code, 'malformed')
      const shown = [again, cut, signer, store].map((value) => inspect(value, { depth: 20, showHidden: true })).join(' ')
      for (const form of [IMPORTED_SCALAR.toHex(), IMPORTED_SCALAR.toBase64()]) assert.ok(!shown.includes(form.slice(4, 24)))
    })

    withStore('an imported key of an algorithm outside the table is refused', async ({ store }) => {
      if (store.import === undefined) return
      const refusal = await thrownBy(store.import('k1', secret(X25519_PKCS8)))
      assert.equal(refusal.code, 'unsupported')
    })
  })
}

async function verifies(spki: Uint8Array, id: SignatureAlgorithmId, text: Uint8Array, octets: Uint8Array): Promise<boolean> {
  return verifySignature({ algorithm: id, octets }, importPublicKey(spki), text)
}

async function thrownBy(promise: Promise<unknown>): Promise<Error & { code?: string }> {
  try {
    await promise
  } catch (thrown) {
    return thrown as Error
  }
  throw new assert.AssertionError({ message: 'should have been refused' })
}

/** The P-256 key of RFC 6979, A.2.5, as PKCS #8. */
const IMPORTED_SCALAR = Uint8Array.fromHex('c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721')
const IMPORTED_PKCS8 = Uint8Array.fromHex(
  '308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420' +
    IMPORTED_SCALAR.toHex() +
    'a14403420004' +
    '60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6' +
    '7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299',
)
/** A key that agrees and does not sign (RFC 8410, 3). */
const X25519_PKCS8 = Uint8Array.fromHex(
  '302e020100300506032b656e04220420d4ee72dbf913584ad5b6d8f1f769f8ad3afe7c28cbf1d4fbe097a88f44755842',
)
