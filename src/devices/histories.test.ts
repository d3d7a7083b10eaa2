/** Random lives of devices, on both engines: whatever is asked, in whatever order and at once, what must hold holds. @module */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import fc from 'fast-check'
import { asTrustError } from '#base/errors.ts'
import { keep, type Step } from '#store/batch.ts'
import { postgres } from '#store/postgres/index.ts'
import { postgresMissing, startPostgres, type TestServer } from '#store/postgres/testing.ts'
import type { ApplicationArea } from './areas.ts'
import { stepsToBear, stepsToRecordBirth } from './birth-record.ts'
import { stepsToAttach, stepsToConfirm } from './certificates.ts'
import { setFlag, stepsToChange } from './change.ts'
import { type Device, type DeviceFlag, deviceFlags } from './device.ts'
import { historyOf } from './history.ts'
import type { ProductModel } from './models.ts'
import type { Organization } from './organizations.ts'
import { findDevices, registerDevice } from './register.ts'
import { type DeviceAct, deviceActs, type DeviceState, statePairs, terminalStates } from './states.ts'
import { keyHashOf, officer, testArea, testBirth, type TestDevices, testDevices, testModel, testOrganization } from './testing.ts'
import { isUsable } from './usable.ts'

type Deed =
  | { readonly type: 'register'; readonly model: number; readonly serial: number }
  | { readonly type: 'bear'; readonly model: number; readonly serial: number; readonly key: number }
  | { readonly type: 'act'; readonly device: number; readonly act: DeviceAct; readonly place: number }
  | { readonly type: 'race'; readonly device: number; readonly acts: readonly [DeviceAct, DeviceAct]; readonly place: number }
  | { readonly type: 'flag'; readonly device: number; readonly flag: DeviceFlag; readonly isSet: boolean }
  | { readonly type: 'issue'; readonly device: number; readonly next: boolean }
  | { readonly type: 'confirm'; readonly device: number; readonly which: number }

const small = fc.nat({ max: 3 })
const anyAct = fc.constantFrom(...deviceActs.filter((act) => act !== 'bear'))
const deed: fc.Arbitrary<Deed> = fc.oneof(
  { weight: 1, arbitrary: fc.record({ type: fc.constant('register' as const), model: fc.nat({ max: 1 }), serial: small }) },
  {
    weight: 3,
    arbitrary: fc.record({
      type: fc.constant('bear' as const),
      model: fc.nat({ max: 1 }),
      serial: small,
      key: fc.nat({ max: 5 }),
    }),
  },
  {
    weight: 10,
    arbitrary: fc.record({ type: fc.constant('act' as const), device: small, act: anyAct, place: fc.nat({ max: 1 }) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      type: fc.constant('race' as const),
      device: small,
      acts: fc.tuple(anyAct, anyAct),
      place: fc.nat({ max: 1 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      ...{ type: fc.constant('flag' as const), device: small, flag: fc.constantFrom(...deviceFlags), isSet: fc.boolean() },
    }),
  },
  { weight: 4, arbitrary: fc.record({ type: fc.constant('issue' as const), device: small, next: fc.boolean() }) },
  { weight: 4, arbitrary: fc.record({ type: fc.constant('confirm' as const), device: small, which: small }) },
)
/** So that histories come further than chance alone would bring them. */
const USUAL: readonly DeviceAct[] = ['release', 'ship', 'offer', 'claim', 'onboard']
const ISSUED: readonly Deed[] = [
  { type: 'issue', device: 0, next: false },
  { type: 'confirm', device: 0, which: 0 },
]
const usualLife: readonly Deed[] = [
  { type: 'bear', model: 0, serial: 0, key: 0 },
  ...USUAL.map((act): Deed => ({ type: 'act', device: 0, act, place: 0 })),
  ...ISSUED,
  { type: 'act', device: 0, act: 'change-area', place: 1 },
  { type: 'issue', device: 0, next: true },
  { type: 'confirm', device: 0, which: 0 },
  { type: 'act', device: 0, act: 'transfer', place: 0 },
  { type: 'act', device: 0, act: 'complete', place: 1 },
  { type: 'act', device: 0, act: 'onboard', place: 1 },
  ...ISSUED,
]
const life = fc
  .tuple(fc.nat({ max: 16 }), fc.array(deed, { minLength: 5, maxLength: 60 }))
  .map(([length, deeds]) => [...usualLife.slice(0, length), ...deeds])

interface Plant {
  readonly devices: TestDevices
  readonly models: readonly ProductModel[]
  readonly owners: readonly Organization[]
  /** Of each owner. */
  readonly areas: readonly (readonly ApplicationArea[])[]
  readonly keys: Map<string, string>
  number: number
}

async function plantOn(devices: TestDevices): Promise<Plant> {
  const makers = [
    await testOrganization(devices, 'maker', 'manufacturer'),
    await testOrganization(devices, 'other', 'manufacturer'),
  ]
  const models = await Promise.all(makers.map(({ id }) => testModel(devices, id, 'pump')))
  const owners = [await testOrganization(devices, 'ann'), await testOrganization(devices, 'bob')]
  const areas = await Promise.all(
    owners.map(async ({ id }) => [await testArea(devices, id, 'paint'), await testArea(devices, id, 'press')]),
  )
  return { devices, models, owners, areas, keys: new Map(), number: 0 }
}

/** Only these: anything else is a mistake of ours. */
const REFUSALS = new Set(['conflict', 'policyRefused'])

async function attempt(work: () => Promise<unknown>): Promise<boolean> {
  try {
    await work()
    return true
  } catch (thrown) {
    const { code } = asTrustError(thrown)
    if (!REFUSALS.has(code)) throw thrown
    return false
  }
}

async function play(plant: Plant, one: Deed, serialOf: (serial: number) => string): Promise<void> {
  const { context } = plant.devices
  const all = (await findDevices(context, {}, { limit: 500 })).filter(({ productSerial }) =>
    productSerial.startsWith(serialOf(-1)),
  )
  if (one.type === 'register' || one.type === 'bear') return playNew(plant, one, all, serialOf)
  const device = all[one.device]
  if (device !== undefined) await playOn(plant, one, device)
}

type NewDeed = Extract<Deed, { readonly type: 'register' | 'bear' }>

async function playNew(plant: Plant, one: NewDeed, all: readonly Device[], serialOf: (serial: number) => string): Promise<void> {
  const { context } = plant.devices
  const { manufacturerId, id: modelId } = plant.models[one.model] as ProductModel
  const serial = serialOf(one.serial)
  const known = all.find(
    ({ manufacturerId: maker, productSerial }) => maker === manufacturerId && productSerial.toUpperCase() === serial,
  )
  if (one.type === 'register') {
    // in other letters it is the same serial
    const productSerial = plant.number++ % 2 === 0 ? serial : serial.toLowerCase()
    const done = await attempt(() => registerDevice(context, { manufacturerId, modelId, productSerial }, officer))
    assert.equal(done, known === undefined)
    return
  }
  const key = `${serialOf(-1)}key ${one.key}`
  const holder = plant.keys.get(key)
  const birth = testBirth(key, `certificate-${plant.number++}`)
  const done = await attempt(async () => {
    if (known !== undefined) return keep(context.db, stepsToRecordBirth(context, known, birth, officer))
    const { device, steps } = stepsToBear(context, { manufacturerId, modelId, productSerial: serial }, birth, officer)
    await keep(context.db, steps)
    plant.keys.set(key, device.id)
  })
  const isDue = known === undefined || known.state === 'planned' || known.state === 'keyed'
  assert.equal(done, isDue && (holder === undefined || holder === known?.id), 'one birth for a serial, and for a key')
  if (done && known !== undefined) plant.keys.set(key, known.id)
}

async function playOn(plant: Plant, one: Exclude<Deed, NewDeed>, device: Device): Promise<void> {
  const { context } = plant.devices
  switch (one.type) {
    case 'act':
      await attempt(async () => keep(context.db, act(plant, device, one.act, one.place)))
      return
    case 'race': {
      const won = await Promise.all(
        one.acts.map((each) => attempt(async () => keep(context.db, act(plant, device, each, one.place)))),
      )
      assert.ok(won.filter(Boolean).length <= 1, 'of two who changed the same version at once, one came too late')
      return
    }
    case 'flag':
      await setFlag(context, device.id, { flag: one.flag, isSet: one.isSet, actor: officer })
      return
    case 'issue': {
      const areaId = (one.next ? device.nextAreaId : device.areaId) ?? device.areaId
      if (areaId === undefined) return
      const certificateId = `certificate-${plant.number++}`
      const wanted = { certificateId, keyHash: keyHashOf('any'), role: 'operational' as const, areaId }
      await keep(context.db, stepsToAttach(context, device, wanted))
      return
    }
    case 'confirm': {
      const { certificates } = await historyOf(context, device.id)
      const certificate = certificates.filter(({ role }) => role === 'operational').at(-1 - one.which)
      if (certificate === undefined) return
      const decision = await usable(plant, certificate.certificateId)
      const done = await attempt(async () => keep(context.db, stepsToConfirm(context, device, certificate, officer)))
      if (decision.isUsable && decision.isFirst) assert.ok(done, 'whoever is let in for the first time can be confirmed')
      if (!done || device.flags.length > 0) return
      const after = await Promise.all(certificates.map((each) => usable(plant, each.certificateId)))
      const operational = after.filter((each) => each.isUsable && each.role === 'operational')
      assert.equal(operational.length, 1, 'after a switch there is one')
    }
  }
}

function act({ devices: { context }, owners, areas }: Plant, device: Device, name: DeviceAct, place: number): readonly Step[] {
  const at = name === 'claim' || name === 'complete' ? place : owners.findIndex(({ id }) => id === device.ownerId)
  const owner = owners[at]
  const area = areas[at]?.[place]
  return stepsToChange(context, device, {
    ...{ act: name, actor: officer, ownerId: owner?.id ?? owners[0]?.id ?? '' },
    ...(area !== undefined && { areaId: area.id }),
  })
}

const usable = ({ devices: { context } }: Plant, certificateId: string) =>
  isUsable(
    context.db,
    { certificateId, status: 'active', isIssuerEnabled: true, notBefore: 0, notAfter: Number.MAX_SAFE_INTEGER },
    context.world.clock.now(),
  )

const pairs = new Set(statePairs.map((pair) => pair.join()))
const CAN_USE: ReadonlySet<DeviceState> = new Set(['onboarding', 'active', 'area-change'])

async function check(plant: Plant, prefix: string): Promise<void> {
  const { context } = plant.devices
  const all = (await findDevices(context, {}, { limit: 500 })).filter(({ productSerial }) => productSerial.startsWith(prefix))
  const serials = all.map(({ productSerial, manufacturerId }) => `${productSerial.toUpperCase()} ${manufacturerId}`)
  assert.equal(new Set(serials).size, serials.length, 'a serial once for its maker')
  const births: string[] = []
  for (const device of all) {
    const { events, birth, certificates, epochs, areas } = await historyOf(context, device.id)
    if (birth !== undefined) births.push(birth.keyHash.toHex())
    assert.deepEqual(
      events.map(({ version }) => version),
      Array.from({ length: device.version }, (_, at) => at + 1),
      'an event for each version',
    )
    let state: DeviceState = events[0]?.act === 'bear' ? 'born' : 'planned'
    let epoch = 0
    for (const event of events) {
      assert.ok(event.epoch >= epoch && event.epoch <= epoch + 1, 'the epoch goes up by one')
      epoch = event.epoch
      if (event.from === undefined || event.to === undefined) continue
      assert.equal(event.from, state)
      assert.ok(!terminalStates.includes(event.from), 'nothing follows the end')
      assert.ok(pairs.has(`${event.from},${event.to}`))
      state = event.to
    }
    assert.equal(device.state, state, 'the events lead to what it is')
    assert.equal(device.epoch, epoch)

    const open = epochs.filter(({ closedAt }) => closedAt === undefined)
    assert.deepEqual(
      open.map((one) => [one.epoch, one.id]),
      device.epoch === 0 ? [] : [[device.epoch, device.ownerId]],
      'one open epoch',
    )
    assert.equal(epochs.length, device.epoch)
    assert.deepEqual(
      areas.filter(({ closedAt }) => closedAt === undefined).map(({ id }) => id),
      device.areaId === undefined ? [] : [device.areaId],
    )

    let usables = 0
    const operational = certificates.filter(({ role }) => role === 'operational')
    for (const one of operational) {
      const decision = await usable(plant, one.certificateId)
      const isHere = one.areaId === device.areaId
      const isNext = one.standing === 'issued' && device.state === 'area-change' && one.areaId === device.nextAreaId
      const expected =
        one.standing !== 'former' &&
        one.epoch === device.epoch &&
        (isHere || isNext) &&
        CAN_USE.has(device.state) &&
        device.flags.length === 0
      assert.equal(decision.isUsable, expected, `${one.standing} in ${device.state}: ${JSON.stringify(decision)}`)
      if (decision.isUsable && one.standing === 'current') usables++
    }
    assert.ok(usables <= 1, 'one current certificate')
  }
  assert.equal(new Set(births).size, births.length, 'a key is born once')
}

async function lives(plant: Plant, numRuns: number): Promise<void> {
  await fc.assert(
    fc.asyncProperty(life, async (deeds) => {
      const prefix = `${plant.number++}-`
      for (const one of deeds) await play(plant, one, (serial) => (serial < 0 ? prefix : `${prefix}S${serial}`))
      await check(plant, prefix)
    }),
    { numRuns },
  )
}

let server: TestServer | undefined
const withoutPostgres = postgresMissing()
before(async () => {
  if (withoutPostgres === false) server = await startPostgres({ durable: false })
})
after(() => server?.stop())

describe('R2, R6, R15, R33: random histories', () => {
  test('on SQLite', async () => {
    await using devices = await testDevices()
    await lives(await plantOn(devices), 60)
  })

  test('on PostgreSQL', { skip: withoutPostgres }, async () => {
    assert.ok(server)
    await using devices = await testDevices(postgres({ url: await server.createDatabase() }))
    await lives(await plantOn(devices), 20)
  })
})
