/** Devices and the CA together: births over enrollment are recorded, and who is cut off gets no certificate. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { person, testCA, testCAOn, type TestCA, testKey } from '#ca/testing.ts'
import { setFlag } from '#devices/change.ts'
import { tellDue } from '#devices/due.ts'
import { historyOf } from '#devices/history.ts'
import { findDevices } from '#devices/register.ts'
import { postgres } from '#store/postgres/index.ts'
import { postgresMissing, startPostgres } from '#store/postgres/testing.ts'
import { certificateStates } from './compose.ts'
import { type DevicePlant, devicePlant } from './device-testing.ts'

/** Of the device's operational certificates, oldest first. */
const standings = async ({ devices, device }: DevicePlant, serial: string): Promise<readonly string[]> =>
  (await historyOf(devices, (await device(serial)).id)).certificates
    .filter(({ role }) => role === 'operational')
    .map(({ standing }) => standing)

test('R2: a birth over enrollment is recorded once, with the certificate', async () => {
  await using ca = await testCA()
  const all = await devicePlant(ca)
  const key = testKey()
  const answer = await all.enroll(all.births, 'A-1', { key })
  const born = await all.device('A-1')
  assert.deepEqual([born.state, born.assurance, born.epoch], ['born', 2, 0])
  const { birth, keys, certificates } = await historyOf(all.devices, born.id)
  assert.deepEqual([birth?.certificateId, birth?.variant, birth?.station], [answer.certificateId, 'software', 'person:officer'])
  assert.deepEqual([keys.length, certificates.length], [1, 1])
  const entry = (await ca.entries()).find(({ act }) => act === 'device.bear')
  assert.equal(entry?.outcome, 'done')

  await assert.rejects(all.enroll(all.births, 'A-1', { key: testKey() }), { code: 'conflict' })
  await assert.rejects(all.enroll(all.births, 'A-2', { key }), { code: 'policyRefused', reason: 'keyOfAnotherProduct' })
  assert.equal((await findDevices(all.devices, {}, { limit: 10 })).length, 1, 'what was refused left nothing')
})

test('R15: where only planned devices are born, another serial gets no certificate', async () => {
  await using ca = await testCA()
  const all = await devicePlant(ca, 'refuse')
  await all.enroll(all.births, 'A-1')
  assert.equal((await all.device('A-1')).state, 'born')
  await assert.rejects(all.enroll(all.births, 'A-2'), {
    code: 'forbidden',
    reason: 'deviceNotPlanned',
    facts: { rule: 'birth.issue' },
  })
  const refusal = (await ca.entries()).findLast(({ outcome }) => outcome === 'refused')
  assert.deepEqual([refusal?.act, refusal?.reason], ['certificate.enroll', 'deviceNotPlanned'])
})

async function fromAreaToArea(ca: TestCA): Promise<void> {
  const all = await devicePlant(ca)
  const idevid = await all.enroll(all.births, 'A-1')
  await assert.rejects(all.enroll(all.paint, 'A-1', { shown: idevid, key: testKey() }), { reason: 'deviceNotClaimed' })
  await all.act('A-1', 'release', 'ship', 'offer', 'claim')
  const own = testKey()
  const first = await all.enroll(all.paint, 'A-1', { shown: idevid, key: own })
  assert.deepEqual([(await all.device('A-1')).state, await standings(all, 'A-1')], ['onboarding', ['issued']])
  await assert.rejects(all.enroll(all.press, 'A-1', { shown: first, key: own }), { reason: 'deviceOtherArea' })

  const second = await all.enroll(all.paint, 'A-1', { shown: first, key: testKey() })
  assert.deepEqual([(await all.device('A-1')).state, await standings(all, 'A-1')], ['active', ['current', 'issued']])
  await all.enroll(all.paint, 'A-1', { shown: second, key: testKey() })
  assert.deepEqual(await standings(all, 'A-1'), ['former', 'current', 'issued'])
  await assert.rejects(all.enroll(all.paint, 'A-1', { shown: first, key: own }), { reason: 'certificateReplaced' })

  await all.act('A-1', 'change-area')
  const moved = await all.enroll(all.press, 'A-1', { shown: second, key: testKey() })
  assert.equal((await all.device('A-1')).state, 'area-change', 'until the new one is seen')
  await all.enroll(all.press, 'A-1', { shown: moved, key: testKey() })
  const there = await all.device('A-1')
  assert.deepEqual([there.state, there.areaId, there.nextAreaId], ['active', all.areas[1], undefined])
  await tellDue(all.devices, certificateStates(ca.context))
  await assert.rejects(all.enroll(all.press, 'A-1', { shown: second, key: testKey() }), { reason: 'certificateRevoked' })
}

test('R6: from birth to a certificate of the area, and on to the next area', async () => {
  await using ca = await testCA()
  await fromAreaToArea(ca)
})

test('R6: the same on PostgreSQL', { skip: postgresMissing() }, async (t) => {
  const server = await startPostgres({ durable: false })
  t.after(() => server.stop())
  await using ca = await testCAOn(postgres({ url: await server.createDatabase() }))
  await fromAreaToArea(ca)
})

test('R33: who is suspended, quarantined, lost or a clone gets nothing, until an officer says so', async () => {
  await using ca = await testCA()
  const all = await devicePlant(ca)
  const idevid = await all.enroll(all.births, 'A-1')
  await all.act('A-1', 'release', 'ship', 'offer', 'claim')
  const own = await all.enroll(all.paint, 'A-1', { shown: idevid, key: testKey() })
  const ask = (): Promise<unknown> => all.enroll(all.paint, 'A-1', { shown: own, key: testKey() })
  await ask()
  const states = certificateStates(ca.context)

  for (const [away, back] of [
    ['suspend', 'resume'],
    ['quarantine', 'clear'],
  ] as const) {
    await all.act('A-1', away)
    await assert.rejects(ask(), { code: 'forbidden', reason: 'deviceCutOff' })
    await tellDue(all.devices, states)
    await assert.rejects(ask(), { code: 'forbidden', reason: 'certificateHeld' }, 'the CA knows as well')
    await assert.rejects(all.enroll(all.paint, 'A-1', { shown: idevid, key: testKey() }), { reason: 'deviceCutOff' })
    await all.act('A-1', back)
    await tellDue(all.devices, states)
    await ask()
  }
  const { id } = await all.device('A-1')
  for (const [flag, reason] of [
    ['clone', 'deviceCloned'],
    ['lost', 'deviceMissing'],
  ] as const) {
    await setFlag(all.devices, id, { flag, isSet: true, actor: person })
    await assert.rejects(ask(), { code: 'forbidden', reason })
    await setFlag(all.devices, id, { flag, isSet: false, actor: person })
  }
  await ask()

  await all.act('A-1', 'transfer', 'complete')
  await assert.rejects(ask(), { code: 'forbidden', reason: 'certificateReplaced' }, 'of the epoch before')
  await all.enroll(all.paint, 'A-1', { shown: idevid, key: testKey() })
  await all.act('A-1', 'decommission')
  await assert.rejects(all.enroll(all.paint, 'A-1', { shown: idevid, key: testKey() }), { reason: 'deviceCutOff' })
  await tellDue(all.devices, states)
  await assert.rejects(all.enroll(all.paint, 'A-1', { shown: idevid, key: testKey() }), { reason: 'certificateRevoked' })
})

test('who changes a device while its certificate is signed sees all that it ever gets', async () => {
  await using ca = await testCA()
  const all = await devicePlant(ca)
  const idevid = await all.enroll(all.births, 'A-1')
  await all.act('A-1', 'release', 'ship', 'offer', 'claim')
  const own = await all.enroll(all.paint, 'A-1', { shown: idevid, key: testKey() })
  await all.enroll(all.paint, 'A-1', { shown: own, key: testKey() })
  const steps = await all.rules.authorize({
    ...{ endpointId: all.paint.id, actor: 'certificate:1', certificateId: own.certificateId, productSerial: 'A-1' },
  })
  await all.act('A-1', 'suspend')
  const kept = ca.context.db.batch(
    steps({ certificateId: 'late', keyHash: new Uint8Array(32), issuedAt: 0 }).map(({ sql, parameters, expects }) => ({
      ...{ sql, parameters },
      ...(expects && { expects }),
    })),
  )
  assert.equal((await kept).kept, false)
})

test('a device that is not recorded passes where the endpoint says so, and where it says nothing', async () => {
  await using ca = await testCA()
  const all = await devicePlant(ca)
  await assert.rejects(all.enroll(all.paint, 'B-1'), { code: 'forbidden', reason: 'deviceNotKnown' })
  await all.enroll(all.press, 'B-1')
  await all.rules.setRule(all.paint.id, undefined, person)
  await all.enroll(all.paint, 'B-2')
  assert.deepEqual(await findDevices(all.devices, {}, { limit: 10 }), [])
})

test('R33: a certificate that no record of the device has opens no area, whoever owns it since', async () => {
  await using ca = await testCA()
  const all = await devicePlant(ca)
  const idevid = await all.enroll(all.births, 'A-1')
  await all.act('A-1', 'release', 'ship', 'offer', 'claim')
  await all.rules.setRule(all.paint.id, undefined, person)
  const loose = await all.enroll(all.paint, 'A-1', { shown: idevid, key: testKey() })
  await all.rules.setRule(all.paint.id, { kind: 'area', areaId: all.areas[0], unknown: 'refuse' }, person)
  await all.act('A-1', 'transfer', 'complete')
  await assert.rejects(all.enroll(all.paint, 'A-1', { shown: loose, key: testKey() }), {
    ...{ code: 'forbidden', reason: 'deviceCertificateUnknown' },
  })
  assert.deepEqual(await standings(all, 'A-1'), [])
  await all.enroll(all.paint, 'A-1', { shown: idevid, key: testKey() })
})

test('where devices are asked for, a certificate without a serial is nobody’s', async () => {
  await using ca = await testCA()
  const all = await devicePlant(ca)
  const ask = (endpointId: string): Promise<unknown> =>
    all.rules.authorize({ endpointId, actor: 'secret:1', certificateId: undefined, productSerial: undefined })
  await assert.rejects(ask(all.paint.id), { code: 'forbidden', reason: 'deviceNotKnown' })
  await assert.rejects(ask(all.births.id), { code: 'forbidden', reason: 'deviceNotPlanned' })
  await ask(all.press.id)
  await all.rules.setRule(all.paint.id, undefined, person)
  await ask(all.paint.id)
})
