/** What only software keys promise: wrapped in the database, tied to their row, useless without the wrapping key. @module */
import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { inspect } from 'node:util'
import { ml_dsa65 } from '@noble/post-quantum/ml-dsa.js'
import { generateKey } from '#algorithms/private-key.ts'
import { importPublicKey, verifySignature } from '#algorithms/public-key.ts'
import { certificateSignatureOf, keyAlgorithm, keyAlgorithms } from '#algorithms/table.ts'
import { ANY } from '#asn1/any.ts'
import { encode, sequence } from '#asn1/codec.ts'
import { OCTET_STRING, SMALL_INTEGER } from '#asn1/types.ts'
import { utf8 } from '#base/bytes.ts'
import { type Secret, secret } from '#base/secret.ts'
import { systemWorld } from '#base/world.ts'
import type { Database, Row, SqlValue } from '#store/database.ts'
import { migrate } from '#store/migrate.ts'
import { sqlite } from '#store/sqlite/index.ts'
import { keyStoreContract, type KeyStoreUnderTest } from '../contract.ts'
import type { KeyStore } from '../key-store.ts'
import { keysMigrations } from '../migrations.ts'
import { softwareKeyStore } from './index.ts'

const world = systemWorld()
const message = utf8('firmware')

interface SoftwareUnderTest extends KeyStoreUnderTest {
  readonly database: Database
  readonly wrappingKey: Secret
}

async function make(): Promise<SoftwareUnderTest> {
  const directory = await mkdtemp(join(tmpdir(), 'sealworks-keys-'))
  const database = sqlite({ path: join(directory, 'keys.db') })
  await migrate(database, keysMigrations, world)
  const wrappingKey = secret(world.random.octets(32))
  const open = () => softwareKeyStore({ database, world, organizationId: 'default', wrappingKey })
  return {
    database,
    wrappingKey,
    store: open(),
    again: async () => open(),
    async close() {
      await database.close()
      await rm(directory, { recursive: true })
    },
  }
}

keyStoreContract(
  'software',
  make,
  keyAlgorithms.map(({ id }) => id),
)

async function under(body: (it: SoftwareUnderTest) => Promise<void>): Promise<void> {
  const it = await make()
  try {
    await body(it)
  } finally {
    await it.close()
  }
}

test('another wrapping key opens nothing, and the refusal says which file is wanted', () =>
  under(async ({ store, database }) => {
    await store.generate('k1', 'ecdsa-p256')
    const wrong = secret(world.random.octets(32))
    const stranger = softwareKeyStore({ database, world, organizationId: 'default', wrappingKey: wrong })
    await assert.rejects(stranger.open('k1'), {
      code: 'unavailable',
      reason: 'wrappingKeyWrong',
      message: /key-wrapping key file/,
    })
  }))

const alterations = [
  {
    name: 'the blob of another key',
    sql: `UPDATE wrapped_key SET wrapped = (SELECT wrapped FROM wrapped_key WHERE label = 'k2') WHERE label = 'k1'`,
  },
  {
    name: 'another public key',
    sql: `UPDATE wrapped_key SET public_key = (SELECT public_key FROM wrapped_key WHERE label = 'k2') WHERE label = 'k1'`,
  },
  { name: 'another algorithm', sql: `UPDATE wrapped_key SET key_algorithm = 'ecdsa-p384' WHERE label = 'k1'` },
  {
    name: 'the whole row under another label',
    sql: `UPDATE wrapped_key SET label = CASE label WHEN 'k1' THEN 'k3' ELSE 'k1' END`,
  },
  { name: 'a blob cut short', sql: `UPDATE wrapped_key SET wrapped = substr(wrapped, 1, 30) WHERE label = 'k1'` },
  {
    name: 'a blob without its last octet',
    sql: `UPDATE wrapped_key SET wrapped = substr(wrapped, 1, length(wrapped) - 1) WHERE label = 'k1'`,
  },
  { name: 'an empty blob', sql: `UPDATE wrapped_key SET wrapped = x'' WHERE label = 'k1'` },
]
for (const { name, sql } of alterations) {
  test(`refuses ${name}`, () =>
    under(async ({ store, again, database }) => {
      await store.generate('k1', 'ecdsa-p256')
      await store.generate('k2', 'ecdsa-p256')
      await database.transaction((tx) => tx.query(sql))
      await assert.rejects((await again()).open('k1'), { code: 'unavailable', reason: 'wrappedKeyDamaged' })
    }))
}

test('every octet of a wrapped key is protected', () =>
  under(async ({ store, again, database }) => {
    await store.generate('k1', 'ecdsa-p256')
    const [row] = await database.query<{ wrapped: Uint8Array }>('SELECT wrapped FROM wrapped_key')
    const wrapped = row?.wrapped as Uint8Array
    assert.ok(wrapped.length > 100)
    for (let at = 0; at < wrapped.length; at++) {
      const altered = Uint8Array.from(wrapped, (octet, index) => (index === at ? octet ^ 0x80 : octet))
      await database.transaction((tx) => tx.query('UPDATE wrapped_key SET wrapped = ?', altered))
      await assert.rejects((await again()).open('k1'), { code: 'unavailable' }, `octet ${at}`)
    }
    await database.transaction((tx) => tx.query('UPDATE wrapped_key SET wrapped = ?', wrapped))
    await (await again()).open('k1')
  }))

test('R28: the database holds no private key in the clear', () =>
  under(async ({ store, database }) => {
    const scalar = Uint8Array.fromHex('c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721')
    const pkcs8 = Uint8Array.fromHex(
      `308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420${scalar.toHex()}a14403420004` +
        '60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb67903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299',
    )
    await store.import?.('k1', secret(pkcs8))
    const rows = await database.query('SELECT * FROM wrapped_key')
    assert.equal(rows.length, 1)
    const held = Object.values(rows[0] ?? {}).map((value) => (value instanceof Uint8Array ? value.toHex() : String(value)))
    for (const value of held) assert.ok(!value.includes(scalar.toHex().slice(0, 16)))
  }))

test('R28: a refusal shows neither the wrapping key nor the key', () =>
  under(async ({ store, again, database, wrappingKey }) => {
    await store.generate('k1', 'ecdsa-p256')
    await database.transaction((tx) => tx.query(`UPDATE wrapped_key SET key_algorithm = 'ecdsa-p384'`))
    const error = await (await again()).open('k1').then(
      () => assert.fail('opened an altered key'),
      (thrown: unknown) => thrown,
    )
    const shown = inspect(error, { depth: 20, showHidden: true })
    const raw = wrappingKey.reveal('look for it in the error')
    for (const form of [raw.toHex(), raw.toBase64(), Buffer.from(raw).toString('latin1')]) assert.ok(!shown.includes(form))
  }))

test('one organization does not see the keys of another', () =>
  under(async ({ store, database, wrappingKey }) => {
    await store.generate('k1', 'ecdsa-p256')
    const other = softwareKeyStore({ database, world, organizationId: 'other', wrappingKey })
    await assert.rejects(other.open('k1'), { code: 'notFound' })
    assert.deepEqual(await other.list(), [])
    await other.generate('k1', 'ecdsa-p256')
    await other.destroy('k1')
    await (await store.open('k1')).sign(message, 'ecdsa-sha256')
  }))

test('a row given to another organization does not open there', () =>
  under(async ({ store, database, wrappingKey }) => {
    await store.generate('k1', 'ecdsa-p256')
    await database.transaction((tx) => tx.query(`UPDATE wrapped_key SET organization_id = 'other'`))
    const other = softwareKeyStore({ database, world, organizationId: 'other', wrappingKey })
    await assert.rejects(other.open('k1'), { code: 'unavailable', reason: 'wrappedKeyDamaged' })
  }))

test('an open that read its row just before a destroy does not bring the key back', () =>
  under(async ({ store, database, wrappingKey }) => {
    await store.generate('k1', 'ecdsa-p256')
    const proceed = Promise.withResolvers<void>()
    const late: Database = {
      ...database,
      async query<R extends Row>(sql: string, ...parameters: SqlValue[]) {
        const rows = await database.query<R>(sql, ...parameters)
        await proceed.promise
        return rows
      },
    }
    const slow = softwareKeyStore({ database: late, world, organizationId: 'default', wrappingKey })
    const opening = slow.open('k1')
    await slow.destroy('k1')
    proceed.resolve()
    await assert.rejects(opening, { code: 'notFound' })
  }))

test('a weak RSA key is not imported', () =>
  under(async ({ store }) => {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 1024 })
    const pkcs8 = privateKey.export({ format: 'der', type: 'pkcs8' })
    await assert.rejects(store.import?.('k1', secret(pkcs8)) ?? Promise.resolve(), {
      code: 'policyRefused',
      reason: 'keyTooShort',
    })
  }))

const importing = (store: KeyStore, label: string, pkcs8: Uint8Array) =>
  (store.import as NonNullable<KeyStore['import']>)(label, secret(pkcs8))

/** Of three that differ in size only one: each signature takes a second. */
const importable = keyAlgorithms.filter(({ id }) => id !== 'slh-dsa-sha2-192s' && id !== 'slh-dsa-sha2-256s')
for (const { id } of importable) {
  test(`${id}: a key made elsewhere is imported, and signs`, () =>
    under(async ({ store, again }) => {
      const { privateKey, publicKey } = await generateKey(id)
      await importing(store, 'k1', privateKey.export({ format: 'der', type: 'pkcs8' }))
      const signer = await (await again()).open('k1')
      assert.equal(signer.keyAlgorithm, id)
      assert.equal(signer.publicKey.toHex(), publicKey.export({ format: 'der', type: 'spki' }).toString('hex'))
      const algorithm = certificateSignatureOf(id)
      const octets = await signer.sign(message, algorithm)
      assert.equal(await verifySignature({ algorithm, octets }, importPublicKey(signer.publicKey), message), true)
    }))
}

describe('ML-DSA private keys (RFC 9881, 6)', () => {
  const privateKeyInfo = sequence('PrivateKeyInfo', { version: SMALL_INTEGER, algorithm: ANY, privateKey: OCTET_STRING })
  const both = sequence('both', { seed: OCTET_STRING, expandedKey: OCTET_STRING })
  const infoOf = (privateKey: Uint8Array): Uint8Array =>
    encode(privateKeyInfo, { version: 0, algorithm: Uint8Array.fromHex(keyAlgorithm('ml-dsa-65').identifier), privateKey })
  const seed = new Uint8Array(32).fill(7)
  const { publicKey, secretKey } = ml_dsa65.keygen(seed)
  const { secretKey: foreign } = ml_dsa65.keygen(new Uint8Array(32).fill(8))

  const taken: readonly (readonly [string, Uint8Array])[] = [
    ['as seed', infoOf(Uint8Array.of(0x80, 32, ...seed))],
    ['as both', infoOf(encode(both, { seed, expandedKey: secretKey }))],
  ]
  for (const [name, pkcs8] of taken) {
    test(`${name}: imported, and kept as seed`, () =>
      under(async ({ store, again }) => {
        await importing(store, 'k1', pkcs8)
        const signer = await (await again()).open('k1')
        assert.equal(importPublicKey(signer.publicKey).subjectPublicKey.toHex(), publicKey.toHex())
        assert.equal(ml_dsa65.verify(await signer.sign(message, 'ml-dsa-65'), message, publicKey), true)
      }))
  }

  const refused: readonly (readonly [string, Uint8Array, string, string])[] = [
    ['as expandedKey, which no seed can be had from', infoOf(encode(OCTET_STRING, secretKey)), 'unsupported', 'privateKeyForm'],
    ['as both that are not of one key', infoOf(encode(both, { seed, expandedKey: foreign })), 'malformed', 'privateKeyUnusable'],
    ['a seed of 31 octets', infoOf(Uint8Array.of(0x80, 31, ...seed.subarray(1))), 'malformed', 'privateKeyUnusable'],
  ]
  for (const [name, pkcs8, code, reason] of refused) {
    test(`${name}: refused`, () => under(async ({ store }) => assert.rejects(importing(store, 'k1', pkcs8), { code, reason })))
  }
})

test('an SLH-DSA key whose halves do not belong together is not imported', () =>
  under(async ({ store }) => {
    const { privateKey } = await generateKey('slh-dsa-sha2-128s')
    const pkcs8 = privateKey.export({ format: 'der', type: 'pkcs8' })
    pkcs8[pkcs8.length - 1] = (pkcs8[pkcs8.length - 1] as number) ^ 1 // PK.root
    await assert.rejects(importing(store, 'k1', pkcs8), { code: 'malformed', reason: 'privateKeyUnusable' })
  }))
