import assert from 'node:assert/strict'
import { test } from 'node:test'
import { moveDevice, stayDevice } from './ownership/moves.ts'
import { setPartyKey } from './ownership/parties.ts'
import { testInstallation } from './ownership/testing.ts'
import { answerHere, completeHere, offer, offersOfSeller, openTransfer, release, withdraw } from './ownership/transfers.ts'
import { bindSpeaker, checkSpeaks, speakersOf, unbindSpeaker } from './speakers.ts'
import { officer, testArea, testDevices, testOrganization } from './testing.ts'

const chief = 'person:ada'
const refuses = (work: Promise<unknown>): Promise<void> =>
  assert.rejects(work, { code: 'forbidden', reason: 'organizationNotTheirs' })

test('whoever records an organization speaks for it, others once they are bound, and nobody once they are not', async () => {
  await using devices = await testDevices()
  const { context } = devices
  const acme = await testOrganization(devices, 'acme')
  const speaks = (who: string) => checkSpeaks(context.db, acme, who)
  await speaks(officer)
  await refuses(speaks('person:otto'))
  await bindSpeaker(context, 'acme', 'person:otto', chief)
  await bindSpeaker(context, 'acme', 'person:otto', chief)
  await speaks('person:otto')
  await unbindSpeaker(context, 'acme', officer, chief)
  await refuses(speaks(officer))
  assert.deepEqual(
    (await speakersOf(context, 'acme'))?.map(({ actor }) => actor),
    ['person:otto'],
  )
  await unbindSpeaker(context, 'acme', 'person:otto', chief)
  await refuses(speaks('person:otto'))
  assert.deepEqual(await speakersOf(context, 'acme'), [], 'with nobody left it is nobody’s, not everybody’s')
  const acts = await context.db.query("SELECT act, actor FROM audit_entry WHERE act LIKE 'organization.%bind' ORDER BY id")
  assert.equal(acts.length, 4)
  await assert.rejects(bindSpeaker(context, 'nobody', officer, chief), { reason: 'organizationUnknown' })
})

test('an organization from before there were bindings is everybody’s with the role, until the first is bound', async () => {
  await using devices = await testDevices()
  const { context } = devices
  const acme = await testOrganization(devices, 'acme')
  await context.db.transaction(async (tx) => {
    await tx.query("UPDATE organization SET speakers = 'anyone'") // as the migration leaves it
    await tx.query('DELETE FROM organization_speaker')
  })
  await checkSpeaks(context.db, acme, 'person:otto')
  assert.equal(await speakersOf(context, 'acme'), undefined)
  await bindSpeaker(context, 'acme', officer, chief)
  await refuses(checkSpeaks(context.db, acme, 'person:otto'))
})

test('R6: for each step of a sale somebody has to speak for the one whose step it is', async () => {
  await using plant = await testInstallation()
  const { context } = plant
  await plant.organization('valves')
  await plant.organization('anna')
  const [seller, buyer] = ['person:sam', 'person:ann']
  await bindSpeaker(context, 'valves', seller, chief)
  await bindSpeaker(context, 'anna', buyer, chief)
  for (const name of ['valves', 'anna']) await unbindSpeaker(context, name, officer, chief)
  const { device } = await plant.shipped('V2-1')
  const wanted = { deviceId: device.id, to: 'anna', terms: '', validSeconds: 3600 }
  await refuses(offer(context, wanted, buyer))
  const { id } = await offer(context, wanted, seller)
  await refuses(answerHere(context, id, true, seller))
  await refuses(withdraw(context, id, buyer))
  await answerHere(context, id, true, buyer)
  await refuses(release(context, id, buyer))
  assert.equal((await openTransfer(context, id)).state, 'accepted')
  await release(context, id, seller)
  await refuses(completeHere(context, id, seller))
  await completeHere(context, id, buyer)
  await testArea(
    plant,
    (await context.db.query<{ id: string }>("SELECT id FROM organization WHERE name = 'anna'"))[0]?.id ?? '',
    'hall',
  )
  await refuses(moveDevice(context, { deviceId: device.id, area: 'hall' }, seller))
  await refuses(stayDevice(context, device.id, seller))
  await refuses(setPartyKey(context, 'anna', { label: 'valves' }, seller))
})

test('what an organization offered of late is counted, whoever it is that offers', async () => {
  await using plant = await testInstallation()
  const { context } = plant
  await plant.organization('valves')
  await plant.organization('anna')
  const [one, two] = [await plant.shipped('V2-1'), await plant.shipped('V2-2')]
  const wanted = { deviceId: one.device.id, to: 'anna', terms: '', validSeconds: 3600 }
  assert.deepEqual(await offersOfSeller(context, two.device.id, 60), { seller: 'valves', offered: 0 })
  await withdraw(context, (await offer(context, wanted, officer)).id, officer)
  await offer(context, wanted, officer)
  assert.deepEqual(await offersOfSeller(context, two.device.id, 60), { seller: 'valves', offered: 2 })
  plant.time.ahead += 61_000
  assert.equal((await offersOfSeller(context, two.device.id, 60)).offered, 0)
})
