import assert from 'node:assert/strict'
import { test } from 'node:test'
import { genuineMigrations } from '#devices/genuine/migrations.ts'
import { testInstallation } from '#devices/ownership/testing.ts'
import type { CAServices } from '../compose.ts'
import { genuineRoutes } from './genuine.ts'

test('R15: one address asks a few times, then at a slow rate; another is not kept from asking', async () => {
  await using plant = await testInstallation(undefined, genuineMigrations)
  const [ask] = genuineRoutes({ devices: { ownership: plant.context } } as unknown as Pick<CAServices, 'devices'>)
  const body = { manufacturer: 'valves', productSerial: 'V2-1' }
  const from = (address: string) =>
    ask.handle({ actor: 'anonymous', principal: undefined, requestId: 'r', address }, { body } as never)
  for (let n = 0; n < 20; n++) await from('192.0.2.1')
  await assert.rejects(from('192.0.2.1'), { code: 'rateLimited', reason: 'genuineBusy' })
  await from('192.0.2.2')
  plant.time.ahead += 2000
  await from('192.0.2.1')
})
