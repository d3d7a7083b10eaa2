/** R15: what a node bore without a network is in the records of devices, once, whatever happens while a log is taken in. @module */
import assert from 'node:assert/strict'
import { describe, test, type TestContext } from 'node:test'
import type { DevicesContext } from '#devices/context.ts'
import { historyOf } from '#devices/history.ts'
import { findDevices, registerDevice } from '#devices/register.ts'
import { stepsToUseKey } from '#devices/keys.ts'
import { productionOf } from '#devices/produced.ts'
import { bindSpeaker, unbindSpeaker } from '#devices/speakers.ts'
import { testModel, testOrganization } from '#devices/testing.ts'
import { peekStatement } from '#orders/messages.ts'
import { allot, endAllotment } from '#orders/allotments.ts'
import { closeOrder, giveUpJob, jobsOf, openOrder } from '#orders/orders.ts'
import { noteSeen, noteShipped } from '#orders/reconcile.ts'
import { noteStranger } from '#orders/sightings.ts'
import { keep } from '#store/batch.ts'
import type { Database } from '#store/database.ts'
import { postgres } from '#store/postgres/index.ts'
import { postgresMissing, startPostgres } from '#store/postgres/testing.ts'
import { fingerprint, parseCertificate } from '#x509/certificate.ts'
import { stepsToSight } from './order-sightings.ts'
import { bear, serialAt, STATION, testMaker, type TestNode } from './orders-testing.ts'

const person = 'person:tester'
const terms = { model: 'acme/press-7', hardwareRevision: 'B' }

/** A maker whose next visit to a point ends there, as a killed server would. */
async function stopped(t: TestContext, database?: Database) {
  const stop: { at: string | undefined } = { at: undefined }
  const reach = (point: string): void => {
    if (point === stop.at) throw new Error(`stopped: ${point}`)
  }
  const maker = await testMaker(t, { faults: { reach }, ...(database && { database }) })
  return { maker, stop }
}

async function pressModel(context: DevicesContext): Promise<{ manufacturerId: string; modelId: string }> {
  const { id: manufacturerId } = await testOrganization({ context }, 'acme', 'manufacturer')
  const { id: modelId } = await testModel({ context }, manufacturerId, 'press-7')
  await bindSpeaker(context, 'acme', person, person)
  return { manufacturerId, modelId }
}

const statesOf = async (context: DevicesContext): Promise<Record<string, string>> =>
  Object.fromEntries((await findDevices(context, {}, { limit: 100 })).map(({ productSerial, state }) => [productSerial, state]))

const waiting = async ({ db }: DevicesContext): Promise<unknown> =>
  (await db.query('SELECT COUNT(*) AS number FROM job_device_due'))[0]?.['number']

/** Three good, one scrapped, one not judged. */
async function produce(node: TestNode): Promise<readonly Uint8Array[]> {
  await node.take((await node.ticket()).ticketText)
  const line = await node.start()
  const born: Uint8Array[] = []
  for (let number = 1; number <= 5; number++) born.push(await bear(line, number))
  for (const number of [1, 2, 3]) await line.passed(serialAt(number), { station: STATION, operator: 'kim' })
  await line.scrap(serialAt(4), 'does not start', { station: STATION })
  await line.stop()
  return born
}

const AFTERWARDS = {
  [serialAt(1)]: 'released',
  [serialAt(2)]: 'released',
  [serialAt(3)]: 'released',
  [serialAt(4)]: 'scrapped',
  [serialAt(5)]: 'born',
}

async function stopAndGoOn(t: TestContext, database?: Database): Promise<void> {
  const { maker, stop } = await stopped(t, database)
  const { orders } = maker
  const { manufacturerId, modelId } = await pressModel(orders)
  await registerDevice(orders, { manufacturerId, modelId, productSerial: serialAt(2) }, person)
  await maker.order('press', terms)
  const node = await maker.node('press')
  const born = await produce(node)
  const [bundle] = await node.export()
  assert.ok(bundle !== undefined)

  stop.at = 'log kept'
  await assert.rejects(maker.import(bundle), /stopped: log kept/)
  assert.deepEqual(await statesOf(orders), { [serialAt(2)]: 'planned' })
  stop.at = 'devices recorded' // the births are kept, the verdicts are not
  await assert.rejects(maker.import(bundle), /stopped: devices recorded/)
  assert.equal((await statesOf(orders))[serialAt(4)], 'born')
  stop.at = undefined
  assert.deepEqual({ ...(await maker.import(bundle)), job: '' }, { ...(await maker.import(bundle)), job: '' })
  assert.deepEqual(await statesOf(orders), AFTERWARDS)
  assert.equal(await waiting(orders), 0)

  const [device] = await findDevices(orders, { productSerial: serialAt(2) }, { limit: 1 })
  assert.ok(device !== undefined)
  const { birth, events } = await historyOf(orders, device.id)
  assert.equal(birth?.job, peekStatement('log-head', bundle.head).job)
  assert.equal(birth.station, STATION)
  assert.equal(birth.assurance, 1) // N0: nothing shows that there is one node
  assert.deepEqual([birth.evidence['order'], birth.evidence['position'], birth.evidence['tier']], ['press', 1, 'N0'])
  const der = born[1] as Uint8Array
  assert.equal(birth.certificateId, `foreign:${fingerprint(der).toHex()}`)
  assert.deepEqual(birth.keyHash, fingerprint(parseCertificate(der).subjectPublicKeyInfo))
  assert.deepEqual(
    events.map(({ act }) => act),
    ['register', 'bear', 'release'],
  )
  assert.deepEqual((await maker.reconcile('press')).alarms, [])
  assert.equal(await noteSeen(orders, 'press', { certificate: der, place: 'plant 1' }, person), 'known')
  const [above] = (await jobsOf(orders, await openOrder(orders, 'press'))).map(({ ticket }) => ticket.authority)
  await noteStranger(orders, [der, ...(above ?? []).map((base64) => Uint8Array.fromBase64(base64))], 'endpoint plant')
  assert.deepEqual((await maker.reconcile('press')).alarms, [], 'a log tells of it')
}

test('R6: an order for a maker’s model is for who speaks for that maker', async (t) => {
  const { maker } = await stopped(t)
  const { orders } = maker
  await pressModel(orders)
  await maker.order('press', terms)
  const node = await maker.node('press')
  const job = await node.ticket({ quota: 1, scrapAllowance: 0 })
  await unbindSpeaker(orders, 'acme', person, person)
  const refused = { code: 'forbidden', reason: 'organizationNotTheirs' }
  await assert.rejects(maker.order('more', terms), refused)
  await assert.rejects((await maker.node('press')).ticket(), refused)
  await assert.rejects(node.challenge(), refused)
  for (const act of [
    () => giveUpJob(orders, 'press', job.id, 'gone', person),
    () => closeOrder(orders, 'press', person),
    () => allot(orders, 'press', { line: 'line' }, person),
    () => endAllotment(orders, 'press', job.id, person),
  ])
    await assert.rejects(act(), refused)
  await maker.order('free', { model: 'Press 8' })
})

describe('R15: what is shipped and seen', () => {
  test('is shipped in the records too, once it is known as good', async (t) => {
    const { maker } = await stopped(t)
    const { orders } = maker
    await pressModel(orders)
    await maker.order('press', terms)
    const node = await maker.node('press')
    await produce(node)
    await noteShipped(orders, 'press', [1, 2, 4].map(serialAt), person) // before anybody knows of them
    assert.deepEqual(await statesOf(orders), {})
    for (const bundle of await node.export()) await maker.import(bundle)
    await maker.reconcile('press')
    const shipped = { [serialAt(1)]: 'shipped', [serialAt(2)]: 'shipped' }
    assert.deepEqual(await statesOf(orders), { ...AFTERWARDS, ...shipped }, 'what was scrapped stays scrapped')
    assert.equal(await noteShipped(orders, 'press', [serialAt(3)], person), 1)
    assert.deepEqual(await statesOf(orders), { ...AFTERWARDS, ...shipped, [serialAt(3)]: 'shipped' })
    assert.equal(await noteShipped(orders, 'press', [serialAt(3)], person), 0)
    const [device] = await findDevices(orders, { productSerial: serialAt(3) }, { limit: 1 })
    const { job } = peekStatement('log-head', (await node.export())[0]?.head ?? '')
    assert.deepEqual(await productionOf(orders, device?.id ?? ''), { order: 'press', job })
  })

  test('is not shipped by the word of somebody at another order', async (t) => {
    const { maker } = await stopped(t)
    const { orders } = maker
    await pressModel(orders)
    await maker.order('press', terms)
    await maker.order('other', { ...terms, serials: { prefix: 'P8-', digits: 4, from: 1, to: 999 } })
    const node = await maker.node('press')
    await produce(node)
    for (const bundle of await node.export()) await maker.import(bundle)
    await noteShipped(orders, 'other', [serialAt(1)], person)
    assert.deepEqual(await statesOf(orders), AFTERWARDS)
  })

  test('is noted by itself once for each place, and two places of one stay are an alarm', async (t) => {
    const { maker } = await stopped(t)
    const { orders } = maker
    await pressModel(orders)
    await maker.order('press', terms)
    const node = await maker.node('press')
    const [born] = await produce(node)
    for (const bundle of await node.export()) await maker.import(bundle)
    const certificateId = `foreign:${fingerprint(born as Uint8Array).toHex()}`
    const see = async (place: string): Promise<number> => {
      const steps = await stepsToSight(orders, { certificateId, place }, 'service:test')
      await keep(orders.db, steps)
      return steps.length
    }
    assert.deepEqual([await see(''), await see(''), await see('endpoint a'), await see('endpoint a')], [2, 0, 2, 0])
    assert.deepEqual((await maker.reconcile('press')).alarms, [], 'a report is from no place')
    assert.equal((await maker.reconcile('press')).seen, 1)
    // another owner's plant: the device began another stay
    const toNextOwner = 'UPDATE device SET epoch = 1, version = version + 1 WHERE product_serial = ?'
    await keep(orders.db, [{ sql: toNextOwner, parameters: [serialAt(1)] }])
    await see('endpoint b')
    assert.deepEqual((await maker.reconcile('press')).alarms, [])
    await see('endpoint c')
    assert.deepEqual(
      (await maker.reconcile('press')).alarms.map(({ kind, subject }) => [kind, subject]),
      [['seenAtTwoPlaces', serialAt(1)]],
    )
    assert.deepEqual(await stepsToSight(orders, { certificateId: 'foreign:0', place: 'endpoint a' }, 'service:test'), [])
  })

  test('a certificate that a node hid shows when its device enrolls', async (t) => {
    const { maker } = await stopped(t)
    const { orders } = maker
    await maker.order('press')
    const node = await maker.node('press')
    const { ticket, ticketText } = await node.ticket()
    await node.take(ticketText)
    const hidden = await node.copy().start()
    const stray = await bear(hidden, 1)
    await hidden.stop()
    const line = await node.start()
    const honest = await bear(line, 2)
    await line.stop()
    await node.close()
    for (const bundle of await node.export()) await maker.import(bundle)
    const above = ticket.authority.map((der) => Uint8Array.fromBase64(der))
    for (const der of [stray, honest, stray]) await noteStranger(orders, [der, ...above], 'endpoint plant')
    await noteStranger(orders, [stray], 'endpoint plant') // nobody says who issued it
    const alarms = async () => (await maker.reconcile('press')).alarms.map(({ kind, subject }) => [kind, subject])
    assert.deepEqual(await alarms(), [['seenInNoLog', fingerprint(stray).toHex()]])
    const [noted] = await orders.db.query("SELECT COUNT(*) AS number FROM audit_entry WHERE act = 'order.seen'")
    assert.equal(noted?.['number'], 1, 'not each time')
  })
})

describe('R15: a log that is taken in', () => {
  test('makes one record of each device, also when the server ends in between and the bundle comes again', (t) => stopAndGoOn(t))

  test('the same on PostgreSQL', { skip: postgresMissing() }, async (t) => {
    const server = await startPostgres({ durable: false })
    try {
      await stopAndGoOn(t, postgres({ url: await server.createDatabase() }))
    } finally {
      t.after(() => server.stop()) // after the maker's own end, which closes the database
    }
  })

  test('leaves an alarm where there can be no record, and records the others', async (t) => {
    const { maker } = await stopped(t)
    const { orders } = maker
    const { manufacturerId, modelId } = await pressModel(orders)
    const { id: otherModel } = await testModel({ context: orders }, manufacturerId, 'press-8')
    const other = await registerDevice(orders, { manufacturerId, modelId, productSerial: 'OTHER' }, person)
    await registerDevice(orders, { manufacturerId, modelId: otherModel, productSerial: serialAt(1) }, person)
    await maker.order('press', terms)
    const node = await maker.node('press')
    const born = await produce(node)
    const keyHash = fingerprint(parseCertificate(born[1] as Uint8Array).subjectPublicKeyInfo)
    await keep(orders.db, stepsToUseKey(orders, other, { keyHash, purpose: 'idevid', origin: 'software' }))
    const [bundle] = await node.export()
    assert.ok(bundle !== undefined)
    const taken = await maker.import(bundle)
    assert.deepEqual([taken.births, taken.alarms], [5, 2])
    const { [serialAt(2)]: _, ...recorded } = AFTERWARDS
    assert.deepEqual(await statesOf(orders), { ...recorded, OTHER: 'planned', [serialAt(1)]: 'planned' })
    const { alarms, agrees } = await maker.reconcile('press')
    assert.equal(agrees, false)
    assert.deepEqual(alarms.map(({ kind, facts }) => `${kind} ${facts['productSerial']} ${facts['reason']}`).toSorted(), [
      `deviceNotRecorded ${serialAt(1)} birthModelOther`,
      `deviceNotRecorded ${serialAt(2)} deviceKeyTaken`,
    ])
    assert.equal(await waiting(orders), 0)
  })

  test('waits for the model to be known, and is recorded at the next reconciliation', async (t) => {
    const { maker } = await stopped(t)
    const { orders } = maker
    await maker.order('press', terms)
    const node = await maker.node('press')
    await produce(node)
    for (const bundle of await node.export()) assert.equal((await maker.import(bundle)).alarms, 0)
    assert.equal(await waiting(orders), 9)
    await pressModel(orders)
    assert.equal((await maker.reconcile('press')).alarmCount, 0)
    assert.deepEqual(await statesOf(orders), AFTERWARDS)
  })
})
