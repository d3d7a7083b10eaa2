import assert from 'node:assert/strict'
import { test } from 'node:test'
import { asTrustError } from '#base/errors.ts'
import { openDevice } from '../device.ts'
import { bindSpeaker } from '../speakers.ts'
import { officer } from '../testing.ts'
import { Killed, testInstallation } from './testing.ts'
import { signAnswer, signPresence, verifyChain } from './messages.ts'
import {
  askForRecovery,
  completeRecovery,
  listRecoveries,
  objectElsewhere,
  objectTo,
  openRecovery,
  publishRecovery,
  withdrawRecovery,
} from './recoveries.ts'
import { entriesOf } from './records.ts'
import { readStatement } from './statement.ts'
import { DAY, testKey } from './testing.ts'
import {
  answerElsewhere,
  answerHere,
  carriedOf,
  completeElsewhere,
  completeHere,
  offer,
  packageOf,
  release,
  takeAnswer,
} from './transfers.ts'

const refuses = (work: Promise<unknown>, code: string, reason: string): Promise<void> =>
  assert.rejects(work, (thrown) => {
    const error = asTrustError(thrown)
    assert.deepEqual([error.code, error.reason], [code, reason])
    return true
  })

/** Anna's device, of whom nothing is heard any more; Dora has it. */
async function lost() {
  const plant = await testInstallation()
  const maker = await plant.organization('valves')
  await plant.organization('anna')
  await plant.organization('dora')
  const { device, key } = await plant.shipped('V2-1')
  const sell = async (to: string) => {
    const { id } = await offer(plant.context, { deviceId: device.id, to, terms: '', validSeconds: 3600 }, officer)
    await answerHere(plant.context, id, true, officer)
    await release(plant.context, id, officer)
    await completeHere(plant.context, id, officer)
  }
  await sell('anna')
  await plant.use(device.id, 'of-anna')
  const { recovery, asked } = await askForRecovery(plant.context, { deviceId: device.id, claimant: 'dora' }, officer)
  const presence = async (by = key, nonce = asked.nonce) =>
    (await signPresence(asked.place, { key: by.public, to: asked.to, nonce, at: plant.context.world.clock.now() }, by)).statement
  return { plant, maker, key, device, id: recovery.id, presence, sell, [Symbol.asyncDispose]: () => plant[Symbol.asyncDispose]() }
}

const publishing = { reason: 'the owner is bankrupt', waitDays: 30 }

test('a device is recovered when it is there, the time is over and nobody objected (R15)', async () => {
  await using scene = await lost()
  const { plant, id, device, maker, key } = scene
  await refuses(completeRecovery(plant.context, id, {}, officer), 'conflict', 'ownershipRecoveryState')
  await publishRecovery(plant.context, id, { presence: await scene.presence(), ...publishing }, officer)
  await refuses(completeRecovery(plant.context, id, {}, officer), 'policyRefused', 'ownershipWaits')
  assert.deepEqual(plant.revoked, [], 'until then the owner loses nothing')
  plant.time.ahead += 30 * DAY
  assert.equal((await completeRecovery(plant.context, id, {}, officer)).state, 'completed')
  const now = await openDevice(plant.context, plant.context.db, device.id)
  assert.deepEqual([now.state, now.epoch], ['claimed', 2])
  assert.deepEqual(plant.revoked, ['of-anna'])
  const rules = { makers: [maker.public], device: key.device }
  assert.equal((await verifyChain(await entriesOf(plant.context, device.id), rules)).owner.name, 'dora')
})

test('the owner objects, and it is over', async () => {
  await using scene = await lost()
  const { plant, id } = scene
  await publishRecovery(plant.context, id, { presence: await scene.presence(), ...publishing }, officer)
  assert.equal((await objectTo(plant.context, id, { reason: 'it is in use' }, officer)).state, 'objected')
  plant.time.ahead += 31 * DAY
  await refuses(completeRecovery(plant.context, id, {}, officer), 'conflict', 'ownershipRecoveryState')
  assert.deepEqual(plant.revoked, [])
})

test('it needs the device: not another, not an old proof, not after the owner gave it away', async () => {
  await using scene = await lost()
  const { plant, id, key, sell } = scene
  const publish = async (presence: Promise<string>) =>
    publishRecovery(plant.context, id, { presence: await presence, ...publishing }, officer)
  await refuses(publish(scene.presence(testKey())), 'badProof', 'ownershipOtherDevice')
  await refuses(publish(scene.presence(key, 'A'.repeat(43))), 'badProof', 'ownershipPresence')
  const good = scene.presence()
  await sell('dora')
  await refuses(publish(good), 'conflict', 'deviceChanged')
  await withdrawRecovery(plant.context, id, officer)
  await refuses(publish(good), 'conflict', 'ownershipRecoveryState')
})

test('claims that wait for the device are bounded, for each device and for each claimant', async () => {
  await using scene = await lost()
  const { plant, device, id } = scene
  const ask = (deviceId: string, claimant = 'dora') => askForRecovery(plant.context, { deviceId, claimant }, officer)
  for (let asked = 1; asked < 16; asked++) await ask(device.id)
  await refuses(ask(device.id), 'quotaExceeded', 'ownershipClaimsTooMany')
  await refuses(ask(device.id, 'anna'), 'quotaExceeded', 'ownershipClaimsTooMany')
  await withdrawRecovery(plant.context, id, officer)
  await ask(device.id, 'anna')
  await scene.sell('dora') // what was asked of the epoch before comes to nothing, and is in nobody's way
  const { recovery } = await ask(device.id, 'anna')
  assert.equal(recovery.epoch, 3)

  // as many rows as 1000 claims leave, for devices that wait in the same epoch
  const other = await plant.shipped('V2-2')
  const sold = await offer(plant.context, { deviceId: other.device.id, to: 'anna', terms: '', validSeconds: 3600 }, officer)
  await answerHere(plant.context, sold.id, true, officer)
  await release(plant.context, sold.id, officer)
  await completeHere(plant.context, sold.id, officer)
  const { db } = plant.context
  const row = (await ask(other.device.id)).recovery
  await db.transaction(async (tx) => {
    for (let n = 1; n < 1000; n++)
      await tx.query(
        `INSERT INTO ownership_recovery (id, organization_id, version, device_id, epoch, claimant_id, state, nonce, created_at, changed_at)
        SELECT ?, organization_id, 1, device_id, epoch, claimant_id, state, nonce, created_at, changed_at FROM ownership_recovery WHERE id = ?`,
        ...[`${row.id}-${n}`, row.id],
      )
  })
  await refuses(ask(device.id), 'quotaExceeded', 'ownershipClaimsTooMany')
  await ask(device.id, 'anna')
})

test('R6: a recovery is withdrawn by who speaks for the maker or the claimant, and by nobody else', async () => {
  await using scene = await lost()
  const { context } = scene.plant
  for (const [organization, speaker] of [
    ['valves', 'person:vera'],
    ['anna', 'person:ann'],
    ['dora', 'person:dora'],
  ] as const)
    await bindSpeaker(context, organization, speaker, officer)
  await publishRecovery(context, scene.id, { presence: await scene.presence(), ...publishing }, officer)
  for (const other of ['person:ann', 'person:otto'])
    await refuses(withdrawRecovery(context, scene.id, other), 'forbidden', 'organizationNotTheirs')
  assert.equal((await withdrawRecovery(context, scene.id, 'person:dora')).state, 'withdrawn')
  const { recovery } = await askForRecovery(context, { deviceId: scene.device.id, claimant: 'dora' }, officer)
  assert.equal((await withdrawRecovery(context, recovery.id, 'person:vera')).state, 'withdrawn')
})

test('a process that ends in a recovery goes on where it was', async () => {
  for (const point of ['recovery pending', 'recovered from certificates']) {
    await using scene = await lost()
    const { plant, id, device } = scene
    await publishRecovery(plant.context, id, { presence: await scene.presence(), ...publishing }, officer)
    plant.time.ahead += 30 * DAY
    plant.fault.at = point
    await assert.rejects(completeRecovery(plant.context, id, {}, officer), Killed)
    plant.fault.at = undefined
    assert.equal((await openRecovery(plant.context, id)).state, 'completing')
    assert.equal((await openDevice(plant.context, plant.context.db, device.id)).state, 'transfer-pending')
    await completeRecovery(plant.context, id, {}, officer)
    assert.deepEqual(plant.revoked, ['of-anna'])
    assert.equal((await openDevice(plant.context, plant.context.db, device.id)).epoch, 2)
  }
})

/** Anna, in an installation of her own, where Dora is too; the maker publishes where it is. */
async function apart() {
  const [makers, buyers] = [await testInstallation(), await testInstallation()]
  const valves = await makers.organization('valves')
  const anna = await buyers.organization('anna')
  const dora = await buyers.organization('dora')
  await makers.organization('anna', anna)
  await makers.organization('dora', dora)
  await buyers.organization('valves', valves)
  const { device, key } = await makers.shipped('V2-1')
  const { id } = await offer(makers.context, { deviceId: device.id, to: 'anna', terms: '', validSeconds: 3600 }, officer)
  const { answer } = await answerElsewhere(buyers.context, await packageOf(makers.context, id), true, officer)
  await takeAnswer(makers.context, id, answer, officer)
  await release(makers.context, id, officer)
  await completeElsewhere(buyers.context, await packageOf(makers.context, id), officer)
  const { recovery, asked } = await askForRecovery(makers.context, { deviceId: device.id, claimant: 'dora' }, officer)
  const at = makers.context.world.clock.now()
  const presence = (await signPresence(asked.place, { key: key.public, to: asked.to, nonce: asked.nonce, at }, key)).statement
  const { notice = '' } = await publishRecovery(makers.context, recovery.id, { presence, ...publishing }, officer)
  const complete = async () => {
    makers.time.ahead += 31 * DAY
    const accepted = { isAccepted: true, answeredAt: makers.context.world.clock.now() }
    const { statement } = await signAnswer(readStatement('notice', notice), accepted, dora)
    await completeRecovery(makers.context, recovery.id, { answer: statement }, officer)
    return carriedOf(makers.context, device.id)
  }
  return {
    ...{ makers, buyers, notice, recovery, complete },
    async [Symbol.asyncDispose]() {
      await makers[Symbol.asyncDispose]()
      await buyers[Symbol.asyncDispose]()
    },
  }
}

test('R15: an owner objects from its own installation: there it ends the recovery, and here no chain comes in over it', async () => {
  await using scene = await apart()
  const { makers, buyers, notice, recovery, complete } = scene
  await refuses(objectElsewhere(makers.context, notice, 'mine', officer), 'forbidden', 'ownershipKeyElsewhere')
  const { objection } = await objectElsewhere(buyers.context, notice, 'it is in use', officer)
  assert.equal((await objectElsewhere(buyers.context, notice, 'once more', officer)).objection, objection)
  // the maker did not get it, or would not: what it completes is not followed where the objection is
  const carried = await complete()
  assert.equal((await openRecovery(makers.context, recovery.id)).state, 'completed')
  await refuses(completeElsewhere(buyers.context, carried, officer), 'policyRefused', 'ownershipObjected')
})

test('R15: an objection that is brought to the maker ends the recovery there; without one the chain comes in', async () => {
  await using scene = await apart()
  const { objection } = await objectElsewhere(scene.buyers.context, scene.notice, 'it is in use', officer)
  assert.equal((await objectTo(scene.makers.context, scene.recovery.id, { statement: objection }, 'anonymous')).state, 'objected')
  await using other = await apart()
  assert.equal((await completeElsewhere(other.buyers.context, await other.complete(), officer)).epoch, 2)
  await refuses(objectElsewhere(other.buyers.context, other.notice, 'too late', officer), 'badProof', 'ownershipOrder')
})

test('what is published stays in sight, whoever claims how much after it', async () => {
  await using scene = await lost()
  const { plant, id } = scene
  await publishRecovery(plant.context, id, { presence: await scene.presence(), ...publishing }, officer)
  for (const state of ['asked', 'withdrawn', 'objected'])
    await plant.context.db.batch([
      {
        sql: `INSERT INTO ownership_recovery (id, organization_id, version, device_id, epoch, claimant_id, state, nonce, created_at, changed_at)
          WITH RECURSIVE later (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM later WHERE n < 600)
          SELECT 'z-' || ? || n, organization_id, 1, device_id, epoch, claimant_id, ?, nonce, created_at, changed_at
            FROM ownership_recovery, later WHERE id = ?`,
        parameters: [state, state, id],
      },
    ])
  const listed = await listRecoveries(plant.context)
  assert.deepEqual([listed[0]?.id, listed[0]?.state], [id, 'published'])
  assert.deepEqual([...new Set(listed.map(({ state }) => state))], ['published', 'objected'])
})
