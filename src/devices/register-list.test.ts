import assert from 'node:assert/strict'
import { test } from 'node:test'
import { findDevices, registerDevice } from './register.ts'
import { LIST_MAX, registerList } from './register-list.ts'
import { officer, testDevices, testModel, testOrganization } from './testing.ts'

test('a list is registered whole, given again it does nothing, and a line in the way keeps all of it out', async () => {
  await using devices = await testDevices()
  const { context } = devices
  const { id: manufacturerId } = await testOrganization(devices, 'acme', 'manufacturer')
  const { id: modelId } = await testModel(devices, manufacturerId, 'pump')
  const { id: other } = await testModel(devices, manufacturerId, 'valve')
  const named = (...serials: readonly string[]) => serials.map((productSerial) => ({ manufacturerId, modelId, productSerial }))
  const count = async (): Promise<number> => (await findDevices(context, {}, { limit: 1000 })).length

  const all = named(...Array.from({ length: LIST_MAX }, (_, at) => `A-${at}`))
  assert.deepEqual(await registerList(context, all, officer), { registered: LIST_MAX, known: 0, refused: [] })
  assert.equal(await count(), LIST_MAX)
  assert.deepEqual(await registerList(context, all, officer), { registered: 0, known: LIST_MAX, refused: [] })
  const entries = await context.db.query("SELECT id FROM audit_entry WHERE act = 'device.register' AND outcome = 'done'")
  assert.equal(entries.length, LIST_MAX, 'each has its entry, once')

  await registerDevice(context, { manufacturerId, modelId: other, productSerial: 'V-1' }, officer)
  const found = await registerList(context, named('B-1', 'b-1', 'V-1', 'A-0'), officer)
  assert.deepEqual(found, {
    registered: 0,
    known: 1,
    refused: [
      { at: 1, reason: 'deviceTwiceInList' },
      { at: 2, reason: 'deviceOtherModel' },
    ],
  })
  assert.equal(await count(), LIST_MAX + 1)
  await assert.rejects(registerList(context, [...all, ...named('C-1')], officer), {
    code: 'tooLarge',
    reason: 'deviceListTooLong',
  })
})

test('a list is given again whatever letters its serials have', async () => {
  await using devices = await testDevices()
  const { context } = devices
  const { id: manufacturerId } = await testOrganization(devices, 'acme', 'manufacturer')
  const { id: modelId } = await testModel(devices, manufacturerId, 'pump')
  const list = ['ÄÖÜ-1', 'Ørsted 2', 'Ж-3', 'İ-4'].map((productSerial) => ({ manufacturerId, modelId, productSerial }))
  assert.deepEqual(await registerList(context, list, officer), { registered: 4, known: 0, refused: [] })
  assert.deepEqual(await registerList(context, list, officer), { registered: 0, known: 4, refused: [] })
})

test('two who register the same list at once: each device is there once', async () => {
  await using devices = await testDevices()
  const { context } = devices
  const { id: manufacturerId } = await testOrganization(devices, 'acme', 'manufacturer')
  const { id: modelId } = await testModel(devices, manufacturerId, 'pump')
  const list = ['A-1', 'A-2', 'A-3'].map((productSerial) => ({ manufacturerId, modelId, productSerial }))
  const outcomes = await Promise.allSettled([registerList(context, list, officer), registerList(context, list, officer)])
  assert.ok(outcomes.some(({ status }) => status === 'fulfilled'))
  for (const one of outcomes) if (one.status === 'rejected') assert.equal((one.reason as { code?: string }).code, 'conflict')
  assert.equal((await findDevices(context, {}, { limit: 10 })).length, 3)
})
