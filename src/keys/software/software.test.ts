/** What only software keys promise: wrapped in the database, tied to their row, useless without the wrapping key. @module */
import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { inspect } from 'node:util'
import { keyAlgorithms } from '#algorithms/table.ts'
import { utf8 } from '#base/bytes.ts'
import { type Secret, secret } from '#base/secret.ts'
import { systemWorld } from '#base/world.ts'
import type { Database, Row, SqlValue } from '#store/database.ts'
import { migrate } from '#store/migrate.ts'
import { sqlite } from '#store/sqlite/index.ts'
import { keyStoreContract, type KeyStoreUnderTest } from '../contract.ts'
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
