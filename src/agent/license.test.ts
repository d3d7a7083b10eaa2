/** Licenses on a device: what it takes, what it says of features, and what it knows after power was cut at any step. */
import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { encodePEM } from '#asn1/pem.ts'
import { systemWorld, type World } from '#base/world.ts'
import {
  encodeLicense,
  encodeStatusList,
  type License,
  LICENSE_TYPES,
  REVOKED,
  STATUS_TYPE,
  statusEntries,
  thumbprintsOf,
} from '#licenses/messages.ts'
import { type TrialSigner, trialSigner } from '#signing/artifact/testing.ts'
import { trialMessage } from '#signing/messages-testing.ts'
import { makeCertificate, makeKey, type TestKey } from '#x509/testing.ts'
import { openAgent } from './agent.ts'
import { openDevice } from './device.ts'
import { licensedFeatures, openLicenses } from './license.ts'
import { scratch, trustListOf } from './testing.ts'

const AT = Date.UTC(2027, 5, 1)
const DAY = 86_400_000
const ID = '0190a000-0000-7000-8000-00000000000'

interface Setting {
  readonly place: string
  readonly key: TestKey
  readonly maker: TrialSigner
  readonly time: { now: number; stopsAt: string | undefined }
  license(more?: Partial<License>, key?: TestKey): Promise<Uint8Array>
  status(version: number, revoked: readonly string[], issuedAt?: number): Promise<Uint8Array>
  take(octets: Uint8Array): Promise<string>
  feature(name?: string): Promise<string>
}

async function setting(t: TestContext): Promise<Setting> {
  const home = scratch(t)
  const place = join(home, 'agent')
  mkdirSync(place)
  const key = makeKey()
  const maker = await trialSigner('ecdsa-p256', 'documentSigning')
  const time: Setting['time'] = { now: AT, stopsAt: undefined }
  const world: World = {
    ...systemWorld(),
    clock: { now: () => time.now },
    faults: {
      reach(point) {
        if (point === time.stopsAt) throw new Error(`power is cut: ${point}`)
      },
    },
  }
  writeFileSync(join(home, 'birth.pem'), encodePEM('CERTIFICATE', await makeCertificate(key)))
  writeFileSync(join(home, 'birth.key'), key.privateKey.export({ type: 'pkcs8', format: 'pem' }))
  await using agent = openAgent(place, world)
  const identity = { certificate: join(home, 'birth.pem'), key: join(home, 'birth.key') }
  agent.directory.configure({ server: 'https://localhost:1', trust: [], keys: 'software', identity })
  await agent.takeTrust(await trustListOf({ license: [maker.answering.certificates[0]] }))
  const open = () => openLicenses(openDevice(place, world, 'read'))
  return {
    ...{ place, key, maker, time },
    license: (more = {}, to = key) =>
      trialMessage(maker, {
        ...{ form: 'cose', typ: LICENSE_TYPES.cwt },
        payload: encodeLicense({
          ...{ id: `${ID}1`, sequence: 1, issuer: 'acme', productSerial: 'P-1', model: 'acme/press' },
          ...{ confirmation: { ckt: thumbprintsOf(to.publicKey).ckt }, features: [{ name: 'drill', limit: 10 }] },
          ...{ issuedAt: AT, notBefore: AT, graceDays: 0, ...more },
        }),
      }),
    status: (version, revoked, issuedAt = AT) =>
      trialMessage(maker, {
        ...{ form: 'cose', typ: STATUS_TYPE },
        payload: encodeStatusList({
          ...{ issuer: 'acme', version, issuedAt },
          entries: statusEntries(revoked.map((id) => ({ id, leastSequence: REVOKED }))),
        }),
      }),
    async take(octets) {
      using held = await open()
      return await held.take(octets)
    },
    async feature(name = 'drill') {
      using held = await open()
      const answer = await held.feature(name)
      return answer.isLicensed ? `${answer.state} ${answer.limit ?? 'all'}` : answer.reason
    },
  }
}

test('R13: a device knows what it is licensed for, and how much of it', async (t) => {
  const here = await setting(t)
  assert.equal(await here.feature(), 'licenseNone')
  assert.equal(await here.take(await here.license()), 'license for drill')
  assert.equal(await here.feature(), 'valid 10')
  assert.equal(await here.feature('mill'), 'licenseNone')
  await here.take(await here.license({ id: `${ID}2`, features: [{ name: 'drill' }], expiresAt: AT + DAY }))
  assert.equal(await here.feature(), 'valid all', 'the larger of two')
  here.time.now = AT + 2 * DAY
  assert.equal(await here.feature(), 'valid 10', 'what ended does not count')
})

test('R13: a license for another device, of another signer, or older than one that was here is not taken', async (t) => {
  const here = await setting(t)
  await assert.rejects(here.take(await here.license({}, makeKey())), { reason: 'licenseOtherDevice' })
  const stranger = await setting(t)
  const foreign = trialMessage(stranger.maker, {
    ...{ form: 'cose', typ: LICENSE_TYPES.cwt },
    payload: encodeLicense({
      ...{ id: `${ID}1`, sequence: 1, issuer: 'acme', productSerial: 'P-1', model: 'acme/press' },
      ...{
        confirmation: { ckt: thumbprintsOf(here.key.publicKey).ckt },
        features: [{ name: 'drill' }],
        issuedAt: AT,
        notBefore: AT,
        graceDays: 0,
      },
    }),
  })
  await assert.rejects(here.take(await foreign), { code: 'unauthenticated' })
  const first = await here.license({ features: [{ name: 'drill' }] })
  await here.take(first)
  await here.take(await here.license({ sequence: 2, features: [{ name: 'mill' }] }))
  await assert.rejects(here.take(first), { reason: 'licenseRolledBack' })
  assert.deepEqual([await here.feature('drill'), await here.feature('mill')], ['licenseNone', 'valid all'])
})

test('R13: a clock that is set back, and a license that was taken back, are found without a network', async (t) => {
  const here = await setting(t)
  await here.take(await here.license({ expiresAt: AT + 30 * DAY }))
  here.time.now = AT + 29 * DAY
  assert.equal(await here.feature(), 'valid 10')
  here.time.now = AT + DAY
  assert.equal(await here.feature(), 'licenseClockBack')
  here.time.now = AT + 29 * DAY
  const known = await here.status(2, [`${ID}1`])
  await here.take(known)
  assert.equal(await here.feature(), 'licenseRevoked')
  await assert.rejects(here.take(await here.status(1, [])), { reason: 'licenseStatusOld' })
  await assert.rejects(here.take(await here.license()), { reason: 'licenseRevoked' }, 'it does not come back')
})

test('R13: a license of a former owner ends when the device hears of the next one', async (t) => {
  const here = await setting(t)
  await here.take(await here.license({ owner: { name: 'carworks', epoch: 1 } }))
  assert.equal(await here.feature(), 'valid 10')
  await here.take(await here.license({ id: `${ID}2`, features: [{ name: 'mill' }], owner: { name: 'millworks', epoch: 2 } }))
  assert.deepEqual([await here.feature(), await here.feature('mill')], ['licenseOwnerEpoch', 'valid all'])
})

test('R13: a license waits for word from its issuer where it says so', async (t) => {
  const here = await setting(t)
  await here.take(await here.license({ offlineMaxDays: 7 }))
  here.time.now = AT + 8 * DAY
  assert.equal(await here.feature(), 'licenseOffline')
  await here.take(await here.status(1, [], AT + 8 * DAY))
  assert.equal(await here.feature(), 'valid 10')
})

test('R13, R12: updates that ask for a feature are told of those that hold', async (t) => {
  const here = await setting(t)
  const features = () =>
    licensedFeatures(openDevice(here.place, { ...systemWorld(), clock: { now: () => here.time.now } }, 'read'))
  assert.deepEqual(await features(), new Set())
  await here.take(await here.license({ expiresAt: AT + DAY }))
  assert.deepEqual(await features(), new Set(['drill']))
  here.time.now = AT + DAY
  assert.deepEqual(await features(), new Set())
})

test('R13: wherever power is cut, what was answered holds, and no license goes back', async (t) => {
  for (const point of ['agent license kept: before commit', 'agent license kept'] as const) {
    const here = await setting(t)
    const [first, second] = [await here.license(), await here.license({ sequence: 2, features: [{ name: 'mill' }] })]
    await here.take(first)
    here.time.stopsAt = point
    await assert.rejects(here.take(second), /power is cut/)
    here.time.stopsAt = undefined
    const isKept = point === 'agent license kept'
    assert.equal(await here.feature('mill'), isKept ? 'valid all' : 'licenseNone')
    assert.equal(await here.feature('drill'), isKept ? 'licenseNone' : 'valid 10')
    await (isKept ? assert.rejects(here.take(first), { reason: 'licenseRolledBack' }) : here.take(first))
    await here.take(second)
    assert.equal(await here.feature('mill'), 'valid all')
  }
})

test('R13: of licenses that fill a device, what ended or was taken back makes room, and no older one comes back', async (t) => {
  const here = await setting(t)
  const id = (number: number) => `${ID.slice(0, -3)}${String(number).padStart(4, '0')}`
  await here.take(await here.license({ id: id(1), sequence: 2, expiresAt: AT + DAY }))
  for (let number = 2; number <= 64; number++) await here.take(await here.license({ id: id(number) }))
  const mill = await here.license({ id: id(65), features: [{ name: 'mill' }] })
  await assert.rejects(here.take(mill), { reason: 'licensesTooMany' }, 'all of them hold')
  here.time.now = AT + 2 * DAY
  await here.take(mill)
  assert.equal(await here.feature('mill'), 'valid all')
  await assert.rejects(here.take(await here.license({ id: id(1) })), { reason: 'licenseRolledBack' })
  const lathe = await here.license({ id: id(66), features: [{ name: 'lathe' }] })
  await assert.rejects(here.take(lathe), { reason: 'licensesTooMany' })
  await here.take(await here.status(1, [id(2)]))
  await here.take(lathe)
  assert.equal(await here.feature('lathe'), 'valid all')
  await assert.rejects(here.take(await here.license({ id: id(2) })), { reason: 'licenseRevoked' })
})
