/** What licenses say, whether they are read as they were written, and every reason why one does not hold. */
import assert from 'node:assert/strict'
import { sign } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import { toMessageSignature } from '#algorithms/ecdsa.ts'
import { concat, utf8 } from '#base/bytes.ts'
import { encodeCBOR } from '#cbor/cbor.ts'
import { encodeCOSE, encodeSigStructureHead, headers, makeHeaders } from '#cbor/cose.ts'
import { messageTrust } from '#signing/messages.ts'
import { makeCertificate, makeKey } from '#x509/testing.ts'
import {
  checkLicense,
  type CheckOptions,
  type DeviceFacts,
  encodeLicense,
  encodeStatusList,
  formOf,
  leastSequence,
  type License,
  LICENSE_TYPES,
  licenseRefusals,
  parseLicense,
  parseStatusList,
  readLicense,
  REVOKED,
  statusEntries,
  type StatusEntry,
  type StatusList,
  thumbprintsOf,
} from './messages.ts'
import { birthKey } from './testing.ts'

const DAY = 86_400_000
const AT = Date.UTC(2027, 5, 1)
const keys = thumbprintsOf(birthKey())
const device: DeviceFacts = { keys, model: 'acme/press', epoch: 1 }
const usual: License = {
  id: '0190a000-0000-7000-8000-000000000001',
  ...{ sequence: 2, issuer: 'acme', productSerial: 'P-1', model: 'acme/press', confirmation: { ckt: keys.ckt } },
  features: [{ name: 'drill' }, { name: 'holes', limit: 1000 }],
  ...{ issuedAt: AT, notBefore: AT, expiresAt: AT + 30 * DAY, graceDays: 7 },
}
const now: CheckOptions = { now: AT + DAY, lastSeen: AT, storedSequence: 2 }
const listOf = (entries: readonly StatusEntry[], more: Partial<StatusList> = {}): StatusList => ({
  ...{ issuer: 'acme', version: 3, issuedAt: AT, entries: statusEntries(entries), ...more },
})

const holds: readonly (readonly [string, Partial<License>, Partial<CheckOptions>, string])[] = [
  ['in its time', {}, {}, 'valid 2027-07-08'],
  ['until the last moment', {}, { now: AT + 30 * DAY - 1 }, 'valid 2027-07-08'],
  ['in its grace', {}, { now: AT + 30 * DAY }, 'grace 2027-07-08'],
  ['by the key as JOSE names it', { confirmation: { jkt: keys.jkt } }, {}, 'valid 2027-07-08'],
  ['of the present owner', { owner: { name: 'carworks', epoch: 1 } }, {}, 'valid 2027-07-08'],
  ['of an owner that the device has not heard of yet', { owner: { name: 'carworks', epoch: 2 } }, {}, 'valid 2027-07-08'],
  ['newer than the one before', { sequence: 3 }, {}, 'valid 2027-07-08'],
  ['with word from its issuer', { offlineMaxDays: 2 }, {}, 'valid 2027-06-03'],
  [
    'with later word',
    { offlineMaxDays: 2 },
    { now: AT + 3 * DAY, status: listOf([], { issuedAt: AT + 2 * DAY }) },
    'valid 2027-06-05',
  ],
  ['with a clock that is minutes behind', {}, { now: AT - 500_000, lastSeen: 0 }, 'valid 2027-07-08'],
  [
    'beside another that was revoked',
    {},
    { status: listOf([{ id: '0190a000-0000-7000-8000-000000000002', leastSequence: REVOKED }]) },
    'valid 2027-07-08',
  ],
  ['as the least that holds', {}, { status: listOf([{ id: usual.id, leastSequence: 2 }]) }, 'valid 2027-07-08'],
  [
    'what another issuer takes back does not matter',
    {},
    { status: listOf([{ id: usual.id, leastSequence: REVOKED }], { issuer: 'other' }) },
    'valid 2027-07-08',
  ],
]
for (const [name, more, options, expected] of holds) {
  test(`R13: a license holds ${name}`, () => {
    const { state, until } = checkLicense({ ...usual, ...more }, device, { ...now, ...options })
    assert.equal(`${state} ${new Date(until ?? 0).toISOString().slice(0, 10)}`, expected)
  })
}

test('R13: a license without an end holds for ever', () => {
  const { expiresAt: _, ...perpetual } = usual
  assert.deepEqual(checkLicense(perpetual, device, { ...now, now: AT + 36_500 * DAY }), { state: 'valid', until: undefined })
})

const other = thumbprintsOf(birthKey())
const refused: readonly (readonly [
  (typeof licenseRefusals)[number],
  Partial<License>,
  Partial<CheckOptions>,
  Partial<DeviceFacts>,
])[] = [
  ['licenseOtherDevice', { confirmation: { ckt: other.ckt } }, {}, {}],
  ['licenseOtherDevice', { confirmation: { jkt: other.jkt } }, {}, {}],
  ['licenseOtherDevice', { confirmation: { jkt: keys.ckt } }, {}, {}],
  ['licenseOtherModel', {}, {}, { model: 'acme/drill' }],
  ['licenseRolledBack', {}, { storedSequence: 3 }, {}],
  ['licenseRolledBack', {}, { status: listOf([{ id: usual.id, leastSequence: 3 }]) }, {}],
  ['licenseRevoked', {}, { status: listOf([{ id: usual.id, leastSequence: REVOKED }]) }, {}],
  ['licenseClockBack', {}, { lastSeen: AT + 2 * DAY }, {}],
  ['licenseClockBack', {}, { now: AT - DAY, lastSeen: 0 }, {}],
  ['licenseClockBack', {}, { status: listOf([], { issuedAt: AT + 2 * DAY }) }, {}],
  ['licenseOwnerEpoch', { owner: { name: 'carworks', epoch: 1 } }, {}, { epoch: 2 }],
  ['licenseNotYet', { notBefore: AT + 2 * DAY }, {}, {}],
  ['licenseExpired', {}, { now: AT + 37 * DAY }, {}],
  ['licenseExpired', { graceDays: 0 }, { now: AT + 30 * DAY }, {}],
  ['licenseOffline', { offlineMaxDays: 1 }, {}, {}],
]
for (const [reason, more, options, facts] of refused) {
  test(`R13: ${reason} ${JSON.stringify(more).slice(0, 40)}`, () =>
    assert.throws(() => checkLicense({ ...usual, ...more }, { ...device, ...facts }, { ...now, ...options }), {
      code: 'policyRefused',
      reason,
    }))
}

test('the refusals that are listed are those that there are', () =>
  assert.deepEqual(new Set(refused.map(([reason]) => reason)), new Set(licenseRefusals)))

const seconds = fc.integer({ min: 0, max: 4_000_000_000 })
const optionally = <T>(name: string, arbitrary: fc.Arbitrary<T>) =>
  fc.option(
    arbitrary.map((value) => ({ [name]: value })),
    { nil: {} },
  )
const line = fc.stringMatching(/^[A-Za-z0-9 äß-]{1,40}$/)
const anyLicense: fc.Arbitrary<License> = fc
  .record({
    id: fc.uuid(),
    sequence: fc.integer({ min: 1, max: 0xffff_fffe }),
    issuer: line,
    productSerial: line,
    model: line,
    confirmation: fc.constantFrom({ ckt: keys.ckt }, { jkt: keys.jkt }),
    features: fc.uniqueArray(
      fc.record(
        { name: fc.stringMatching(/^[a-z0-9][a-z0-9._-]{0,20}$/), limit: fc.integer({ min: 0, max: 1e9 }) },
        { requiredKeys: ['name'], noNullPrototype: true },
      ),
      { minLength: 1, maxLength: 8, selector: ({ name }) => name },
    ),
    issuedAt: seconds,
    notBefore: seconds,
    graceDays: fc.integer({ min: 0, max: 366 }),
    more: fc
      .tuple(
        optionally('lasts', fc.integer({ min: 1, max: 1e8 })),
        optionally('owner', fc.record({ name: line, epoch: fc.integer({ min: 1, max: 1e6 }) }, { noNullPrototype: true })),
        optionally('offlineMaxDays', fc.integer({ min: 1, max: 3660 })),
      )
      .map((parts) => Object.assign({}, ...parts) as { lasts?: number } & Partial<License>),
  })
  .map(({ more: { lasts, ...more }, issuedAt, notBefore, model, ...rest }) => ({
    ...{ ...rest, ...more, issuedAt: issuedAt * 1000, notBefore: notBefore * 1000, model: `${rest.issuer}/${model}` },
    ...(lasts !== undefined && { expiresAt: (notBefore + lasts) * 1000 }),
  }))

test('R13: a license is read as it was written, in both encodings', () => {
  fc.assert(
    fc.property(anyLicense, (license) => {
      for (const confirmation of [{ ckt: keys.ckt }, { jkt: keys.jkt }]) {
        const one = { ...license, confirmation } as License
        assert.deepEqual({ ...parseLicense(encodeLicense(one), formOf(one)) }, one)
      }
    }),
  )
})

test('what is not a license is refused, and nothing else happens', () => {
  const json = JSON.parse(new TextDecoder().decode(encodeLicense({ ...usual, confirmation: { jkt: keys.jkt } }))) as object
  const broken: readonly object[] = [
    { more: 1 },
    { seq: 0 },
    { seq: 1.5 },
    { jti: 'x' },
    { model: 'other/press' },
    { sub: 'a\u202eb' },
    { exp: 1 },
    { transferable: false },
    { transferable: 'yes' },
    { owner: 'carworks' },
    { cnf: { jkt: keys.jkt, ckt: keys.ckt } },
    { cnf: { jkt: `${keys.jkt}=` } },
    { cnf: { kid: keys.jkt } },
    { features: [] },
    { features: [{ name: 'a' }, { name: 'a' }] },
    { features: [{ name: 'a', more: 1 }] },
    { features: [{ name: 'A' }] },
    { features: Array.from({ length: 65 }, (_, at) => ({ name: `f${at}` })) },
  ]
  for (const change of broken)
    assert.throws(
      () => parseLicense(utf8(JSON.stringify({ ...json, ...change })), 'jws'),
      { code: 'malformed' },
      JSON.stringify(change),
    )
  assert.throws(() => parseLicense(encodeCBOR(new Map([[99, 1]])), 'cwt'), { reason: 'notLicense' })
  assert.throws(() => parseLicense(encodeCBOR([1]), 'cwt'), { code: 'malformed' })
  assert.throws(() => parseLicense(new Uint8Array(70_000), 'cwt'), { code: 'tooLarge' })
})

test('R13: a status list finds what it holds, and nothing else', () => {
  const entry = fc.record({ id: fc.uuid(), leastSequence: fc.integer({ min: 1, max: REVOKED }) })
  fc.assert(
    fc.property(fc.uniqueArray(entry, { selector: ({ id }) => id, maxLength: 40 }), fc.uuid(), (entries, id) => {
      const list = parseStatusList(encodeStatusList(listOf(entries)))
      for (const one of entries) assert.equal(leastSequence(list, one.id), one.leastSequence)
      if (!entries.some((one) => one.id === id)) assert.equal(leastSequence(list, id), 0)
    }),
  )
  const two = statusEntries([
    { id: usual.id, leastSequence: 1 },
    { id: '0190a000-0000-7000-8000-000000000002', leastSequence: 1 },
  ])
  const swapped = concat([two.subarray(20), two.subarray(0, 20)])
  for (const entries of [swapped, concat([two, two.subarray(20)]), two.subarray(1)])
    assert.throws(() => parseStatusList(encodeStatusList(listOf([], { entries }))), { reason: 'notLicense' })
})

test('R13: a license is read only from whom the device trusts for it, and only as a license', async () => {
  const signer = makeKey()
  const certificate = await makeCertificate(signer)
  const trust = messageTrust([certificate])
  const signedAs = (typ: string, key = signer): Uint8Array => {
    const body = makeHeaders([
      [headers.alg, -7],
      [headers.typ, typ],
      [headers.x5chain, certificate],
    ])
    const payload = encodeLicense(usual)
    const octets = concat([encodeSigStructureHead({ body }, payload.length), payload])
    const signature = toMessageSignature(new Uint8Array(sign('sha256', octets, key.privateKey)), 'ecdsa-p256')
    return encodeCOSE({ type: 'sign1', headers: body, payload, signature })
  }
  assert.deepEqual(await readLicense(signedAs(LICENSE_TYPES.cwt), trust), usual)
  await assert.rejects(readLicense(signedAs('command+cbor'), trust), { code: 'badProof', reason: 'messageTypeOther' })
  await assert.rejects(readLicense(signedAs(LICENSE_TYPES.jws), trust), { reason: 'messageTypeOther' })
  await assert.rejects(readLicense(signedAs(LICENSE_TYPES.cwt, makeKey()), trust), { reason: 'messageSignature' })
  await assert.rejects(readLicense(signedAs(LICENSE_TYPES.cwt), messageTrust([])), { code: 'unauthenticated' })
})
