/** A key store keeps its contract for a thread that borrowed it. @module */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { secret } from '#base/secret.ts'
import { systemWorld } from '#base/world.ts'
import { migrate } from '#store/migrate.ts'
import { sqlite } from '#store/sqlite/index.ts'
import { keyStoreContract } from './contract.ts'
import type { GuardedKeyStore } from './key-ring.ts'
import type { KeyStore } from './key-store.ts'
import { borrowKeyStores, shareKeyStores } from './lent.ts'
import { keysMigrations } from './migrations.ts'
import { softwareKeyStore } from './software/index.ts'

const world = systemWorld()

const guarded = (store: KeyStore): GuardedKeyStore => ({
  ...store,
  state: async () => ({ state: 'ready', tokens: [] }),
  unlock: async () => {},
  close: async () => {},
})

const algorithms = ['ecdsa-p256', 'rsa-2048'] as const

keyStoreContract(
  'lent to another thread',
  async () => {
    const directory = await mkdtemp(join(tmpdir(), 'sealworks-lent-keys-'))
    const database = sqlite({ path: join(directory, 'keys.db') })
    await migrate(database, keysMigrations, world)
    const options = { database, world, organizationId: 'default', wrappingKey: secret(world.random.octets(32)) }
    const borrowed: GuardedKeyStore[] = []
    const open = (): KeyStore => {
      const store = guarded({ ...softwareKeyStore(options), algorithms })
      const [lent] = borrowKeyStores(shareKeyStores({ stores: [store], guarded: () => store }))
      borrowed.push(lent as GuardedKeyStore)
      return lent as GuardedKeyStore
    }
    return {
      store: open(),
      again: async () => open(),
      async close() {
        await Promise.all(borrowed.map((store) => store.close()))
        await database.close()
        await rm(directory, { recursive: true })
      },
    }
  },
  algorithms,
)
