/** R15: births at the server's own lines count against their order: never one more, however many ask, and each once. @module */
import assert from 'node:assert/strict'
import { describe, test, type TestContext } from 'node:test'
import { testKey, testRequest } from '#ca/testing.ts'
import { createEndpoint } from '#ca/endpoint.ts'
import { bear } from '#devices/birth/births.ts'
import { changeState } from '#devices/change.ts'
import { historyOf } from '#devices/history.ts'
import { findDevices } from '#devices/register.ts'
import { bindSpeaker } from '#devices/speakers.ts'
import { allot, endAllotment, judge } from '#orders/allotments.ts'
import { closeOrder, type OrdersContext } from '#orders/orders.ts'
import { noteSeen, noteShipped, reconcile } from '#orders/reconcile.ts'
import { keep } from '#store/batch.ts'
import type { Database } from '#store/database.ts'
import { postgres } from '#store/postgres/index.ts'
import { postgresMissing, startPostgres } from '#store/postgres/testing.ts'
import { type Factory, makeFactory, orderPumps } from './births-testing.ts'
import { stepsToSight } from './order-sightings.ts'

const STATION = 'service:station-1'
const person = 'person:tester'

interface Plant extends Factory {
  readonly orders: OrdersContext
}

async function plantWith(
  t: TestContext,
  terms: { quantity: number; scrapAllowance: number },
  database?: Database,
): Promise<Plant> {
  const factory = await makeFactory(database && { database })
  t.after(() => factory[Symbol.asyncDispose]())
  await bindSpeaker(factory.births, 'acme', person, person)
  return { ...factory, orders: await orderPumps(factory, terms) }
}

const serialAt = (number: number): string => `P-${String(number).padStart(4, '0')}`

async function bearAt({ births }: Plant, number: number, key = testKey()) {
  const productSerial = serialAt(number)
  const { der: request } = await testRequest({ subject: [{ type: 'serialNumber', value: productSerial }], key })
  return bear(births, { line: 'line', productSerial, evidence: { type: 'software', request } }, STATION)
}

async function playWhole(t: TestContext, database?: Database): Promise<void> {
  const plant = await plantWith(t, { quantity: 3, scrapAllowance: 1 }, database)
  const { orders, births } = plant
  await assert.rejects(bearAt(plant, 1), { code: 'policyRefused', reason: 'birthNotOrdered' })
  const { id, serials } = await allot(orders, 'pumps', { line: 'line' }, person)
  assert.deepEqual([serials.from, serials.to], [1, 4])
  await assert.rejects(bearAt(plant, 5), { code: 'policyRefused', reason: 'serialOutsideBlock' })

  // twelve at once for three places: three are born, whoever they are, and the others have left nothing
  const asked = [1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4]
  const outcomes = await Promise.allSettled(asked.map((number) => bearAt(plant, number)))
  const born = outcomes.filter(({ status }) => status === 'fulfilled').length
  assert.equal(born, 3)
  const devices = await findDevices(births, {}, { limit: 100 })
  assert.equal(devices.length, 3)
  const [first] = devices
  assert.ok(first !== undefined)
  const { birth } = await historyOf(births, first.id)
  assert.deepEqual([birth?.job, birth?.evidence['order']], [id, 'pumps'])

  // scrap gives one more, with the serial number that nobody has; and then nothing does
  await judge(orders, 'pumps', { productSerial: first.productSerial, verdict: 'good' }, person)
  await assert.rejects(judge(orders, 'pumps', { productSerial: first.productSerial, verdict: 'good' }, person), {
    code: 'conflict',
    reason: 'judgedAlready',
  })
  await judge(orders, 'pumps', { productSerial: first.productSerial, verdict: 'scrap', reason: 'broke' }, person)
  await assert.rejects(judge(orders, 'pumps', { productSerial: first.productSerial, verdict: 'good' }, person), {
    code: 'conflict',
  })
  const used = new Set(devices.map(({ productSerial }) => productSerial))
  const free = [1, 2, 3, 4].find((number) => !used.has(serialAt(number))) as number
  await bearAt(plant, free)
  const others = (await findDevices(births, {}, { limit: 100 })).filter(({ state }) => state === 'born')
  for (const { productSerial } of others) await judge(orders, 'pumps', { productSerial, verdict: 'good' }, person)
  assert.deepEqual((await findDevices(births, {}, { limit: 100 })).map(({ state }) => state).toSorted(), [
    'released',
    'released',
    'released',
    'scrapped',
  ])
  await assert.rejects(bearAt(plant, 1), { code: /quotaExceeded|conflict/ })
  await assert.rejects(closeOrder(orders, 'pumps', person), { code: 'conflict', reason: 'orderHasAllotments' })
  await endAllotment(orders, 'pumps', id, person)
  await assert.rejects(bearAt(plant, 4), { code: /conflict|policyRefused/ })
  await noteShipped(
    orders,
    'pumps',
    others.map(({ productSerial }) => productSerial),
    person,
  )
  assert.deepEqual((await findDevices(births, {}, { limit: 100 })).map(({ state }) => state).toSorted(), [
    'scrapped',
    'shipped',
    'shipped',
    'shipped',
  ])
  const { birth: shipped1 } = await historyOf(births, others[0]?.id ?? '')
  const shown = { certificateId: shipped1?.certificateId ?? '', place: 'endpoint plant' }
  for (const steps of [2, 0]) {
    const sighted = await stepsToSight(births, shown, STATION)
    assert.equal(sighted.length, steps)
    await keep(births.db, sighted)
  }
  const report = await reconcile(orders, 'pumps', person)
  const { issued, good, scrap, unjudged, burned, shipped, seen, alarms, agrees, room } = report
  assert.deepEqual(
    { issued, good, scrap, unjudged, burned, shipped, seen, alarms, agrees, room },
    {
      ...{ issued: 4, good: 3, scrap: 1, unjudged: 0, burned: 0, shipped: 3, seen: 1, alarms: [], agrees: true },
      room: { quota: 0, scrap: 0 },
    },
  )
  await closeOrder(orders, 'pumps', person)
}

describe('births at a line that bears only what is ordered', () => {
  test('never one more than quota and scrap allowance, and the numbers agree', (t) => playWhole(t))

  test('the same on PostgreSQL', { skip: postgresMissing() }, async (t) => {
    const server = await startPostgres({ durable: false })
    try {
      await playWhole(t, postgres({ url: await server.createDatabase() }))
    } finally {
      t.after(() => server.stop())
    }
  })

  test('the same request counts once, also where the answer was not heard', async (t) => {
    const plant = await plantWith(t, { quantity: 2, scrapAllowance: 0 })
    await allot(plant.orders, 'pumps', { line: 'line' }, person)
    const productSerial = serialAt(1)
    const { der: request } = await testRequest({ subject: [{ type: 'serialNumber', value: productSerial }], key: testKey() })
    const once = () => bear(plant.births, { line: 'line', productSerial, evidence: { type: 'software', request } }, STATION)
    const certificates = await Promise.all([once(), once(), once()])
    assert.equal(new Set(certificates.map(({ certificateId }) => certificateId)).size, 1)
    const { issued } = await reconcile(plant.orders, 'pumps', person)
    assert.equal(issued, 1)
    await bearAt(plant, 2)
    await assert.rejects(bearAt(plant, 2), { code: 'conflict', reason: 'deviceBorn' })
  })

  test('what was born before a part ended is still judged, and what is scrapped in the records is never good', async (t) => {
    const plant = await plantWith(t, { quantity: 3, scrapAllowance: 1 })
    const { orders, births } = plant
    const { id } = await allot(orders, 'pumps', { line: 'line' }, person)
    for (const number of [1, 2, 3]) await bearAt(plant, number)
    await endAllotment(orders, 'pumps', id, person)
    await judge(orders, 'pumps', { productSerial: serialAt(1), verdict: 'good' }, person)
    await judge(orders, 'pumps', { productSerial: serialAt(2), verdict: 'scrap', reason: 'broke' }, person)
    const [third] = await findDevices(births, { productSerial: serialAt(3) }, { limit: 1 })
    await changeState(births, third?.id ?? '', { act: 'scrap', actor: person })
    const that = { productSerial: serialAt(3) }
    await assert.rejects(judge(orders, 'pumps', { ...that, verdict: 'good' }, person), {
      code: 'conflict',
      reason: 'deviceState',
    })
    const { issued, good, scrap, unjudged, room } = await reconcile(orders, 'pumps', person)
    assert.deepEqual({ issued, good, scrap, unjudged }, { issued: 3, good: 1, scrap: 1, unjudged: 1 })
    assert.deepEqual(room, { quota: 1, scrap: 0 }, 'one may be born in the place of what was scrapped')
    await judge(orders, 'pumps', { ...that, verdict: 'scrap' }, person)
    await closeOrder(orders, 'pumps', person)
    await assert.rejects(judge(orders, 'pumps', { productSerial: serialAt(1), verdict: 'scrap' }, person), {
      reason: 'orderClosed',
    })
  })

  test('an order gives nothing away twice: nodes, lines and what came back share it', async (t) => {
    const plant = await plantWith(t, { quantity: 3, scrapAllowance: 0 })
    const { orders, births } = plant
    const { id } = await allot(orders, 'pumps', { line: 'line', quota: 2 }, person)
    await assert.rejects(allot(orders, 'pumps', { line: 'line', quota: 1 }, person), { code: 'conflict', reason: 'lineAllotted' })
    await plant.line('other', { requiresOrder: true })
    await assert.rejects(allot(orders, 'pumps', { line: 'other', quota: 2 }, person), { code: 'quotaExceeded' })
    await plant.line('free')
    await assert.rejects(allot(orders, 'pumps', { line: 'free', quota: 1 }, person), { reason: 'lineNotCounted' })
    await bearAt(plant, 1)
    await endAllotment(orders, 'pumps', id, person)
    const { quota, serials } = await allot(orders, 'pumps', { line: 'other' }, person)
    assert.deepEqual([quota, serials.from, serials.to], [2, 3, 4], 'what was not used came back, with other numbers')
    await assert.rejects(bearAt(plant, 2), { reason: 'birthNotOrdered' })
    const [refused] = await births.db.query(
      "SELECT COUNT(*) AS number FROM audit_entry WHERE act = 'device.bear' AND outcome = 'refused'",
    )
    assert.equal(refused?.['number'], 1)
  })

  test('a device that enrolls by its birth certificate is noted as seen, with the certificate and at its endpoint', async (t) => {
    const plant = await plantWith(t, { quantity: 2, scrapAllowance: 0 })
    const { ca, births } = plant
    await allot(plant.orders, 'pumps', { line: 'line' }, person)
    const { certificate } = await bearAt(plant, 1)
    const enrollAt = async (label: string): Promise<void> => {
      const authorityId = ca.authorities.byAddress('line1').id
      const rules = { clientIssuers: ['line1.1'], firstEnrollmentOnReenroll: true }
      const endpoint = await createEndpoint(ca.context, { label, protocol: 'est', authorityId, profile: 'ldevid', rules }, person)
      for (let times = 0; times < 2; times++) {
        const identity = await ca.enrollment.authenticate(endpoint, { chain: [certificate], basic: undefined })
        const request = await testRequest({ subject: [{ type: 'serialNumber', value: serialAt(1) }], key: testKey() })
        await ca.enrollment.enroll({ endpoint, operation: 'enroll', request, identity })
      }
    }
    assert.equal(await noteSeen(plant.orders, 'pumps', { certificate, place: 'fair' }, person), 'known')
    await enrollAt('plant-a')
    const { seen, alarms } = await reconcile(plant.orders, 'pumps', person)
    assert.deepEqual([seen, alarms], [1, []])
    await enrollAt('plant-b')
    const after = await reconcile(plant.orders, 'pumps', person)
    assert.deepEqual(
      after.alarms.map(({ kind, subject }) => [kind, subject]),
      [['seenAtTwoPlaces', serialAt(1)]],
    )
    const rows = await births.db.query('SELECT place FROM order_sighting ORDER BY place')
    assert.deepEqual(
      rows.map(({ place }) => place),
      ['endpoint plant-a', 'endpoint plant-b', 'fair'],
    )
  })
})
