/** Licenses on both engines: who may issue them, how many there are, what takes their place, and what a process that ends leaves. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import fc from 'fast-check'
import { asTrustError } from '#base/errors.ts'
import { systemWorld, type World } from '#base/world.ts'
import type { SignerApproval } from '#signing/signer.ts'
import { migrate } from '#store/migrate.ts'
import { postgres } from '#store/postgres/index.ts'
import { postgresMissing, startPostgres, type TestServer } from '#store/postgres/testing.ts'
import { sqlite } from '#store/sqlite/index.ts'
import type { LicensedDevice } from './context.ts'
import { findLicenses, isLicensed, issueLicense, type Issued, openLicense, replaceLicense, revokeLicense } from './licenses.ts'
import { setMaker, setPool, showMaker } from './makers.ts'
import { checkLicense, leastSequence, readLicense, readStatusList, REVOKED, thumbprintsOf } from './messages.ts'
import { messagesAfter, publishDue, publishStatus } from './status.ts'
import {
  licenseTestMigrations,
  openTestLicenses,
  seller,
  testDevice,
  type TestLicenses,
  usualTerms,
  wantedFor,
} from './testing.ts'

const withoutPostgres = postgresMissing()
let server: TestServer | undefined
before(async () => {
  if (withoutPostgres === false) server = await startPostgres({ durable: false })
})
after(() => server?.stop())

const START = Date.UTC(2027, 5, 1)
const DAY = 86_400_000

interface Setting extends TestLicenses {
  readonly time: { ahead: number; stopsAt: string | undefined }
  bear(id: string, more?: Partial<LicensedDevice>): LicensedDevice
}

async function inSetting(engine: 'sqlite' | 'postgres', body: (setting: Setting) => Promise<void>, approval?: SignerApproval) {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-licenses-'))
  const db =
    engine === 'sqlite'
      ? sqlite({ path: join(directory, 'licenses.db') })
      : postgres({ url: (await server?.createDatabase()) ?? '' })
  const time: Setting['time'] = { ahead: 0, stopsAt: undefined }
  const world: World = {
    ...systemWorld(),
    clock: { now: () => START + time.ahead },
    faults: {
      reach(point) {
        if (point === time.stopsAt) throw new Error(`it ends at: ${point}`)
      },
    },
  }
  try {
    await migrate(db, licenseTestMigrations, world)
    const licenses = await openTestLicenses(db, world, approval && { approval })
    const bear = (id: string, more?: Partial<LicensedDevice>): LicensedDevice => {
      const device = testDevice(id, more)
      licenses.devices.set(id, device)
      return device
    }
    await body({ ...licenses, time, bear })
  } finally {
    await db.close()
    rmSync(directory, { recursive: true })
  }
}

function issued(made: Issued) {
  assert.ok(made.state === 'issued')
  return made.record
}

const reasonOf = async (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'done',
    (error: unknown) => asTrustError(error).reason,
  )

for (const engine of ['sqlite', 'postgres'] as const) {
  describe(`licenses on ${engine}`, { skip: engine === 'postgres' && withoutPostgres }, () => {
    test('R13: what is issued holds on its device, and on no other', () =>
      inSetting(engine, async ({ context, bear, trust, refusals }) => {
        const [press, twin] = [bear('p-1'), bear('p-2')]
        for (const form of ['cwt', 'jws'] as const) {
          const features = [{ name: form }, { name: 'holes', limit: 3 }]
          const { octets, sequence } = issued(await issueLicense(context, wantedFor(press, { form, features }), seller))
          const license = await readLicense(octets ?? new Uint8Array(0), trust)
          assert.deepEqual([license.features, sequence], [features, 1])
          const facts = (device: LicensedDevice) => ({ keys: thumbprintsOf(device.birthKey as never), epoch: 0 })
          const now = { now: START, lastSeen: 0, storedSequence: 0 }
          assert.equal(checkLicense(license, facts(press), now).state, 'valid')
          assert.throws(() => checkLicense(license, facts(twin), now), { reason: 'licenseOtherDevice' })
        }
        const fetched = await messagesAfter(context, { deviceId: press.id, maker: 'acme' }, 0)
        assert.deepEqual(
          fetched.map(({ number }) => number),
          [START / 1000, START / 1000 + 1],
        )
        assert.deepEqual(await messagesAfter(context, { deviceId: twin.id, maker: 'acme' }, 0), [])
        assert.deepEqual([await isLicensed(context, 'p-1', 'jws'), await isLicensed(context, 'p-2', 'jws')], [true, false])
        const entries = await context.db.query(
          "SELECT act FROM audit_entry WHERE act LIKE 'license.%' OR act LIKE 'signature.%' ORDER BY id",
        )
        const each = ['license.ask', 'signature.make', 'license.issue']
        assert.deepEqual(entries.map(({ act }) => act as string).toSorted(), ['license.set-maker', ...each, ...each].toSorted())

        const stranger = bear('x-1', { manufacturer: 'other', model: 'other/press' })
        assert.equal(await reasonOf(issueLicense(context, wantedFor(stranger), seller)), 'ruleRefuses')
        assert.deepEqual(refusals, ['x-1'])
      }))

    test('R13: nothing is licensed to a device that is not born, was cut off, or belongs to nobody where it has to', () =>
      inSetting(engine, async ({ context, bear }) => {
        const ask = (device: LicensedDevice, more = {}) => reasonOf(issueLicense(context, wantedFor(device, more), seller))
        assert.equal(await ask(bear('a', { birthKey: undefined })), 'licenseDeviceUnborn')
        assert.equal(await ask(bear('b', { isCutOff: true })), 'licenseDeviceCutOff')
        assert.equal(await ask(bear('c', { owner: undefined, epoch: 0 }), { isTransferable: false }), 'licenseNoOwner')
        assert.equal(await ask(bear('d'), { features: [{ name: 'NOT' }] }), 'notLicense')
        assert.equal(await ask(bear('e'), { expiresAt: START - DAY }), 'notLicense')
        assert.deepEqual(await findLicenses(context, { limit: 10 }), [])
      }))

    test('R13: of a pool there is never one more, however many ask at once', () =>
      inSetting(engine, async ({ context, bear }) => {
        await setPool(context, { maker: 'acme', feature: 'drill', most: 3 }, seller.actor)
        const devices = Array.from({ length: 8 }, (_, at) => bear(`p-${at}`))
        const reasons = await Promise.all(devices.map((device) => reasonOf(issueLicense(context, wantedFor(device), seller))))
        assert.deepEqual(reasons.toSorted(), [...Array<string>(3).fill('done'), ...Array<string>(5).fill('licensePoolEmpty')])
        const { pools } = await showMaker(context, 'acme')
        assert.deepEqual(pools, [{ feature: 'drill', most: 3, taken: 3 }])

        const [first, second] = await findLicenses(context, { limit: 10, state: 'issued' })
        await revokeLicense(context, first?.id ?? '', { reason: 'sold', returnsPlaces: false }, seller)
        assert.equal(
          await reasonOf(issueLicense(context, wantedFor(bear('q')), seller)),
          'licensePoolEmpty',
          'the device may still use it',
        )
        await revokeLicense(context, second?.id ?? '', { reason: 'scrapped', returnsPlaces: true }, seller)
        assert.equal(await reasonOf(issueLicense(context, wantedFor(bear('q')), seller)), 'done')
        assert.equal(
          await reasonOf(issueLicense(context, wantedFor(bear('r'), { features: [{ name: 'mill' }] }), seller)),
          'done',
        )
        await setPool(context, { maker: 'acme', feature: 'mill', most: 1 }, seller.actor)
        const late = wantedFor(bear('s'), { features: [{ name: 'mill' }] })
        assert.equal(await reasonOf(issueLicense(context, late, seller)), 'licensePoolEmpty', 'those before the pool count')
      }))

    test('R13: whatever is done in whatever order, a pool counts what is out and holds what it has', () =>
      inSetting(engine, async ({ context, bear }) => {
        const devices = Array.from({ length: 4 }, (_, at) => bear(`p-${at}`))
        const feature = fc.constantFrom('drill', 'mill')
        const deed = fc.oneof(
          { weight: 4, arbitrary: fc.record({ type: fc.constant('issue' as const), device: fc.nat({ max: 3 }), feature }) },
          { weight: 2, arbitrary: fc.record({ type: fc.constant('replace' as const), which: fc.nat({ max: 9 }), feature }) },
          {
            weight: 2,
            arbitrary: fc.record({
              type: fc.constant('revoke' as const),
              which: fc.nat({ max: 9 }),
              returnsPlaces: fc.boolean(),
            }),
          },
          { weight: 1, arbitrary: fc.record({ type: fc.constant('pool' as const), feature, most: fc.nat({ max: 8 }) }) },
        )
        const some = async (which: number): Promise<string> => (await findLicenses(context, { limit: 10 })).at(which)?.id ?? ''
        const known = new Set(['licensePoolEmpty', 'licenseUnknown', 'licenseState', 'licenseChanged', 'licenseAsked', 'done'])
        let mostAllowed = new Map<string, number>()
        await fc.assert(
          fc.asyncProperty(fc.array(fc.array(deed, { minLength: 1, maxLength: 3 }), { maxLength: 5 }), async (rounds) => {
            for (const together of rounds) {
              const takenBefore = new Map(
                (await showMaker(context, 'acme')).pools.map(({ feature: name, taken }) => [name, taken]),
              )
              const done = await Promise.all(
                together.map(async (one) => {
                  switch (one.type) {
                    case 'issue': {
                      const wanted = wantedFor(devices[one.device] as LicensedDevice, { features: [{ name: one.feature }] })
                      return reasonOf(issueLicense(context, wanted, seller))
                    }
                    case 'replace': {
                      const terms = { ...usualTerms, features: [{ name: one.feature }], recalls: true }
                      return reasonOf(some(one.which).then((id) => replaceLicense(context, id, terms, seller)))
                    }
                    case 'revoke': {
                      const { returnsPlaces } = one
                      return reasonOf(
                        some(one.which).then((id) => revokeLicense(context, id, { reason: 'x', returnsPlaces }, seller)),
                      )
                    }
                    case 'pool':
                      return reasonOf(setPool(context, { maker: 'acme', feature: one.feature, most: one.most }, seller.actor))
                  }
                }),
              )
              for (const reason of done) assert.ok(known.has(reason), reason)
              const { pools } = await showMaker(context, 'acme')
              const largest = new Map(pools.map(({ feature: name, most }) => [name, Math.max(most, mostAllowed.get(name) ?? 0)]))
              mostAllowed = new Map(pools.map(({ feature: name, most }) => [name, most]))
              for (const { feature: name, taken } of pools) {
                const [row] = await context.db.query('SELECT COUNT(*) AS places FROM license_place WHERE feature = ?', name)
                assert.equal(Number(row?.['places']), taken)
                if (takenBefore.has(name))
                  assert.ok(taken <= Math.max(takenBefore.get(name) ?? 0, largest.get(name) ?? 0), 'more than the pool ever had')
              }
            }
          }),
          { numRuns: engine === 'sqlite' ? 12 : 3 },
        )
      }))

    test('R13: what takes the place of a license has the next sequence, and may recall the one before', () =>
      inSetting(engine, async ({ context, bear, trust }) => {
        const press = bear('p-1')
        const first = issued(await issueLicense(context, wantedFor(press), seller))
        const more = { ...usualTerms, features: [{ name: 'drill' }, { name: 'mill' }] }
        const second = issued(await replaceLicense(context, first.id, { ...more, recalls: false }, seller))
        assert.deepEqual([second.id, second.sequence], [first.id, 2])
        const third = issued(await replaceLicense(context, first.id, { ...usualTerms, recalls: true }, seller))
        const published = await publishStatus(context, 'acme')
        assert.ok(published.state === 'signed')
        const status = await readStatusList(published.octets, trust)
        assert.equal(leastSequence(status, first.id), 3)
        const facts = { keys: thumbprintsOf(press.birthKey as never), epoch: 0 }
        const check = async (octets: Uint8Array | undefined, storedSequence: number) =>
          checkLicense(await readLicense(octets as Uint8Array, trust), facts, { now: START, lastSeen: 0, storedSequence, status })
        assert.equal((await check(third.octets, 2)).state, 'valid')
        await assert.rejects(check(second.octets, 2), { reason: 'licenseRolledBack' })
        assert.equal(
          (await messagesAfter(context, { deviceId: press.id, maker: 'acme' }, START / 1000 + 2)).length,
          1,
          'the list comes after the licenses',
        )
        assert.equal(await reasonOf(revokeLicense(context, first.id, { reason: 'x', returnsPlaces: false }, seller)), 'done')
        assert.equal(await reasonOf(replaceLicense(context, first.id, { ...usualTerms, recalls: true }, seller)), 'licenseState')
        await publishDue(context)
        const { statusVersion, isDue } = await showMaker(context, 'acme')
        assert.deepEqual([statusVersion, isDue], [2, false])
        await publishDue(context)
        assert.equal((await showMaker(context, 'acme')).statusVersion, 2, 'nothing new to say')
      }))

    test('R13: what is issued after a backup was brought back reaches a device that fetched what the backup does not have', () =>
      inSetting(engine, async ({ context, bear, time }) => {
        const press = bear('p-1')
        const fetch = (after: number) => messagesAfter(context, { deviceId: press.id, maker: 'acme' }, after)
        for (let count = 0; count < 3; count++) await issueLicense(context, wantedFor(press), seller)
        const fetched = (await fetch(0)).at(-1)?.number ?? 0
        await context.db.transaction(async (tx) => {
          await tx.query("DELETE FROM license_version WHERE state = 'issued'")
          await tx.query('UPDATE license_maker SET last_number = 0')
        })
        time.ahead = 60_000
        await issueLicense(context, wantedFor(press), seller)
        await publishStatus(context, 'acme')
        assert.equal((await fetch(fetched)).length, 2)
      }))

    test('R13: a maker whose signer does not sign keeps no other maker’s list', () =>
      inSetting(engine, async ({ context, time }) => {
        const { record } = await context.signing.signers.find('acme-licenses')
        const { name: _, id: __, ...terms } = record
        const key = { label: record.key.label, chain: record.key.chain }
        const expiring = { ...terms, key, name: 'other' }
        await context.signing.signers.create(expiring, seller.actor)
        for (const maker of ['a-first', 'z-last']) await setMaker(context, { maker, signer: 'other' }, seller.actor)
        await context.db.transaction((tx) => tx.query("UPDATE license_maker SET signer = 'gone' WHERE maker = 'a-first'"))
        time.ahead = 2 * DAY
        assert.equal(await reasonOf(publishDue(context)), 'signerUnknown')
        for (const maker of ['acme', 'z-last']) assert.equal((await showMaker(context, maker)).statusVersion, 1)
        assert.equal((await showMaker(context, 'a-first')).statusVersion, 0)
      }))

    test('R13: places of a license that was taken back, by whomever, are given back once, when the maker says so', () =>
      inSetting(engine, async ({ context, bear, devices, time }) => {
        await setPool(context, { maker: 'acme', feature: 'drill', most: 1 }, seller.actor)
        const press = bear('p-1')
        const { id } = issued(await issueLicense(context, wantedFor(press, { isTransferable: false }), seller))
        devices.set('p-1', { ...press, owner: 'millworks', epoch: 2 })
        time.ahead = 2 * DAY
        await publishDue(context)
        const revoke = (returnsPlaces: boolean) => reasonOf(revokeLicense(context, id, { reason: 'sold', returnsPlaces }, seller))
        assert.equal(await reasonOf(issueLicense(context, wantedFor(press), seller)), 'licensePoolEmpty')
        assert.deepEqual([await revoke(false), await revoke(true), await revoke(true)], ['licenseState', 'done', 'licenseState'])
        const { pools, isDue } = await showMaker(context, 'acme')
        assert.deepEqual([pools, isDue], [[{ feature: 'drill', most: 1, taken: 0 }], false])
      }))

    test('R13: a license that was asked for is not signed once its device is cut off', () =>
      inSetting(
        engine,
        async ({ context, bear, devices, approveAll }) => {
          const press = bear('p-1')
          const ask = () => issueLicense(context, wantedFor(press), seller)
          assert.equal((await ask()).state, 'waiting')
          await approveAll()
          devices.set('p-1', { ...press, isCutOff: true })
          assert.equal(await reasonOf(ask()), 'licenseDeviceCutOff')
          assert.deepEqual(await messagesAfter(context, { deviceId: press.id, maker: 'acme' }, 0), [])
        },
        { least: 1, approvers: { roles: ['approver'], people: [] }, usesMax: 1, validSeconds: 3600 },
      ))

    test('R13: a license that is not transferable is taken back when the device has another owner', () =>
      inSetting(engine, async ({ context, bear, devices, trust, time }) => {
        const press = bear('p-1')
        const own = issued(await issueLicense(context, wantedFor(press, { isTransferable: false }), seller))
        const free = issued(await issueLicense(context, wantedFor(press), seller))
        devices.set('p-1', { ...press, owner: 'millworks', epoch: 2 })
        assert.ok(await isLicensed(context, 'p-1', 'drill'))
        time.ahead = 2 * DAY
        await publishDue(context)
        const [list] = await messagesAfter(context, { deviceId: 'p-1', maker: 'acme' }, START / 1000 + 1)
        const status = await readStatusList(list?.octets ?? new Uint8Array(0), trust)
        assert.deepEqual([leastSequence(status, own.id), leastSequence(status, free.id)], [REVOKED, 0])
        assert.equal((await openLicense(context, own.id)).state, 'revoked')
        await revokeLicense(context, free.id, { reason: 'x', returnsPlaces: false }, seller)
        assert.equal(await isLicensed(context, 'p-1', 'drill'), false)
      }))

    test('R13: where people have to agree, the same call issues the license once they have', () =>
      inSetting(
        engine,
        async ({ context, bear, approveAll, time }) => {
          const press = bear('p-1')
          await setPool(context, { maker: 'acme', feature: 'drill', most: 1 }, seller.actor)
          const ask = () => issueLicense(context, wantedFor(press), seller)
          assert.equal((await ask()).state, 'waiting')
          time.ahead = 60_000
          assert.equal((await ask()).state, 'waiting')
          const [waiting, ...others] = await findLicenses(context, { limit: 10 })
          assert.deepEqual([waiting?.state, waiting?.isAsked, waiting?.octets, others.length], ['asked', true, undefined, 0])
          assert.deepEqual(await messagesAfter(context, { deviceId: press.id, maker: 'acme' }, 0), [])
          assert.equal(
            await reasonOf(issueLicense(context, wantedFor(bear('p-2')), seller)),
            'licensePoolEmpty',
            'its place is kept',
          )
          await approveAll()
          const record = issued(await ask())
          assert.deepEqual([record.id, record.sequence, record.isAsked], [waiting?.id, 1, false])

          const other = wantedFor(press, { features: [{ name: 'mill' }] })
          assert.equal((await issueLicense(context, other, seller)).state, 'waiting')
          const [second] = await findLicenses(context, { limit: 1 })
          const withdrawn = await revokeLicense(context, second?.id ?? '', { reason: 'x', returnsPlaces: false }, seller)
          assert.deepEqual([withdrawn.state, withdrawn.octets], ['revoked', undefined])
        },
        { least: 1, approvers: { roles: ['approver'], people: [] }, usesMax: 1, validSeconds: 3600 },
      ))

    for (const point of ['license asked', 'license signed'])
      test(`R13: a process that ends where a ${point} leaves one license, and its place is taken once`, () =>
        inSetting(engine, async ({ context, bear, time }) => {
          await setPool(context, { maker: 'acme', feature: 'drill', most: 2 }, seller.actor)
          const wanted = wantedFor(bear('p-1'))
          time.stopsAt = point
          await assert.rejects(issueLicense(context, wanted, seller), /it ends at/)
          assert.deepEqual(await messagesAfter(context, { deviceId: 'p-1', maker: 'acme' }, 0), [])
          time.stopsAt = undefined
          const { id } = issued(await issueLicense(context, wanted, seller))
          assert.deepEqual(
            (await findLicenses(context, { limit: 10 })).map((one) => one.id),
            [id],
          )
          assert.deepEqual((await showMaker(context, 'acme')).pools, [{ feature: 'drill', most: 2, taken: 1 }])
        }))

    test('licenses are signed by nobody whom others can have sign', () =>
      inSetting(engine, async ({ context }) => {
        const { record } = await context.signing.signers.find('acme-licenses')
        const { name: _, id: __, ...terms } = record
        const users = { roles: ['server:licenses', 'release-engineer'], people: [] }
        await context.signing.signers.create(
          { ...terms, key: { label: record.key.label, chain: record.key.chain }, name: 'open', users },
          seller.actor,
        )
        assert.equal(await reasonOf(setMaker(context, { maker: 'acme', signer: 'open' }, seller.actor)), 'licenseSignerOpen')
        assert.equal(await reasonOf(showMaker(context, 'nobody')), 'licenseMakerUnknown')
      }))
  })
}
