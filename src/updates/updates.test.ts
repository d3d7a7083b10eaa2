import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { listAuditEntries } from '#audit/log.ts'
import { concat, utf8 } from '#base/bytes.ts'
import { systemWorld, type World } from '#base/world.ts'
import { testAuthority } from '#signing/tsp/testing.ts'
import { keep } from '#store/batch.ts'
import type { Database } from '#store/database.ts'
import { migrate } from '#store/migrate.ts'
import { postgres } from '#store/postgres/index.ts'
import { postgresMissing, startPostgres, type TestServer } from '#store/postgres/testing.ts'
import { sqlite } from '#store/sqlite/index.ts'
import type { DirectedDevice } from './context.ts'
import type { Directed, Order } from './director.ts'
import { openReleaseFiles } from './files.ts'
import { isDirected, listInstalled, type Running, stepsToRecord } from './installed.ts'
import { checkManifest, checkStatement, type DeviceFacts, readManifest, readStatement } from './messages.ts'
import {
  addArtifact,
  approveRelease,
  attachSBOM,
  createRelease,
  listReleases,
  openRelease,
  publishRelease,
  type Release,
  withdrawRelease,
} from './releases.ts'
import { digestOf } from './samples.ts'
import { listStatements } from './statements.ts'
import { engineer, once, openTestUpdates, testDevice, type TestUpdates, updateTestMigrations } from './testing.ts'
import { openUpdates, type Updates } from './updates.ts'

const DAY = 86_400_000

interface Setting extends TestUpdates {
  readonly db: Database
  readonly time: { ahead: number }
  readonly faults: { at: string | undefined }
}

let server: TestServer | undefined
/** Made once, and copied for each test. */
let migrated: string | undefined
const withoutPostgres = postgresMissing()
before(async () => {
  if (withoutPostgres !== false) return
  server = await startPostgres({ durable: false })
  migrated = await server.createDatabase()
  const db = postgres({ url: migrated })
  await migrate(db, updateTestMigrations, systemWorld())
  await db.close()
})
after(() => server?.stop())

async function inSetting(engine: Database['id'], body: (setting: Setting) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-updates-db-'))
  const url = engine === 'postgres' ? await server?.createDatabase(migrated) : undefined
  const db = url === undefined ? sqlite({ path: join(directory, 'updates.db') }) : postgres({ url })
  const time = { ahead: 0 }
  const faults: { at: string | undefined } = { at: undefined }
  let tick = 1_830_000_000_000
  const world: World = {
    ...systemWorld(),
    clock: { now: () => ++tick + time.ahead },
    faults: {
      reach(point) {
        if (point === faults.at) throw new Error('the process ends here')
      },
    },
  }
  try {
    await migrate(db, updateTestMigrations, world)
    await using updates = await openTestUpdates(db, world)
    await body({ ...updates, db, time, faults })
  } finally {
    rmSync(directory, { recursive: true })
  }
}

const orderFor = (
  { id: deviceId }: Pick<DirectedDevice, 'id'>,
  { id: releaseId }: Pick<Release, 'id'>,
  more: Partial<Order> = {},
): Order => ({
  ...{ deviceId, releaseId, kind: 'install', action: '17' },
  ...more,
})

/** As the device would look at what it was told. */
async function taken(
  { trust, context }: Setting,
  device: DirectedDevice,
  { statement, manifest }: Directed,
  more: Partial<DeviceFacts> = {},
) {
  const at = new Date(context.world.clock.now())
  const { value } = await readStatement(statement, { trust: trust.director, at })
  const birthKey = device.birthKey ?? new Uint8Array()
  checkStatement(value, { ...device, birthKey, installed: new Map(), features: new Set(), ...more }, { now: at, lastSeen: at })
  checkManifest((await readManifest(manifest, { trust: trust.software, at })).value, value)
  return value
}

const draft = (setting: TestUpdates, version = '2.0.0'): Promise<Release> =>
  createRelease(
    setting.context,
    { component: 'motor', version, models: [{ manufacturer: 'acme', model: 'engine-a' }] },
    engineer.actor,
  )
const add = (
  { context }: TestUpdates,
  { id }: Release,
  name: string,
  format: string,
  octets: Uint8Array,
  signer = 'acme-firmware',
) => addArtifact(context, id, { name, format, signer, octets: undefined, pieces: once(octets) }, engineer.actor)

const press = new Uint8Array(readFileSync(join(import.meta.dirname, '../signing/formats/testdata/press.swu')))

for (const engine of ['sqlite', 'postgres'] as const) {
  describe(engine, { skip: engine === 'postgres' && withoutPostgres }, () => {
    test('R11, R12: from a draft over two people to a device that takes it', () =>
      inSetting(engine, async (setting) => {
        const { context, updates, devices, licensed, approveAll, signed } = setting
        const models = [
          { manufacturer: 'acme', model: 'engine-a', revisions: ['r1'] },
          { manufacturer: 'acme', model: 'engine-b' },
        ]
        const before = await setting.published()
        const begun = await createRelease(
          context,
          { component: 'motor', version: '4.2.0', models, source: before.version, feature: 'torque' },
          engineer.actor,
        )
        assert.deepEqual([begun.state, begun.counter, begun.source], ['draft', 2, { counterMin: 1, version: before.version }])
        const swu = await signed('swupdate', press)
        await add(setting, begun, 'motor-4.2.0.swu', 'swupdate', swu)
        const bill = utf8(JSON.stringify({ bomFormat: 'CycloneDX', specVersion: '1.6', components: [{}, {}] }))
        const { sbom } = await attachSBOM(context, begun.id, { octets: undefined, pieces: once(bill) }, engineer.actor)
        assert.deepEqual(sbom, { kind: 'CycloneDX', specification: '1.6', components: 2 })

        await assert.rejects(publishRelease(context, begun.id, 'acme-releases', engineer), { reason: 'releaseState' })
        assert.equal((await approveRelease(context, begun.id, engineer)).state, 'waiting')
        await approveAll(['ann'])
        assert.equal((await approveRelease(context, begun.id, engineer)).state, 'waiting', 'one is not enough')
        await approveAll(['ben'])
        assert.equal((await approveRelease(context, begun.id, engineer)).state, 'done')
        await assert.rejects(add(setting, begun, 'more.swu', 'swupdate', swu), { reason: 'releaseState' })
        await assert.rejects(publishRelease(context, begun.id, 'director', engineer), { reason: 'releaseSignerDirector' })

        const device = testDevice('a-1042')
        devices.set(device.id, device)
        licensed.add('a-1042 torque')
        await run(setting, device, { name: 'motor', version: before.version, digest: before.artifacts[0]?.digest })
        const early = testDevice('a-1041')
        devices.set(early.id, early)
        await assert.rejects(updates.direct(orderFor(early, begun), 'service:director'), { reason: 'releaseState' })
        assert.equal((await publishRelease(context, begun.id, 'acme-releases', engineer)).state, 'done')

        const told = await updates.direct(orderFor(device, begun, { consent: digestOf('agreed') }), 'service:director')
        const installed = new Map([['motor', 1]])
        const features = new Set(['torque'])
        const value = await taken(setting, device, told, { installed, features })
        assert.deepEqual([value.version, value.counter, value.revisions, value.action], ['4.2.0', 2, ['r1'], '17'])
        assert.deepEqual(value.consent, digestOf('agreed'))
        const [artifact] = value.artifacts
        const sent = concat(await Array.fromAsync(updates.read(artifact?.sha256.toHex() ?? '', 0, artifact?.octets ?? 0)))
        assert.deepEqual(sent, swu)
        await assert.rejects(taken(setting, testDevice('a-1043'), told, { installed, features }), { reason: 'updateOtherDevice' })
        await assert.rejects(taken(setting, { ...device, birthKey: digestOf('copy') }, told, { installed, features }), {
          reason: 'updateTwin',
        })

        const [kept] = await listStatements(context, device.id, { limit: 10, before: undefined })
        assert.deepEqual([kept?.octets, kept?.sequence], [told.statement, told.sequence])
        const { entries } = await listAuditEntries(setting.db, {
          organizationId: 'default',
          limit: 100,
          filter: { object: `device:${device.id}` },
        })
        assert.deepEqual(
          entries.map(({ act, outcome }) => [act, outcome]),
          [['update.direct', 'done']],
        )
        assert.equal(entries[0]?.facts['digest'], kept?.digest)

        await withdrawRelease(context, begun.id, 'it stalls', engineer.actor)
        await assert.rejects(updates.direct(orderFor(device, begun), 'service:director'), { reason: 'releaseState' })
      }))

    test('R12: counters go up for each model and component, whoever asks at once', () =>
      inSetting(engine, async (setting) => {
        const { context } = setting
        const both = [
          { manufacturer: 'acme', model: 'engine-b' },
          { manufacturer: 'acme', model: 'engine-a' },
        ]
        const begin = (version: string, models: typeof both, component = 'motor') =>
          createRelease(context, { component, version, models }, engineer.actor)
        const made = await Promise.all([
          ...Array.from({ length: 4 }, (_, n) => begin(`1.${n}`, both.slice(1))),
          ...Array.from({ length: 4 }, (_, n) => begin(`2.${n}`, both)),
          ...Array.from({ length: 4 }, (_, n) => begin(`3.${n}`, both.slice(0, 1))),
        ])
        for (const model of ['engine-a', 'engine-b']) {
          const counters = made.flatMap(({ models, counter }) => (models.some((one) => one.model === model) ? [counter] : []))
          assert.equal(new Set(counters).size, 8, model)
        }
        const next = await begin('9.0', both)
        assert.ok(
          made.every(({ counter }) => counter < next.counter),
          'one number says what is newer on each',
        )
        assert.equal((await begin('1.0', both, 'loader')).counter, 1)
        await assert.rejects(begin('2.0', both.slice(0, 1)), { reason: 'releaseExists' })
        assert.equal((await begin('9.1', both)).counter, next.counter + 1, 'what was refused took no number')
        const found = await listReleases(context, { component: 'loader', state: 'draft', limit: 5 })
        assert.deepEqual(
          found.map(({ version }) => version),
          ['1.0'],
        )
      }))

    test('R12: the numbers of a device only go up: at once, after a cut, and with a clock that was put back', () =>
      inSetting(engine, async (setting) => {
        const { updates, devices, time, faults, context } = setting
        const device = testDevice('a-1')
        devices.set(device.id, device)
        const release = await setting.published()
        const tell = (action: string, by = updates) => by.direct(orderFor(device, release, { action }), 'service:director')
        const given = (await Promise.all(['1', '2', '3', '4'].map((action) => tell(action)))).map(({ sequence }) => sequence)
        assert.equal(new Set(given).size, 4)
        const highest = Math.max(...given)
        time.ahead = -2 * DAY
        const later = await tell('5', setting.again())
        assert.equal(later.sequence, highest + 1)
        faults.at = 'director statement signed'
        await assert.rejects(tell('6'), /ends here/)
        faults.at = 'director statement kept'
        await assert.rejects(tell('7'), /ends here/)
        faults.at = undefined
        const last = await tell('8', setting.again())
        assert.ok(last.sequence > later.sequence)
        time.ahead = DAY
        const [now, ...before] = await listStatements(context, device.id, { limit: 50, before: undefined })
        assert.equal(now?.sequence, last.sequence)
        assert.deepEqual(before.map(({ action }) => action).slice(0, 2), ['7', '5'], 'what was not kept was given to nobody')
        assert.ok((await tell('9')).sequence > last.sequence + 1000, 'and at least the second of its making')
      }))

    test('R12: what runs is known by what the device signed, and only that', () =>
      inSetting(engine, async (setting) => {
        const { context, devices, updates, db } = setting
        const device = testDevice('a-1')
        devices.set(device.id, device)
        const [first, second] = [await setting.published(), await setting.published()]
        const component = ({ version, artifacts }: Release) => ({ name: 'motor', version, digest: artifacts[0]?.digest })
        const shown = async () =>
          (await listInstalled(context, device.id)).map(({ version, counter, source }) => [version, counter, source])
        await run(setting, device, { name: 'motor', version: first.version }, 'reported')
        assert.deepEqual(await shown(), [[first.version, 1, 'reported']])
        await run(setting, device, component(first))
        assert.deepEqual(await shown(), [[first.version, 1, 'signed']])
        await run(setting, device, { name: 'motor', version: second.version }, 'reported')
        assert.deepEqual(await shown(), [[first.version, 1, 'signed']], 'a tool’s word does not go before the device’s')
        assert.equal(await isDirected(db, device.id, component(second)), false)
        await updates.direct(orderFor(device, second), 'service:director')
        assert.equal(await isDirected(db, device.id, component(second)), true)
        assert.equal(await isDirected(db, device.id, { ...component(second), digest: digestOf('other').toHex() }), false)
        assert.equal(await isDirected(db, device.id, { ...component(second), version: first.version }), false)
        await run(setting, device, component(second), 'attested')
        assert.deepEqual(await shown(), [[second.version, 2, 'attested']])
        assert.equal(await isDirected(db, device.id, component(first)), false, 'what it went back to by itself')
        await run(setting, device, { name: 'motor', version: second.version, digest: digestOf('other').toHex() })
        assert.deepEqual(await shown(), [[second.version, undefined, 'signed']], 'other octets are no release')
        await run(setting, device, { name: 'loader', version: '1' })
        assert.deepEqual(await shown(), [['1', undefined, 'signed']], 'what a report does not name is not there')
        const told = async (): Promise<number> => (await db.query("SELECT id FROM outbox WHERE topic = 'software.run'")).length
        const before = await told()
        const running = { deviceId: device.id, modelId: device.modelId, source: 'signed' } as const
        const components = Array.from({ length: 300 }, (_, at) => ({ name: `part-${at}`, version: '1' }))
        await keep(db, await stepsToRecord(context, { ...running, components }))
        assert.equal((await listInstalled(context, device.id)).length, 300)
        assert.equal(await told(), before + 1, 'one message, however much a report changes')
        await keep(db, await stepsToRecord(context, { ...running, components }))
        assert.equal(await told(), before + 1, 'and none where nothing did')
      }))
  })
}

test('R11: only what its signer signed becomes part of a release', () =>
  inSetting('sqlite', async (setting) => {
    const { context, signed } = setting
    const release = await draft(setting)
    const swu = await signed('swupdate', press)
    const foreign = await signed('swupdate', press, 'other-firmware')
    await assert.rejects(add(setting, release, 'a.swu', 'swupdate', foreign), { reason: 'releaseArtifactSigner' })
    await assert.rejects(add(setting, release, 'a.swu', 'swupdate', press), { reason: 'artifactUnsigned' })
    const changed = new Uint8Array(swu)
    const at = Buffer.from(changed).indexOf('hardware-compatibility')
    assert.ok(at > 0)
    changed[at] = 0x48
    await assert.rejects(add(setting, release, 'a.swu', 'swupdate', changed))
    await assert.rejects(approveRelease(context, release.id, engineer), { reason: 'releaseEmpty' })
    const image = utf8('motor 2')
    await add(setting, release, 'motor.bin', 'cms', image)
    await assert.rejects(approveRelease(context, release.id, engineer), { reason: 'releaseUnsigned' })
    await assert.rejects(add(setting, release, 'motor.bin.p7s', 'cms', await signed('cms', utf8('motor 3'))), {
      code: 'badProof',
    })
    await add(setting, release, 'motor', 'cms', utf8('its notes')) // what a longer name goes on after as well
    await add(setting, release, 'motor.bin.p7s', 'cms', await signed('cms', image))
    await add(setting, release, 'motor.p7s', 'cms', await signed('cms', utf8('its notes')))
    for (const name of ['director.cose', 'Release.cose'])
      // devices get others under these names
      await assert.rejects(add(setting, release, name, 'cms', image), { reason: 'releaseArtifactTwice' })
    await assert.rejects(add(setting, release, 'MOTOR.bin', 'cms', image), { reason: 'releaseArtifactTwice' })
    await assert.rejects(attachSBOM(context, release.id, { octets: undefined, pieces: once(utf8('{}')) }, 'x'), {
      reason: 'notSBOM',
    })
    assert.equal((await approveRelease(context, release.id, engineer)).state, 'waiting')
    assert.deepEqual(
      (await openRelease(context, release.id)).artifacts.map(({ name, signer }) => [name, signer?.length]),
      [
        ['motor', 64],
        ['motor.bin', 64],
        ['motor.bin.p7s', 64],
        ['motor.p7s', 64],
      ],
    )
  }))

test('R11: what was approved is this very manifest: one more file asks anew', () =>
  inSetting('sqlite', async (setting) => {
    const { context, signed, approveAll } = setting
    const release = await draft(setting)
    const swu = await signed('swupdate', press)
    await add(setting, release, 'a.swu', 'swupdate', swu)
    await approveRelease(context, release.id, engineer)
    await approveAll()
    await add(setting, release, 'b.swu', 'swupdate', swu)
    assert.equal((await approveRelease(context, release.id, engineer)).state, 'waiting')
    await approveAll()
    assert.equal((await approveRelease(context, release.id, engineer)).state, 'done')
  }))

test('R12: who is not meant is told nothing, and the refusal is in the audit log', () =>
  inSetting('sqlite', async (setting) => {
    const { updates, devices, db } = setting
    const release = await setting.published()
    const licensedOnly = await setting.published({ feature: 'torque' })
    const needsLoader = await setting
      .published({ component: 'loader', version: '7.0' })
      .then(() => setting.published({ version: '8.0', requires: [{ component: 'loader', version: '7.0' }] }))
    const onlyR2 = await setting.published({ models: [{ manufacturer: 'acme', model: 'engine-a', revisions: ['r2'] }] })
    const late = await setting.published({ source: release.version })
    const rows: readonly (readonly [reason: string, Partial<DirectedDevice>, Release, Partial<Order>?])[] = [
      ['deviceNotInUse', { isInUse: false }, release],
      ['updateNotBorn', { birthKey: undefined }, release],
      ['updateNoOwner', { owner: undefined }, release],
      ['updateOtherModel', { modelId: 'model-b', model: 'engine-b' }, release],
      ['updateOtherRevision', {}, onlyR2],
      ['updateFeature', {}, licensedOnly],
      ['updateRequires', {}, needsLoader],
      ['updateSourceTooOld', {}, late],
      ['updateRollbackOther', {}, release, { kind: 'rollback' }],
    ]
    for (const [at, [reason, changes, one, more]] of rows.entries()) {
      const device = testDevice(`d-${at}`, changes)
      devices.set(device.id, device)
      const order = orderFor(device, one, more)
      await assert.rejects(updates.direct(order, 'service:director'), { reason }, reason)
      const { entries } = await listAuditEntries(db, {
        organizationId: 'default',
        limit: 9,
        filter: { object: `device:${device.id}` },
      })
      assert.deepEqual(
        entries.map(({ outcome, reason: why }) => [outcome, why]),
        [['refused', reason]],
      )
    }
    const device = testDevice('d-newer')
    devices.set(device.id, device)
    await run(setting, device, { name: 'motor', version: late.version, digest: late.artifacts[0]?.digest })
    await assert.rejects(updates.direct(orderFor(device, release), 'x'), { reason: 'updateNotNewer' })
    const back = await updates.direct(orderFor(device, release, { kind: 'rollback' }), 'x')
    const value = await taken(setting, device, back, { installed: new Map([['motor', late.counter]]) })
    assert.deepEqual(value.rollback, { from: late.counter, to: release.counter })
  }))

test('R21: a director whose signer does not sign refuses no device for it, and says so once, not at each poll', () =>
  inSetting('sqlite', async (setting) => {
    const { context, devices, db, time, signing, keys } = setting
    const release = await setting.published()
    const tell = async (updates: Updates, id: string) => {
      devices.set(id, testDevice(id))
      return updates.direct(orderFor({ id }, release), 'service:director')
    }
    const entries = async (): Promise<number> =>
      (await listAuditEntries(db, { organizationId: 'default', limit: 500, filter: {} })).entries.length
    const approval = { least: 2, approvers: { roles: ['approver'], people: [] }, usesMax: 1, validSeconds: 60 }
    for (const [name, terms, reason] of [
      ['waits', { approval }, 'updateDirectorWaits'],
      ['refuses', { users: { roles: ['release-engineer'], people: [] } }, 'updateDirectorRefuses'],
    ] as const) {
      const { timeStamps: _, ...usual } = (await testAuthority(keys, name, { purposes: ['documentSigning'] })).terms
      const users = { roles: ['server:updates'], people: [] }
      await signing.signers.create({ ...usual, formats: ['cose-sign1'], users, ...terms }, engineer.actor)
      const updates = openUpdates({ ...context, settings: { ...context.settings, directorSigner: name } })
      await assert.rejects(tell(updates, 'a-1'), { code: 'unavailable', reason })
      const before = await entries()
      for (const id of ['a-1', 'a-2', 'a-3']) await assert.rejects(tell(updates, id), { code: 'unavailable', reason })
      assert.equal(await entries(), before)
      time.ahead += 60_000
      await assert.rejects(tell(updates, 'a-2'), { code: 'unavailable', reason })
      assert.ok((await entries()) > before, 'and looks again')
    }
  }))

test('R29: what was left of uploads that a crash cut is taken away a day later', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-updates-files-'))
  const world = systemWorld()
  const incoming = join(directory, 'incoming')
  mkdirSync(incoming)
  for (const [name, age] of [
    ['old.artifact', 2 * DAY],
    ['new.artifact', DAY / 2],
  ] as const) {
    writeFileSync(join(incoming, name), 'cut')
    utimesSync(join(incoming, name), new Date(world.clock.now() - age), new Date(world.clock.now() - age))
  }
  const files = openReleaseFiles({ directory, artifactMaxOctets: 100, incomingMaxOctets: 1 << 20, world })
  await files.take(once(utf8('whole')), 5, async () => {})
  assert.deepEqual(readdirSync(incoming).toSorted(), ['new.artifact', 'node'])
  rmSync(directory, { recursive: true })
})

test('a statement is given again while it says the same and has time left', () =>
  inSetting('sqlite', async (setting) => {
    const { updates, devices, time } = setting
    const device = testDevice('a-1')
    devices.set(device.id, device)
    const release = await setting.published()
    const tell = () => updates.direct(orderFor(device, release), 'service:director')
    const first = await tell()
    assert.deepEqual(await tell(), first)
    time.ahead = 4 * DAY
    const renewed = await tell()
    assert.ok(renewed.sequence > first.sequence && renewed.expiresAt > first.expiresAt)
    devices.set(device.id, { ...device, owner: 'plant-south', epoch: 2 })
    const value = await taken(setting, { ...device, owner: 'plant-south', epoch: 2 }, await tell())
    assert.equal(value.owner.epoch, 2)
    await assert.rejects(taken(setting, { ...device, owner: 'plant-south', epoch: 2 }, renewed), {
      reason: 'updateOtherOwner',
    })
  }))

async function run(
  { context }: TestUpdates,
  { id: deviceId, modelId }: DirectedDevice,
  component: Running['components'][number],
  source: Running['source'] = 'signed',
): Promise<void> {
  await keep(context.db, await stepsToRecord(context, { deviceId, modelId, components: [component], source }))
}
