import assert from 'node:assert/strict'
import { test } from 'node:test'
import { asTrustError } from '#base/errors.ts'
import { utf8 } from '#base/bytes.ts'
import { fingerprint } from '#x509/certificate.ts'
import { changeState, setFlag } from '../change.ts'
import { openDevice } from '../device.ts'
import { officer } from '../testing.ts'
import { Killed, type TestInstallation, testInstallation } from './testing.ts'
import { verifyChain } from './messages.ts'
import { encodePackage, parsePackage } from './package.ts'
import { entriesOf, openChain } from './records.ts'
import { DAY, sell, testKey, testOwner } from './testing.ts'
import {
  answerElsewhere,
  answerHere,
  bornElsewhere,
  carriedOf,
  completeElsewhere,
  completeHere,
  expireTransfers,
  offer,
  openTransfer,
  packageOf,
  release,
  takeAnswer,
  withdraw,
} from './transfers.ts'

const refuses = (work: Promise<unknown>, code: string, reason: string): Promise<void> =>
  assert.rejects(work, (thrown) => {
    const error = asTrustError(thrown)
    assert.deepEqual([error.code, error.reason], [code, reason])
    return true
  })

const terms = { terms: 'EXW', validSeconds: 86_400 }
const stateOf = async ({ context }: TestInstallation, id: string) => {
  const { state, epoch } = await openDevice(context, context.db, id)
  return [state, epoch]
}

/** A sale within one installation. */
async function sold(plant: TestInstallation, deviceId: string, to: string): Promise<void> {
  const { id } = await offer(plant.context, { deviceId, to, ...terms }, officer)
  await answerHere(plant.context, id, true, officer)
  await release(plant.context, id, officer)
  await completeHere(plant.context, id, officer)
}

test('a device goes from its maker to an owner and to the next one within one installation (R6)', async () => {
  await using plant = await testInstallation()
  const { context } = plant
  const maker = await plant.organization('valves')
  await plant.organization('anna')
  await plant.organization('bert')
  const { device, key } = await plant.shipped('V2-1')
  const first = await offer(context, { deviceId: device.id, to: 'anna', ...terms }, officer)
  assert.deepEqual(await stateOf(plant, device.id), ['offered', 0])
  await refuses(release(context, first.id, officer), 'conflict', 'ownershipTransferState')
  await answerHere(context, first.id, true, officer)
  assert.equal((await release(context, first.id, officer)).state, 'released')
  assert.deepEqual(await stateOf(plant, device.id), ['offered', 0])
  await completeHere(context, first.id, officer)
  assert.deepEqual(await stateOf(plant, device.id), ['claimed', 1])

  await plant.use(device.id, 'operational-1')
  await sold(plant, device.id, 'bert')
  assert.deepEqual(await stateOf(plant, device.id), ['claimed', 2])
  assert.deepEqual(plant.revoked, ['operational-1'])
  const standing = await verifyChain(await entriesOf(context, device.id), { makers: [maker.public], device: key.device })
  assert.deepEqual([standing.owner.name, standing.epoch, standing.product.productSerial], ['bert', 2, 'V2-1'])
})

test('an offer is rejected, withdrawn or forgotten, and the device is what it was', async () => {
  await using plant = await testInstallation()
  const { context } = plant
  await plant.organization('valves')
  await plant.organization('anna')
  const { device } = await plant.shipped('V2-1')
  const wanted = { deviceId: device.id, to: 'anna', ...terms }
  const one = await offer(context, wanted, officer)
  await refuses(offer(context, wanted, officer), 'conflict', 'deviceState')
  assert.equal((await answerHere(context, one.id, false, officer)).state, 'rejected')
  assert.deepEqual(await stateOf(plant, device.id), ['shipped', 0])
  const two = await offer(context, wanted, officer)
  await answerHere(context, two.id, true, officer)
  await withdraw(context, two.id, officer)
  await refuses(release(context, two.id, officer), 'conflict', 'ownershipTransferState')
  assert.deepEqual(await stateOf(plant, device.id), ['shipped', 0])
  const three = await offer(context, wanted, officer)
  plant.time.ahead += 2 * DAY
  assert.equal(await expireTransfers(context), 1)
  assert.equal((await openTransfer(context, three.id)).state, 'expired')
  assert.deepEqual(await stateOf(plant, device.id), ['shipped', 0])
  await refuses(answerHere(context, three.id, true, officer), 'conflict', 'ownershipTransferState')
})

test('nobody offers what is stolen, or what is not trusted now', async () => {
  await using plant = await testInstallation()
  const { context } = plant
  await plant.organization('valves')
  await plant.organization('anna')
  const { device } = await plant.shipped('V2-1')
  const wanted = { deviceId: device.id, to: 'anna', ...terms }
  const said = (isSet: boolean) => setFlag(context, device.id, { flag: 'stolen', isSet, actor: officer })
  await said(true)
  await refuses(offer(context, wanted, officer), 'forbidden', 'deviceMissing')
  await said(false)
  await changeState(context, device.id, { act: 'quarantine', actor: officer })
  await refuses(offer(context, wanted, officer), 'conflict', 'deviceState')
})

/** A maker's installation and a buyer's, which know each other's public keys. */
async function two() {
  const makers = await testInstallation()
  const buyers = await testInstallation()
  const valves = await makers.organization('valves')
  const anna = await buyers.organization('anna')
  await makers.organization('anna', anna)
  await buyers.organization('valves', valves)
  return {
    ...{ makers, buyers, valves, anna },
    async [Symbol.asyncDispose]() {
      await makers[Symbol.asyncDispose]()
      await buyers[Symbol.asyncDispose]()
    },
  }
}

test('a device goes to another installation and comes back, with files that go between them', async () => {
  await using between = await two()
  const { makers, buyers } = between
  const bert = await makers.organization('bert')
  await buyers.organization('bert', bert)
  const { device, key } = await makers.shipped('V2-1')
  const { id } = await offer(makers.context, { deviceId: device.id, to: 'anna', ...terms }, officer)
  await refuses(answerHere(makers.context, id, true, officer), 'forbidden', 'ownershipKeyElsewhere')
  const carried = parsePackage(utf8(encodePackage(await packageOf(makers.context, id))))
  const { answer } = await answerElsewhere(buyers.context, carried, true, officer)
  await takeAnswer(makers.context, id, answer, officer)
  assert.equal((await release(makers.context, id, officer)).state, 'completed')
  assert.deepEqual(await stateOf(makers, device.id), ['claimed', 1])
  const released = parsePackage(utf8(encodePackage(await packageOf(makers.context, id))))
  const there = await completeElsewhere(buyers.context, released, officer)
  assert.deepEqual([there.state, there.epoch, there.productSerial, there.assurance], ['claimed', 1, 'V2-1', 2])
  assert.equal((await completeElsewhere(buyers.context, released, officer)).version, there.version, 'once is enough')

  const print = fingerprint(released.certificates[0] as Uint8Array).toHex()
  assert.equal(await bornElsewhere(buyers.context, print), 'V2-1', 'it enrolls there by its birth certificate')

  // the maker cannot dispose of it any more, nor reach what is issued to it there
  await refuses(offer(makers.context, { deviceId: device.id, to: 'bert', ...terms }, officer), 'forbidden', 'ruleRefuses')
  await buyers.use(there.id, 'of-anna')
  const back = await offer(buyers.context, { deviceId: there.id, to: 'bert', ...terms }, officer)
  const offered = parsePackage(utf8(encodePackage(await packageOf(buyers.context, back.id))))
  const { answer: yes } = await answerElsewhere(makers.context, offered, true, officer)
  await takeAnswer(buyers.context, back.id, yes, officer)
  await release(buyers.context, back.id, officer)
  assert.deepEqual([makers.revoked, buyers.revoked], [[], ['of-anna']])
  assert.equal(await bornElsewhere(buyers.context, print), undefined, 'what was sold enrolls there no more')
  const home = await completeElsewhere(makers.context, await packageOf(buyers.context, back.id), officer)
  assert.deepEqual([home.id, home.state, home.epoch], [device.id, 'claimed', 2])
  const { standing } = await openChain(makers.context, home)
  assert.deepEqual([standing?.owner.name, standing?.device], ['bert', key.device])
})

test('what comes from elsewhere is believed of nobody: another maker, another buyer, another device, an older epoch, two buyers', async () => {
  await using between = await two()
  const { makers, buyers, valves, anna } = between
  const { device, key } = await makers.shipped('V2-1')
  const { certificates } = await carriedOf(makers.context, device.id)
  const to = testOwner('anna', anna)
  const entry = await sell(undefined, key.device, { from: valves, to })
  await refuses(
    completeElsewhere(
      buyers.context,
      { chain: [await sell(undefined, key.device, { from: testKey(), to })], certificates },
      officer,
    ),
    'unauthenticated',
    'ownershipMakerUnknown',
  )
  const stranger = await sell(undefined, key.device, { from: valves, to: testOwner('anna') })
  await refuses(
    completeElsewhere(buyers.context, { chain: [stranger], certificates }, officer),
    'forbidden',
    'ownershipKeyElsewhere',
  )
  const other = await makers.shipped('V2-2')
  const foreign = await carriedOf(makers.context, other.device.id)
  await refuses(
    completeElsewhere(buyers.context, { chain: [entry], certificates: foreign.certificates }, officer),
    'badProof',
    'ownershipBirthOther',
  )
  await refuses(completeElsewhere(buyers.context, { chain: [], certificates }, officer), 'malformed', 'ownershipPackage')
  await completeElsewhere(buyers.context, { chain: [entry], certificates }, officer)
  const twice = await sell(undefined, key.device, { from: valves, to })
  await refuses(completeElsewhere(buyers.context, { chain: [twice], certificates }, officer), 'conflict', 'ownershipForked')
})

test('a process that ends at any point of a transfer leaves one owner, and no certificate of the former one', async () => {
  const points: string[] = []
  {
    await using plant = await testInstallation()
    await plant.organization('valves')
    await plant.organization('anna')
    await plant.organization('bert')
    const { device } = await plant.shipped('V2-1')
    await sold(plant, device.id, 'anna')
    plant.fault.reached.length = 0
    await sold(plant, device.id, 'bert')
    points.push(...plant.fault.reached)
  }
  assert.deepEqual(points, ['transfer pending', 'former certificates revoked', 'entry signed', 'entry kept'])
  for (const point of points) {
    await using plant = await testInstallation()
    const { context, fault } = plant
    await plant.organization('valves')
    await plant.organization('anna')
    await plant.organization('bert')
    const { device } = await plant.shipped('V2-1')
    await sold(plant, device.id, 'anna')
    await plant.use(device.id, 'of-anna')
    const { id } = await offer(context, { deviceId: device.id, to: 'bert', ...terms }, officer)
    await answerHere(context, id, true, officer)
    fault.at = point
    await assert.rejects(release(context, id, officer), Killed)
    fault.at = undefined
    const { state } = await openTransfer(context, id)
    assert.equal(state, point === 'entry kept' ? 'released' : 'releasing', 'the state says what comes next')
    assert.deepEqual(await stateOf(plant, device.id), ['transfer-pending', 1], 'nothing of either owner is in use')
    await refuses(withdraw(context, id, officer), 'conflict', 'ownershipTransferState')
    if (state === 'releasing') await release(context, id, officer)
    await completeHere(context, id, officer)
    assert.deepEqual(await stateOf(plant, device.id), ['claimed', 2])
    assert.deepEqual(plant.revoked, ['of-anna'])
    assert.equal((await openChain(context, await openDevice(context, context.db, device.id))).standing?.owner.name, 'bert')
  }
})
