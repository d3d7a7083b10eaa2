/** Keys in SoftHSM: the contract of every key store, and what only tokens do. @module */
import { needs } from '../../../test/interop/programs.ts'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { utf8 } from '#base/bytes.ts'
import { silentLog } from '#base/log.ts'
import { secret } from '#base/secret.ts'
import { systemWorld } from '#base/world.ts'
import { migrate } from '#store/migrate.ts'
import { sqlite } from '#store/sqlite/index.ts'
import { keyStoreContract } from '../contract.ts'
import { keysMigrations } from '../migrations.ts'
import { pkcs11KeyStore } from './index.ts'
import { PIN, type SoftHSM, softHSM } from './testing.ts'

const tools = needs('softhsm2-util', 'libsofthsm2', 'pkcs11-tool')
const world = systemWorld()

async function fixture(hsm: SoftHSM, tokens: readonly string[]) {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-pkcs11-'))
  const database = sqlite({ path: join(directory, 'test.db') })
  await migrate(database, keysMigrations, world)
  const open = (pin: string | undefined = PIN) =>
    pkcs11KeyStore({
      database,
      world,
      log: silentLog,
      organizationId: 'default',
      id: 'hsm',
      module: hsm.library,
      tokens: tokens.map((label) => ({ label })),
      pin: () => (pin === undefined ? undefined : secret(utf8(pin))),
      sessions: 4,
      checkEverySignature: false,
      environment: hsm.environment,
    })
  return {
    open,
    async close() {
      await database.close()
      rmSync(directory, { recursive: true })
    },
  }
}
keyStoreContract(
  'pkcs11 on SoftHSM',
  async () => {
    const hsm = softHSM({ util: tools.path('softhsm2-util'), library: tools.path('libsofthsm2') })
    await hsm.initialize('one')
    const under = await fixture(hsm, ['one'])
    const stores = [under.open()]
    await stores[0]?.state()
    return {
      store: stores[0]!,
      async again() {
        const store = under.open()
        stores.push(store)
        return store
      },
      async close() {
        for (const store of stores) await store.close()
        await under.close()
        hsm[Symbol.dispose]()
      },
    }
  },
  ['ecdsa-p256', 'ecdsa-p384', 'ecdsa-p521', 'rsa-2048', 'rsa-3072', 'rsa-4096', 'ed25519', 'ed448'],
)
