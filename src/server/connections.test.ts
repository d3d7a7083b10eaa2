/** Devices let in by their certificates, and cut off when those stop being usable. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { revokeCertificate } from '#ca/certificates.ts'
import { type IssuedAnswer } from '#ca/enrollment.ts'
import { person, testCA, type TestCA, testKey } from '#ca/testing.ts'
import { setAreaState } from '#devices/areas.ts'
import { setFlag } from '#devices/change.ts'
import { deviceChanges } from '#devices/changes.ts'
import { createConduit, listConduits, removeConduit } from '#devices/conduits.ts'
import { type ConnectionQuestion, deviceConnections } from '#devices/connections.ts'
import { historyOf } from '#devices/history.ts'
import { tellDue } from '#devices/due.ts'
import { certificateFacts, certificateStates } from './compose.ts'
import { type DevicePlant, devicePlant } from './device-testing.ts'

const mqtt: ConnectionQuestion = { protocol: 'mqtt', name: 'A-1' }

async function plant(ca: TestCA) {
  const all = await devicePlant(ca)
  const idevid = await all.enroll(all.births, 'A-1')
  await all.act('A-1', 'release', 'ship', 'offer', 'claim')
  const own = await all.enroll(all.paint, 'A-1', { shown: idevid, key: testKey() })
  const changes = deviceChanges(all.devices)
  const connections = deviceConnections({
    ...all.devices,
    changes,
    certificate: (der) => certificateFacts(ca, der),
    refreshIssuers: () => ca.authorities.refresh(),
  })
  /** Connects, and says how it went on. */
  async function connect(answer: IssuedAnswer = own, question = mqtt) {
    const chain = [answer.certificate]
    const device = await connections.admit(chain, question)
    const ended: string[] = []
    connections.hold(device, chain, (reason) => ended.push(reason))
    return { device, ended }
  }
  return { ...all, idevid, own, changes, connections, connect }
}

const standing = async ({ devices, device }: DevicePlant): Promise<readonly string[]> =>
  (await historyOf(devices, (await device('A-1')).id)).certificates
    .filter(({ role }) => role === 'operational')
    .map((one) => one.standing)

test('R7: a device is let in by the certificate of its area, and its first connection shows that it has it', async () => {
  await using ca = await testCA()
  const all = await plant(ca)
  assert.equal((await all.device('A-1')).state, 'onboarding')
  const { device } = await all.connect()
  assert.deepEqual(
    [device.name, device.ownerName, device.areaName, device.epoch, device.role, device.assurance],
    ['A-1', 'ann', 'paint', 1, 'operational', 2],
  )
  assert.deepEqual([(await all.device('A-1')).state, await standing(all)], ['active', ['current']])
  await all.connect()
  assert.equal(all.connections.held(), 2)
})

test('R7: whatever no rule allows is refused, and the audit log has it once', async () => {
  await using ca = await testCA()
  const all = await plant(ca)
  const admit = (answer: IssuedAnswer, question: Partial<ConnectionQuestion> = {}): Promise<unknown> =>
    all.connections.admit([answer.certificate], { ...mqtt, ...question })
  await assert.rejects(all.connections.admit([], mqtt), { code: 'unauthenticated', reason: 'deviceCertificateMissing' })
  await assert.rejects(all.connections.admit([new Uint8Array([0x30, 0])], mqtt), { code: 'malformed' })
  const facts = { rule: 'connect', missing: 'name-matches', name: 'paint', protocol: 'mqtt' }
  await assert.rejects(admit(all.own, { name: 'A-2' }), { reason: 'deviceNameOther', facts })
  await assert.rejects(admit(all.idevid), { code: 'forbidden', reason: 'certificateRole' })
  const altered = Uint8Array.from(all.own.certificate)
  altered[altered.length - 1] = (altered.at(-1) ?? 0) ^ 1
  await assert.rejects(all.connections.admit([altered], mqtt), { code: 'unauthenticated', reason: 'certificateUnknown' })
  const stranger = await all.enroll(all.press, 'B-1')
  await assert.rejects(admit(stranger, { name: 'B-1' }), { reason: 'deviceCertificateUnknown' })
  await assert.rejects(admit(stranger, { name: 'B-1' }), { reason: 'deviceCertificateUnknown' })
  const refused = (await ca.entries()).filter(({ act, outcome }) => act === 'device.connect' && outcome === 'refused')
  assert.deepEqual(
    refused.map(({ reason }) => reason ?? '').toSorted((a, b) => (a < b ? -1 : 1)),
    [...['certificateRole', 'certificateUnknown', 'deviceCertificateUnknown', 'deviceNameOther', 'notDER']],
  )
  assert.equal((await all.device('A-1')).state, 'onboarding', 'nobody was let in')
  await setAreaState(all.devices, all.areas[0], 'disabled', person)
  await assert.rejects(admit(all.own), { reason: 'areaDisabled' })
})

test('R12: an area that is closed is not come by with a birth certificate', async () => {
  await using ca = await testCA()
  const all = await plant(ca)
  await all.connect()
  const ddi: ConnectionQuestion = { protocol: 'ddi', name: 'A-1', roles: ['operational', 'birth'] }
  const { device } = await all.connect(all.idevid, ddi)
  assert.deepEqual([device.role, device.areaId, device.areaName], ['birth', undefined, undefined])
  await setAreaState(all.devices, all.areas[0], 'disabled', person)
  for (const shown of [all.own, all.idevid]) await assert.rejects(all.connect(shown, ddi), { reason: 'areaDisabled' })
})

/** Each by what a person or the world does, and the reason that the device's connection is told. */
const ends: readonly (readonly [string, string, (all: Awaited<ReturnType<typeof plant>>, ca: TestCA) => Promise<unknown>])[] = [
  ['revoked', 'certificateRevoked', (all, ca) => revokeCertificate(ca.context, all.own.certificateId, 'keyCompromise', person)],
  ['suspended', 'deviceNotInUse', (all) => all.act('A-1', 'suspend')],
  ['quarantined', 'deviceNotInUse', (all) => all.act('A-1', 'quarantine')],
  ['given away', 'deviceNotInUse', (all) => all.act('A-1', 'transfer')],
  ['decommissioned', 'certificateReplaced', (all) => all.act('A-1', 'decommission')],
  [
    'a clone',
    'deviceCloned',
    async (all) => setFlag(all.devices, (await all.device('A-1')).id, { flag: 'clone', isSet: true, actor: person }),
  ],
  [
    'lost',
    'deviceMissing',
    async (all) => setFlag(all.devices, (await all.device('A-1')).id, { flag: 'lost', isSet: true, actor: person }),
  ],
  ['in an area that is disabled', 'areaDisabled', (all) => setAreaState(all.devices, all.areas[0], 'disabled', person)],
  [
    'moved to another area',
    'certificateReplaced',
    async (all) => {
      await all.act('A-1', 'change-area')
      const next = await all.enroll(all.press, 'A-1', { shown: all.own, key: testKey() })
      const { device, ended } = await all.connect(next)
      assert.deepEqual([device.areaName, ended], ['press', []])
    },
  ],
  [
    'renewed, once the new certificate is seen',
    'certificateReplaced',
    async (all) => {
      const next = await all.enroll(all.paint, 'A-1', { shown: all.own, key: testKey() })
      await all.changes.runOnce()
      await all.connect(next)
    },
  ],
  [
    'of an authority that is revoked',
    'issuerNotEnabled',
    async (_, ca) => {
      const { certificate } = ca.authorities.byAddress('line1')
      const [row] = await ca.context.db.query('SELECT id FROM certificate WHERE der = ?', certificate.der)
      await revokeCertificate(ca.context, row?.['id'] as string, 'cACompromise', person)
    },
  ],
]

for (const [what, reason, work] of ends) {
  test(`R33: a connection ends when its device is ${what}`, async () => {
    await using ca = await testCA()
    const all = await plant(ca)
    const { ended } = await all.connect()
    await all.changes.runOnce()
    assert.deepEqual(ended, [])
    await work(all, ca)
    await all.changes.runOnce()
    assert.deepEqual(ended, [reason])
    await all.changes.runOnce()
    assert.equal(ended.length, 1, 'told once')
  })
}

test('a certificate that ends ends its connection, and a change that was read in between is held against it', async () => {
  await using ca = await testCA()
  const all = await plant(ca)
  const { ended } = await all.connect()
  await all.changes.runOnce()

  const chain = [all.own.certificate]
  const device = await all.connections.admit(chain, mqtt)
  await all.act('A-1', 'suspend')
  await all.changes.runOnce()
  assert.deepEqual(ended, ['deviceNotInUse'])
  const late = await new Promise((resolve) => all.connections.hold(device, chain, resolve))
  assert.equal(late, 'deviceNotInUse')

  await all.act('A-1', 'resume')
  await tellDue(all.devices, certificateStates(ca.context))
  const again = await all.connect()
  ca.advance(400 * 86_400)
  await all.connections.sweep()
  assert.deepEqual(again.ended, ['certificateExpired'])
  assert.equal(all.connections.held(), 0)
})

test('conduits join areas of one owner, and say which topics', async () => {
  await using ca = await testCA()
  const { devices, areas } = await devicePlant(ca)
  const [fromAreaId, toAreaId] = areas
  for (const topics of ['#', '+/cmd/#', '+/up/x', '+/down/#/x', 'A-1/evt/\u0000', '+/down/'])
    await assert.rejects(createConduit(devices, { fromAreaId, toAreaId, topics }, person), { reason: 'conduitTopics' }, topics)
  const conduit = await createConduit(devices, { fromAreaId, toAreaId, topics: '+/down/heat/#' }, person)
  await assert.rejects(createConduit(devices, { fromAreaId, toAreaId, topics: '+/down/heat/#' }, person), {
    reason: 'conduitThere',
  })
  const [only] = await listConduits(devices.db, devices.organizationId, toAreaId)
  assert.deepEqual([only?.id, only?.ownerName, only?.fromName, only?.toName], [conduit.id, 'ann', 'paint', 'press'])
  await removeConduit(devices, conduit.id, person)
  await assert.rejects(removeConduit(devices, conduit.id, person), { reason: 'conduitUnknown' })
})

test('an area has no more conduits than its devices’ topics can be held against, wherever they come from', async () => {
  await using ca = await testCA()
  const { devices, areas } = await devicePlant(ca)
  const [fromAreaId, toAreaId] = areas
  for (let at = 0; at < 200; at++)
    await createConduit(devices, { fromAreaId: toAreaId, toAreaId, topics: `A-${at}/evt/#` }, person)
  await assert.rejects(createConduit(devices, { fromAreaId, toAreaId, topics: '+/down/heat' }, person), {
    reason: 'conduitsTooMany',
    facts: { name: 'press', limit: 200 },
  })
})
