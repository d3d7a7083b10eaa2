/** Several key stores as one: which of them a name leads to. @module */
import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { test } from 'node:test'
import { secret } from '#base/secret.ts'
import { type GuardedKeyStore, keyReference, keyRing, keyStoreOf } from './key-ring.ts'
import type { KeyStore } from './key-store.ts'

/** Remembers which labels it was asked for. */
function recording(id: string) {
  const asked: string[] = []
  const publicKey = new Uint8Array(1)
  const signer = (label: string) => ({ label, keyAlgorithm: 'ecdsa-p256' as const, publicKey, sign: async () => publicKey })
  const store: KeyStore = {
    id,
    algorithms: ['ecdsa-p256'],
    generate: async (label) => (asked.push(`generate ${label}`), signer(label)),
    open: async (label) => (asked.push(`open ${label}`), signer(label)),
    list: async () => [{ label: 'k', keyAlgorithm: 'ecdsa-p256', publicKey, createdAt: new Date(0) }],
    destroy: async (label) => void asked.push(`destroy ${label}`),
  }
  return { asked, store }
}

test('a plain label is in the default store, one after a name in that store', async () => {
  const [software, hsm] = [recording('software'), recording('hsm')]
  const ring = keyRing(software.store, [hsm.store as GuardedKeyStore])
  assert.equal((await ring.generate('a', 'ecdsa-p256')).label, 'a')
  assert.equal((await ring.generate('hsm:a', 'ecdsa-p256')).label, 'hsm:a')
  assert.equal((await ring.open('hsm:ca/x.1/y:z')).label, 'hsm:ca/x.1/y:z')
  assert.equal((await ring.open('software:b')).label, 'b')
  await ring.destroy('hsm:a')
  assert.deepEqual(software.asked, ['generate a', 'open b'])
  assert.deepEqual(hsm.asked, ['generate a', 'open ca/x.1/y:z', 'destroy a'])
  assert.deepEqual(
    (await ring.list()).map(({ label }) => label),
    ['k', 'hsm:k'],
  )
})

test('an unknown store is named with those that there are', async () => {
  const ring = keyRing(recording('software').store, [recording('hsm').store as GuardedKeyStore])
  for (const act of [ring.open('card:a'), ring.generate('card:a', 'ecdsa-p256'), ring.destroy('card:a')]) {
    await assert.rejects(act, { code: 'notFound', reason: 'keyStoreUnknown', message: /"card".*software, hsm/ })
  }
  await assert.rejects(ring.open(':a'), { code: 'notFound' })
  assert.equal(ring.guarded('software'), undefined)
  assert.equal(ring.guarded('hsm')?.id, 'hsm')
})

test('a store that takes no keys from elsewhere says so', async () => {
  const ring = keyRing(recording('software').store, [recording('hsm').store as GuardedKeyStore])
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const pkcs8 = secret(new Uint8Array(privateKey.export({ type: 'pkcs8', format: 'der' })))
  await assert.rejects(ring.import?.('hsm:a', pkcs8) ?? Promise.resolve(), { code: 'unsupported', reason: 'keyImport' })
})

test('a reference says which store it is of', () => {
  assert.equal(keyStoreOf(keyReference('hsm', 'a')), 'hsm')
  assert.equal(keyStoreOf(keyReference(undefined, 'a')), undefined)
})
