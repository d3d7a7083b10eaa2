import assert from 'node:assert/strict'
import { test } from 'node:test'
import { asTrustError } from '#base/errors.ts'
import { keep } from '#store/batch.ts'
import { stepsToBear } from '../birth-record.ts'
import { stepsToAttach, stepsToConfirm } from '../certificates.ts'
import { changeState } from '../change.ts'
import { openDevice } from '../device.ts'
import { tellDue } from '../due.ts'
import { isUsable } from '../usable.ts'
import { keyHashOf, officer, testArea, testBirth, testDevices, testModel, testOrganization } from '../testing.ts'
import { moveDevice, stayDevice, takeBackUnconfirmed } from './moves.ts'

const HOUR = 3_600_000

/** A device at work in the area `hall`; its owner has the area `yard` too. */
async function atWork() {
  const devices = await testDevices()
  const { context } = devices
  const valves = await testOrganization(devices, 'valves', 'manufacturer')
  const anna = await testOrganization(devices, 'anna')
  const model = await testModel(devices, valves.id, 'v2')
  const hall = await testArea(devices, anna.id, 'hall')
  const yard = await testArea(devices, anna.id, 'yard')
  const wanted = { manufacturerId: valves.id, modelId: model.id, productSerial: 'V2-1' }
  const { device, steps } = stepsToBear(context, wanted, testBirth('born', 'birth'), officer)
  await keep(context.db, steps)
  const { id } = device
  await changeState(context, id, { act: 'release', actor: officer })
  await changeState(context, id, { act: 'claim', actor: officer, ownerId: anna.id })
  await changeState(context, id, { act: 'onboard', actor: officer, areaId: hall.id })
  const open = () => openDevice(context, context.db, id)
  const issue = async (certificateId: string, areaId: string) =>
    keep(
      context.db,
      stepsToAttach(context, await open(), { certificateId, keyHash: keyHashOf(certificateId), role: 'operational', areaId }),
    )
  const use = async (certificateId: string, areaId: string) =>
    keep(context.db, stepsToConfirm(context, await open(), { certificateId, areaId }, officer))
  const revoked: string[] = []
  const states = {
    hold: async () => {},
    release: async () => {},
    revoke: async (one: string, why: string) => void revoked.push(`${one} ${why}`),
  }
  const tell = async () => {
    while ((await tellDue(context, states)) > 0);
    return revoked
  }
  /** Which of these may be used now. */
  const usable = async (...ids: readonly string[]) => {
    const now = context.world.clock.now()
    const facts = { status: 'active', isIssuerEnabled: true, notBefore: 0, notAfter: now + HOUR }
    const all = await Promise.all(ids.map((certificateId) => isUsable(context.db, { ...facts, certificateId }, now)))
    return ids.filter((_, at) => all[at]?.isUsable)
  }
  await issue('hall-1', hall.id)
  await use('hall-1', hall.id)
  return {
    ...devices,
    context,
    id,
    hall,
    yard,
    open,
    issue,
    use,
    tell,
    usable,
    [Symbol.asyncDispose]: devices[Symbol.asyncDispose],
  }
}

const refuses = (work: Promise<unknown>, code: string, reason: string): Promise<void> =>
  assert.rejects(work, (thrown) => {
    const error = asTrustError(thrown)
    assert.deepEqual([error.code, error.reason], [code, reason])
    return true
  })

test('a device changes its area: the new certificate is issued, seen in use, and then the old one is revoked (R6)', async () => {
  await using scene = await atWork()
  const { context, id, yard } = scene
  await refuses(moveDevice(context, { deviceId: id, area: 'hall' }, officer), 'conflict', 'deviceInArea')
  await refuses(moveDevice(context, { deviceId: id, area: 'cellar' }, officer), 'notFound', 'areaUnknown')
  assert.equal((await moveDevice(context, { deviceId: id, area: 'yard' }, officer)).state, 'area-change')
  await scene.issue('yard-1', yard.id)
  assert.deepEqual(await scene.usable('birth', 'hall-1', 'yard-1'), ['birth', 'hall-1', 'yard-1'])
  assert.deepEqual(await scene.tell(), [])
  await scene.use('yard-1', yard.id)
  assert.deepEqual(await scene.usable('birth', 'hall-1', 'yard-1'), ['birth', 'yard-1'], 'one, and the birth certificate stays')
  assert.deepEqual(await scene.tell(), ['hall-1 affiliationChanged'])
  assert.equal((await scene.open()).areaId, yard.id)
})

test('a move that is given up, or whose certificate nobody uses, leaves the device where it was', async () => {
  await using scene = await atWork()
  const { context, id, yard, hall } = scene
  await moveDevice(context, { deviceId: id, area: 'yard' }, officer)
  await scene.issue('yard-1', yard.id)
  await stayDevice(context, id, officer)
  assert.deepEqual(await scene.usable('hall-1', 'yard-1'), ['hall-1'])
  await moveDevice(context, { deviceId: id, area: 'yard' }, officer)
  await scene.issue('yard-2', yard.id)
  assert.equal(await takeBackUnconfirmed(context, 48), 0)
  scene.time.ahead += 49 * HOUR
  assert.equal(await takeBackUnconfirmed(context, 48), 1)
  assert.equal(await takeBackUnconfirmed(context, 48), 0)
  const { state, areaId, nextAreaId } = await scene.open()
  assert.deepEqual([state, areaId, nextAreaId], ['active', hall.id, undefined])
  assert.deepEqual(await scene.usable('hall-1', 'yard-1', 'yard-2'), ['hall-1'])
  assert.deepEqual(
    (await scene.tell()).map((one) => one.split(' ')[0]),
    ['yard-1', 'yard-2'],
  )
})

test('a renewal that nobody used is taken back, and the one before stays', async () => {
  await using scene = await atWork()
  await scene.issue('hall-2', scene.hall.id)
  scene.time.ahead += 49 * HOUR
  assert.equal(await takeBackUnconfirmed(scene.context, 48), 1)
  assert.deepEqual(await scene.usable('hall-1', 'hall-2'), ['hall-1'])
  assert.deepEqual(await scene.tell(), ['hall-2 cessationOfOperation'])
})
