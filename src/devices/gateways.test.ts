import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import fc from 'fast-check'
import { utf8 } from '#base/bytes.ts'
import { asTrustError } from '#base/errors.ts'
import { keep } from '#store/batch.ts'
import type { Database } from '#store/database.ts'
import { publish } from '#store/outbox.ts'
import { postgres } from '#store/postgres/index.ts'
import { postgresMissing, startPostgres, type TestServer } from '#store/postgres/testing.ts'
import type { ApplicationArea } from './areas.ts'
import { stepsToBear } from './birth-record.ts'
import { stepsToAttach, stepsToConfirm } from './certificates.ts'
import { changeState, setFlag } from './change.ts'
import { deviceChanges } from './changes.ts'
import { deviceConnections } from './connections.ts'
import { createConduit, removeConduit } from './conduits.ts'
import { type AssuranceLevel, type Device, type DeviceKind, openDevice } from './device.ts'
import { tellDue } from './due.ts'
import { deviceEnrollment } from './enrollment.ts'
import { bindDevices, bindingsOf, movedAmong, unbindDevices, type WantedBinding } from './gateways.ts'
import { checkSigned, readStatement } from './ownership/statement.ts'
import { testInstallation, type TestInstallation, type TestKey } from './ownership/testing.ts'
import { keyHashOf, officer, testArea, testBirth, testModel, testOrganization } from './testing.ts'
import { type CertificateFacts, isUsable, refusedByGateway } from './usable.ts'

let server: TestServer | undefined
const withoutPostgres = postgresMissing()
before(async () => {
  if (withoutPostgres === false) server = await startPostgres({ durable: false })
})
after(() => server?.stop())

interface Plant extends AsyncDisposable {
  readonly installation: TestInstallation
  readonly context: TestInstallation['context']
  readonly key: TestKey
  readonly areas: Readonly<Record<'paint' | 'press' | 'other', ApplicationArea>>
  /** What the CA says, where it is not `active`. */
  readonly states: Map<string, string>
  /** In use, in the area `paint` of anna. */
  gateway(serial: string): Promise<Device>
  legacy(serial: string, more?: { readonly assurance?: AssuranceLevel; readonly owner?: 'anna' | 'bert' }): Promise<Device>
  /** A certificate for the device as an endpoint of the area gives one to whoever shows another. */
  enrollFor(device: Device, shown: string, area: ApplicationArea): Promise<string>
  usable(certificateId: string): Promise<string>
  factsOf(certificateId: string): CertificateFacts
}

async function plantOn(db?: Database): Promise<Plant> {
  const installation = await testInstallation(db)
  const { context } = installation
  const devices = { context }
  const maker = await testOrganization(devices, 'acme', 'manufacturer')
  const model = await testModel(devices, maker.id, 'plc')
  const key = await installation.organization('anna')
  await installation.organization('bert')
  const owners = new Map<string, string>()
  for (const { id, name } of await context.db.query<{ id: string; name: string }>('SELECT id, name FROM organization'))
    owners.set(name, id)
  const ownerOf = (name: string): string => owners.get(name) ?? assert.fail()
  const areas = {
    paint: await testArea(devices, ownerOf('anna'), 'paint'),
    press: await testArea(devices, ownerOf('anna'), 'press'),
    other: await testArea(devices, ownerOf('bert'), 'other'),
  }
  const states = new Map<string, string>()
  const enrollment = deviceEnrollment(context)
  for (const area of Object.values(areas))
    await enrollment.setRule(area.name, { kind: 'area', areaId: area.id, unknown: 'refuse' }, officer)
  let number = 0

  async function claimed(serial: string, owner: string, assurance: AssuranceLevel, kind: DeviceKind): Promise<Device> {
    const wanted = { manufacturerId: maker.id, modelId: model.id, productSerial: serial, kind }
    const { device, steps } = stepsToBear(context, wanted, testBirth(serial, `birth ${serial}`, { assurance }), officer)
    await keep(context.db, steps)
    for (const act of ['release', 'ship'] as const) await changeState(context, device.id, { act, actor: officer })
    return changeState(context, device.id, { act: 'claim', actor: officer, ownerId: ownerOf(owner) })
  }

  const factsOf = (certificateId: string): CertificateFacts => ({
    ...{ certificateId, status: states.get(certificateId) ?? 'active', isIssuerEnabled: true },
    ...{ notBefore: 0, notAfter: Number.MAX_SAFE_INTEGER, another: async (id) => factsOf(id) },
  })

  return {
    ...{ installation, context, key, areas, states, factsOf },
    async gateway(serial) {
      const { id } = await claimed(serial, 'anna', 2, 'gateway')
      const areaId = areas.paint.id
      const device = await changeState(context, id, { act: 'onboard', actor: officer, areaId })
      const certificate = {
        certificateId: `of ${serial}`,
        keyHash: keyHashOf(`of ${serial}`),
        role: 'operational',
        areaId,
      } as const
      await keep(context.db, stepsToAttach(context, device, certificate))
      await keep(context.db, stepsToConfirm(context, device, certificate, officer))
      return openDevice(context, context.db, id)
    },
    legacy: (serial, { assurance = 1, owner = 'anna' } = {}) => claimed(serial, owner, assurance, 'device'),
    async enrollFor({ productSerial }, certificateId, area) {
      const steps = await enrollment.authorize({ endpointId: area.name, actor: 'service:est', certificateId, productSerial })
      const id = `proxied ${number++}`
      await keep(context.db, steps({ certificateId: id, keyHash: keyHashOf(id), issuedAt: 0 }))
      return id
    },
    async usable(certificateId) {
      const answer = await isUsable(context.db, factsOf(certificateId), context.world.clock.now())
      return answer.isUsable ? 'usable' : answer.reason
    },
    [Symbol.asyncDispose]: () => installation[Symbol.asyncDispose](),
  }
}

const at = (device: Device, port = 'rs485-1/unit 7'): WantedBinding => ({
  deviceId: device.id,
  port,
  fingerprint: '',
  assurance: 1,
})
const alone = { actor: officer, isAgreed: false }
const agreed = { actor: officer, isAgreed: true }

const stories: Readonly<Record<string, (plant: Plant) => Promise<void>>> = {
  async 'an owner signs whom a gateway speaks for; it enrolls them and nobody else'({ context, key, ...plant }) {
    const gateway = await plant.gateway('G1')
    const [one, two] = [await plant.legacy('L1'), await plant.legacy('L2')]
    const { paint } = plant.areas
    await assert.rejects(plant.enrollFor(one, 'of G1', paint), { code: 'forbidden', reason: 'gatewayNotBound' })
    await bindDevices(context, { gatewayId: gateway.id, wanted: [at(one)] }, alone)
    const list = await bindDevices(context, { gatewayId: gateway.id, wanted: [at(two, 'rs485-1/unit 8')] }, alone)
    assert.equal(list.number, 2)
    assert.deepEqual(await bindDevices(context, { gatewayId: gateway.id, wanted: [at(two, 'rs485-1/unit 8')] }, alone), list)
    const read = readStatement('binding', list.statement ?? '')
    await checkSigned(read, key.public, 'anna')
    assert.equal(read.payload.number, 2)
    assert.deepEqual(
      read.payload.devices.map(({ productSerial, port }) => [productSerial, port]),
      [
        ['L1', 'rs485-1/unit 7'],
        ['L2', 'rs485-1/unit 8'],
      ],
    )
    const id = await plant.enrollFor(one, 'of G1', paint)
    assert.equal(await plant.usable(id), 'usable')
    assert.equal((await openDevice(context, context.db, one.id)).state, 'active')
    const next = await plant.enrollFor(one, 'of G1', paint)
    assert.deepEqual([await plant.usable(id), await plant.usable(next)], ['certificateReplaced', 'usable'])
    await unbindDevices(context, { gatewayId: gateway.id, deviceIds: [one.id] }, officer)
    assert.equal(await plant.usable(next), 'certificateReplaced')
    await assert.rejects(plant.enrollFor(one, 'of G1', paint), { reason: 'gatewayNotBound' })
    assert.deepEqual(
      (await bindingsOf(context, gateway.id)).devices.map(({ productSerial }) => productSerial),
      ['L2'],
    )
  },

  async 'whatever becomes of the gateway, all it speaks for is held at once, and comes back with it'({
    context,
    states,
    ...plant
  }) {
    const { id: gatewayId } = await plant.gateway('G1')
    const device = await plant.legacy('L1')
    await bindDevices(context, { gatewayId, wanted: [at(device)] }, alone)
    const id = await plant.enrollFor(device, 'of G1', plant.areas.paint)
    const told: string[] = []
    const tell = async (): Promise<string | undefined> => {
      const note = (what: string) => async (certificate: string) => void (certificate === id && told.push(what))
      await tellDue(context, { hold: note('hold'), release: note('release'), revoke: note('revoke') })
      return told.at(-1)
    }
    const speaks = () => plant.usable(id)
    const change = (act: 'suspend' | 'resume' | 'quarantine' | 'clear') =>
      changeState(context, gatewayId, { act, actor: officer })
    for (const [off, on] of [
      ['suspend', 'resume'],
      ['quarantine', 'clear'],
    ] as const) {
      await change(off)
      assert.deepEqual([await speaks(), await tell()], ['gatewayNotInUse', 'hold'])
      await change(on)
      assert.deepEqual([await speaks(), await tell()], ['usable', 'release'])
    }
    await setFlag(context, gatewayId, { flag: 'stolen', isSet: true, actor: officer })
    assert.deepEqual([await speaks(), await tell()], ['gatewayNotInUse', 'hold'])
    await setFlag(context, gatewayId, { flag: 'stolen', isSet: false, actor: officer })
    assert.deepEqual([await speaks(), await tell()], ['usable', 'release'])

    states.set('of G1', 'revoked')
    assert.equal(await speaks(), 'gatewayNotInUse')
    assert.equal(await refusedByGateway(context.db, device.id, undefined, 0), 'gatewayNotInUse', 'nobody knows its certificate')
    states.delete('of G1')

    await change('suspend')
    await changeState(context, device.id, { act: 'suspend', actor: officer })
    await changeState(context, device.id, { act: 'resume', actor: officer })
    assert.equal(await tell(), 'hold', 'the device alone does not bring it back')
    await change('resume')
    assert.equal(await speaks(), 'usable')
  },

  async 'a session that a gateway holds for a device is cut with the gateway'({ context, states, factsOf, ...plant }) {
    const { id: gatewayId } = await plant.gateway('G1')
    const device = await plant.legacy('L1')
    await bindDevices(context, { gatewayId, wanted: [at(device)] }, alone)
    const id = await plant.enrollFor(device, 'of G1', plant.areas.paint)
    const changes = deviceChanges(context)
    const connections = deviceConnections({
      ...{ ...context, changes, refreshIssuers: async () => false },
      certificate: async (der) => factsOf(new TextDecoder().decode(der)), // octets stand for the CA's record of them
    })
    const ended: string[] = []
    const connect = async () => {
      const session = await connections.admit([utf8(id)], { protocol: 'mqtt', name: 'L1' })
      assert.deepEqual([session.role, session.gatewayId], ['proxied', gatewayId])
      connections.hold(session, [utf8(id)], (reason) => ended.push(reason))
      await changes.runOnce()
      assert.equal(connections.held(), 1)
    }
    await connect()
    await changeState(context, gatewayId, { act: 'quarantine', actor: officer })
    await changes.runOnce()
    assert.deepEqual(ended, ['gatewayNotInUse'])
    await assert.rejects(connect(), { code: 'forbidden', reason: 'gatewayNotInUse' })
    await changeState(context, gatewayId, { act: 'clear', actor: officer })
    await connect()
    states.set('of G1', 'revoked')
    const { world, organizationId: organization } = context
    const message = { topic: 'certificate.revoke', organization, payload: { certificate: 'of G1' } } // as the CA writes it
    await context.db.transaction((tx) => publish(tx, world, message))
    await changes.runOnce()
    assert.deepEqual(ended, ['gatewayNotInUse', 'gatewayNotInUse'])
  },

  async 'a gateway that moves speaks again where a conduit leads, and one that is sold never'({ context, ...plant }) {
    const { id: gatewayId } = await plant.gateway('G1')
    const device = await plant.legacy('L1')
    const { paint, press } = plant.areas
    await bindDevices(context, { gatewayId, wanted: [at(device)] }, alone)
    const id = await plant.enrollFor(device, 'of G1', paint)
    await changeState(context, gatewayId, { act: 'change-area', actor: officer, areaId: press.id })
    assert.equal(await plant.usable(id), 'usable', 'it has not gone yet')
    const moving = await openDevice(context, context.db, gatewayId)
    const next = { certificateId: 'next of G1', keyHash: keyHashOf('next'), role: 'operational', areaId: press.id } as const
    await keep(context.db, stepsToAttach(context, moving, next))
    await keep(context.db, stepsToConfirm(context, moving, next, officer))
    assert.equal(await plant.usable(id), 'gatewayOtherArea')
    const wanted = { fromAreaId: press.id, toAreaId: paint.id, topics: '+/down/#' }
    const conduit = await createConduit(context, wanted, officer)
    assert.equal(await plant.usable(id), 'usable')
    await removeConduit(context, conduit.id, officer)
    assert.equal(await plant.usable(id), 'gatewayOtherArea')
    await createConduit(context, wanted, officer)

    // both are sold to the same owner: what the one before signed says nothing any more
    for (const one of [gatewayId, device.id]) {
      await changeState(context, one, { act: 'transfer', actor: officer })
      await changeState(context, one, { act: 'complete', actor: officer, ownerId: plant.areas.other.ownerId })
    }
    assert.equal(await refusedByGateway(context.db, device.id, undefined, 0), 'gatewayNotInUse')
    await changeState(context, gatewayId, { act: 'onboard', actor: officer, areaId: plant.areas.other.id })
    assert.equal(await refusedByGateway(context.db, device.id, undefined, 0), 'gatewayOtherOwner')
    assert.deepEqual((await bindingsOf(context, gatewayId)).devices, [])
  },

  async 'a device has one gateway, and moves only when somebody else agrees'({ context, ...plant }) {
    const [first, second] = [await plant.gateway('G1'), await plant.gateway('G2')]
    const device = await plant.legacy('L1')
    await bindDevices(context, { gatewayId: first.id, wanted: [at(device)] }, alone)
    const id = await plant.enrollFor(device, 'of G1', plant.areas.paint)
    const move = { gatewayId: second.id, wanted: [at(device)] }
    assert.deepEqual(await movedAmong(context, second.id, move.wanted), [device.id])
    await assert.rejects(bindDevices(context, move, alone), { code: 'forbidden', reason: 'gatewayMoveAgreed' })
    const otherPort = { gatewayId: first.id, wanted: [at(device, 'rs485-2/unit 1')] }
    await assert.rejects(bindDevices(context, otherPort, alone), { reason: 'gatewayMoveAgreed' }, 'another port is a move too')
    await bindDevices(context, move, agreed)
    assert.equal(await plant.usable(id), 'certificateReplaced', 'its key is with the gateway before')
    assert.deepEqual((await bindingsOf(context, first.id)).devices, [])
    const left = readStatement('binding', (await bindingsOf(context, first.id)).statement ?? '')
    assert.deepEqual([left.payload.number, left.payload.devices], [2, []], 'the list of the one before says so')
    await unbindDevices(context, { gatewayId: second.id, deviceIds: [device.id] }, officer)
    await assert.rejects(
      bindDevices(context, { gatewayId: first.id, wanted: [at(device)] }, alone),
      { reason: 'gatewayMoveAgreed' },
      'unbinding in between is no way around it',
    )
    await bindDevices(context, { gatewayId: second.id, wanted: [at(device)] }, alone)
    const [open] = await context.db.query<{ n: number }>('SELECT count(*) AS n FROM gateway_binding WHERE closed_at IS NULL')
    assert.equal(open?.n, 1)
  },

  async 'what may not be bound'({ context, ...plant }) {
    const { id: gatewayId } = await plant.gateway('G1')
    const device = await plant.legacy('L1')
    const refuse = async (reason: string, wanted: readonly WantedBinding[], gateway = gatewayId, by = alone) =>
      assert.rejects(bindDevices(context, { gatewayId: gateway, wanted }, by), { reason })
    await refuse('gatewayKind', [], device.id)
    await refuse('gatewayOfGateway', [at(await plant.gateway('G2'))])
    await refuse('gatewayOtherOwner', [at(await plant.legacy('L2', { owner: 'bert' }))])
    await refuse('gatewayNotNeeded', [at(await plant.legacy('L3', { assurance: 2 }))])
    await refuse('gatewayDeviceTwice', [at(device), at(device, 'another')])
    await refuse('organizationNotTheirs', [at(device)], gatewayId, { actor: 'person:mallory', isAgreed: true })
    const outcomes = await Promise.allSettled(
      [at(device), at(await plant.legacy('L4'))].map((one) => bindDevices(context, { gatewayId, wanted: [one] }, alone)),
    )
    const { number, devices } = await bindingsOf(context, gatewayId)
    const bound = outcomes.filter(({ status }) => status === 'fulfilled').length
    assert.deepEqual([number, devices.length], [bound, bound], 'of two at once, none is lost from the list that was signed')
    await setFlag(context, device.id, { flag: 'lost', isSet: true, actor: officer })
    await refuse('deviceNotInUse', [at(device)])
    await changeState(context, gatewayId, { act: 'quarantine', actor: officer })
    await refuse('gatewayNotInUse', [])
  },
}

type Deed =
  | {
      readonly do: 'change'
      readonly which: number
      readonly act: 'suspend' | 'resume' | 'quarantine' | 'clear' | 'transfer' | 'keep'
    }
  | { readonly do: 'flag'; readonly which: number; readonly isSet: boolean }
  | { readonly do: 'bind' | 'unbind' | 'enroll'; readonly gateway: number; readonly device: number }
  | { readonly do: 'revoke'; readonly which: number; readonly isBack: boolean }

const two = fc.nat({ max: 1 })
const deeds: fc.Arbitrary<readonly Deed[]> = fc.array(
  fc.oneof(
    fc.record({
      ...{ do: fc.constant('change' as const), which: fc.nat({ max: 3 }) },
      act: fc.constantFrom('suspend', 'resume', 'quarantine', 'clear', 'transfer', 'keep'),
    }),
    fc.record({ do: fc.constant('flag' as const), which: fc.nat({ max: 3 }), isSet: fc.boolean() }),
    fc.record({ do: fc.constantFrom('bind', 'unbind', 'enroll'), gateway: two, device: two }),
    fc.record({ do: fc.constant('revoke' as const), which: two, isBack: fc.boolean() }),
  ),
  { minLength: 4, maxLength: 25 },
)

/** What may be refused; anything else is a mistake of ours. */
const REFUSALS = new Set(['conflict', 'policyRefused', 'forbidden', 'notFound'])

async function attempt(work: () => Promise<unknown>): Promise<void> {
  try {
    await work()
  } catch (thrown) {
    if (!REFUSALS.has(asTrustError(thrown).code)) throw thrown
  }
}

async function histories(plant: Plant, numRuns: number): Promise<void> {
  const { context, states } = plant
  let run = 0
  let usables = 0
  await fc.assert(
    fc.asyncProperty(deeds, async (history) => {
      const name = `${run++}`
      const gateways = [await plant.gateway(`G${name}a`), await plant.gateway(`G${name}b`)]
      const legacy = [await plant.legacy(`L${name}a`), await plant.legacy(`L${name}b`)]
      const all = [...gateways, ...legacy]
      const holder = new Map<string, string>() // certificate → the gateway that has its key
      const play = async (one: Deed): Promise<void> => {
        if (one.do === 'revoke') {
          const own = `of ${gateways[one.which]?.productSerial}`
          states.set(own, one.isBack ? 'active' : 'held')
        } else if (one.do === 'change') await changeState(context, all[one.which]?.id ?? '', { act: one.act, actor: officer })
        else if (one.do === 'flag')
          await setFlag(context, all[one.which]?.id ?? '', { flag: 'lost', isSet: one.isSet, actor: officer })
        else {
          const [gateway, device] = [gateways[one.gateway] ?? assert.fail(), legacy[one.device] ?? assert.fail()]
          if (one.do === 'bind') await bindDevices(context, { gatewayId: gateway.id, wanted: [at(device)] }, agreed)
          else if (one.do === 'unbind') await unbindDevices(context, { gatewayId: gateway.id, deviceIds: [device.id] }, officer)
          else holder.set(await plant.enrollFor(device, `of ${gateway.productSerial}`, plant.areas.paint), gateway.id)
        }
      }
      const begin: readonly Deed[] = [
        { do: 'bind', gateway: 0, device: 0 },
        { do: 'enroll', gateway: 0, device: 0 },
      ]
      for (const one of [...begin, ...history]) {
        await attempt(() => play(one))
        for (const [id, gatewayId] of holder) {
          if ((await plant.usable(id)) !== 'usable') continue
          usables++
          const gateway = await openDevice(context, context.db, gatewayId)
          assert.equal(
            await plant.usable(`of ${gateway.productSerial}`),
            'usable',
            'a proxied certificate while its gateway is not',
          )
          const list = await bindingsOf(context, gatewayId)
          const { payload } = readStatement('binding', list.statement ?? '')
          const [row] = await context.db.query('SELECT device_id FROM device_certificate WHERE certificate_id = ?', id)
          const serial = all.find((device) => device.id === row?.['device_id'])?.productSerial
          assert.ok(
            payload.devices.some(({ productSerial }) => productSerial === serial),
            'it stands in the list that was signed',
          )
        }
      }
    }),
    { numRuns },
  )
  assert.ok(usables > numRuns, 'there was something to be wrong about')
}

const AT_ROWS = new Set(['a device has one gateway, and moves only when somebody else agrees', 'what may not be bound'])

for (const engine of ['SQLite', 'PostgreSQL'] as const) {
  describe(`R2, R33: gateways on ${engine}`, { skip: engine === 'PostgreSQL' && withoutPostgres }, () => {
    const open = async () => plantOn(engine === 'SQLite' ? undefined : postgres({ url: (await server?.createDatabase()) ?? '' }))
    // what the rows themselves must hold is asked of both
    const told = Object.entries(stories).filter(([title]) => engine === 'SQLite' || AT_ROWS.has(title))
    for (const [title, story] of told)
      test(title, async () => {
        await using plant = await open()
        await story(plant)
      })

    test('no random history leaves a proxied certificate usable while its gateway is not', async () => {
      await using plant = await open()
      await histories(plant, engine === 'SQLite' ? 8 : 3)
    })
  })
}
