/** A key store under the algorithm policy keeps its contract, and refuses what the policy does. @module */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { algorithmPolicy, parseSchedule, tablePolicy } from '#algorithms/policy.ts'
import type { KeyAlgorithmId } from '#algorithms/table.ts'
import { utf8 } from '#base/bytes.ts'
import { secret } from '#base/secret.ts'
import { systemWorld } from '#base/world.ts'
import { migrate } from '#store/migrate.ts'
import { sqlite } from '#store/sqlite/index.ts'
import { generateKey } from '#algorithms/private-key.ts'
import type { KeyStore } from './key-store.ts'
import { keysMigrations } from './migrations.ts'
import { policedKeyStore } from './policed.ts'
import { softwareKeyStore } from './software/index.ts'

const world = systemWorld()
const message = utf8('firmware')
const refusal = (algorithm: string) => ({ code: 'policyRefused', reason: 'algorithmRefused', facts: { algorithm, since: '' } })

async function under(body: (store: KeyStore) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'sealworks-policed-'))
  const database = sqlite({ path: join(directory, 'keys.db') })
  try {
    await migrate(database, keysMigrations, world)
    const wrappingKey = secret(world.random.octets(32))
    await body(softwareKeyStore({ database, world, organizationId: 'default', wrappingKey }))
  } finally {
    await database.close()
    await rm(directory, { recursive: true })
  }
}

const policyOf = (id: string, written: string) => algorithmPolicy({ preset: 'none', schedules: { [id]: parseSchedule(written) } })

test('what the policy allows goes through', () =>
  under(async (store) => {
    const policed = policedKeyStore(store, tablePolicy, world.clock)
    const made = await policed.generate('k1', 'ecdsa-p256')
    const opened = await policed.open('k1')
    assert.deepEqual(opened.publicKey, made.publicKey)
    await opened.sign(message, 'ecdsa-sha256')
    assert.equal((await policed.list()).length, 1)
    await policed.destroy('k1')
    await assert.rejects(opened.sign(message, 'ecdsa-sha256'), { code: 'notFound' })
  }))

test('a refused key is not made, and one from before signs nothing', () =>
  under(async (store) => {
    const algorithm: KeyAlgorithmId = 'ecdsa-p384'
    await store.generate('before', algorithm)
    const policed = policedKeyStore(store, policyOf(algorithm, 'refused'), world.clock)
    await assert.rejects(policed.generate('k1', algorithm), refusal(algorithm))
    assert.deepEqual(
      (await store.list()).map(({ label }) => label),
      ['before'],
    )
    await assert.rejects((await policed.open('before')).sign(message, 'ecdsa-sha384'), refusal(algorithm))
    const { privateKey } = await generateKey(algorithm)
    const imported = await policed.import?.('k2', secret(privateKey.export({ format: 'der', type: 'pkcs8' })))
    assert.ok(imported)
    await assert.rejects(imported.sign(message, 'ecdsa-sha384'), refusal(algorithm))
  }))

test('a refused signature is not made by a key that is allowed, and another is', () =>
  under(async (store) => {
    const policed = policedKeyStore(store, policyOf('ecdsa-sha256', 'deprecated, refused from 2020-01-01'), world.clock)
    const signer = await policed.generate('k1', 'ecdsa-p256')
    const since = ' since 2020-01-01'
    await assert.rejects(signer.sign(message, 'ecdsa-sha256'), {
      ...refusal('ecdsa-sha256'),
      facts: { algorithm: 'ecdsa-sha256', since },
    })
    await signer.sign(message, 'ecdsa-sha384')
  }))
