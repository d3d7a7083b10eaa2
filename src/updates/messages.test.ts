import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { asTrustError } from '#base/errors.ts'
import { encodeCBOR, parseCBOR } from '#cbor/cbor.ts'
import { AT, trialSigner } from '#signing/artifact/testing.ts'
import { messageTrust } from '#signing/messages.ts'
import { trialMessage } from '#signing/messages-testing.ts'
import {
  checkManifest,
  checkStatement,
  CLOCK_TOLERANCE_SECONDS,
  type Clocks,
  type DeviceFacts,
  DIRECTOR_TYPE,
  type DirectorStatement,
  encodeManifest,
  encodeStatement,
  MANIFEST_TYPE,
  manifestDigest,
  parseManifest,
  parseStatement,
  readManifest,
  readStatement,
  type ReleaseManifest,
  type StatementRefusal,
  statementRefusals,
} from './messages.ts'
import { digestOf, facts, manifest, statement } from './samples.ts'

const clocks: Clocks = { now: AT, lastSeen: new Date(AT.getTime() - 60_000) }
const later = (seconds: number): Date => new Date(AT.getTime() + seconds * 1000)
const rollback: DirectorStatement = { ...statement, counter: 4, kind: 'rollback', rollback: { from: 5, to: 4 } }
const installed = (counters: Readonly<Record<string, number>>): ReadonlyMap<string, number> => new Map(Object.entries(counters))

interface Row {
  readonly name: string
  readonly statement?: DirectorStatement
  readonly facts?: Partial<DeviceFacts>
  readonly clocks?: Partial<Clocks>
  readonly refused?: StatementRefusal
}

const rows: readonly Row[] = [
  { name: 'the device that it is for' },
  { name: 'another serial', facts: { productSerial: 'A-1043' }, refused: 'updateOtherDevice' },
  { name: 'the same serial of another maker', facts: { manufacturer: 'other' }, refused: 'updateOtherDevice' },
  {
    name: 'a twin: serial and maker are right, the birth key is not',
    facts: { birthKey: digestOf('copy') },
    refused: 'updateTwin',
  },
  { name: 'another owner', facts: { owner: 'plant-south' }, refused: 'updateOtherOwner' },
  { name: 'an owner that the device has no name for, in the right epoch', facts: { owner: undefined, manufacturer: undefined } },
  { name: 'an old owner’s epoch', facts: { owner: undefined, epoch: 3 }, refused: 'updateOtherEpoch' },
  { name: 'a later epoch', facts: { epoch: 1 }, refused: 'updateOtherEpoch' },
  { name: 'another area', facts: { area: 'paint-shop' }, refused: 'updateOtherArea' },
  { name: 'no area', facts: { area: undefined }, refused: 'updateOtherArea' },
  { name: 'another model', facts: { model: 'engine-b' }, refused: 'updateOtherModel' },
  { name: 'another revision', facts: { revision: 'r1' }, refused: 'updateOtherRevision' },
  { name: 'a revision that is not known', facts: { revision: undefined }, refused: 'updateOtherRevision' },
  { name: 'all revisions', statement: { ...statement, revisions: [] }, facts: { revision: undefined } },
  { name: 'a source that is too old', facts: { installed: installed({ motor: 2, loader: 2 }) }, refused: 'updateSourceTooOld' },
  { name: 'nothing installed yet', facts: { installed: installed({ loader: 2 }) }, refused: 'updateSourceTooOld' },
  { name: 'the same counter', facts: { installed: installed({ motor: 7, loader: 2 }) }, refused: 'updateNotNewer' },
  { name: 'a higher counter', facts: { installed: installed({ motor: 8, loader: 2 }) }, refused: 'updateNotNewer' },
  { name: 'an order to roll back', statement: rollback },
  {
    name: 'an order to roll back from another version',
    statement: rollback,
    facts: { installed: installed({ motor: 6, loader: 2 }) },
    refused: 'updateRollbackOther',
  },
  { name: 'a component that is missing', facts: { installed: installed({ motor: 5 }) }, refused: 'updateRequires' },
  { name: 'a component that is too old', facts: { installed: installed({ motor: 5, loader: 1 }) }, refused: 'updateRequires' },
  { name: 'a feature without a license', facts: { features: new Set(['speed']) }, refused: 'updateFeature' },
  { name: 'the end of its time', clocks: { now: statement.expiresAt }, refused: 'updateExpired' },
  { name: 'a moment before its end', clocks: { now: new Date(statement.expiresAt.getTime() - 1) } },
  {
    name: 'a clock that is slow, by what was seen',
    clocks: { lastSeen: statement.expiresAt, now: new Date(statement.expiresAt.getTime() - 1000) },
    refused: 'updateExpired',
  },
  { name: 'a clock that was set back', clocks: { lastSeen: later(CLOCK_TOLERANCE_SECONDS + 1) }, refused: 'updateClockBack' },
  { name: 'a clock that was mended a little', clocks: { lastSeen: later(CLOCK_TOLERANCE_SECONDS) } },
  {
    name: 'a time before it was made',
    clocks: { now: new Date('2027-06-01T10:54:59Z'), lastSeen: new Date(0) },
    refused: 'updateNotYet',
  },
  { name: 'a clock that is a little slow', clocks: { now: new Date('2027-06-01T10:55:00Z'), lastSeen: new Date(0) } },
  { name: 'an old statement', facts: { last: { sequence: 13, id: 'x' } }, refused: 'updateReplayed' },
  { name: 'another statement of the same number', facts: { last: { sequence: 12, id: 'x' } }, refused: 'updateReplayed' },
  { name: 'the statement under way, shown again', facts: { last: { sequence: 12, id: statement.id } } },
  { name: 'the first statement ever', facts: { last: undefined } },
]

for (const { name, refused, ...row } of rows) {
  test(`R12: ${name}: ${refused ?? 'installed'}`, () => {
    const check = (): void => checkStatement(row.statement ?? statement, { ...facts, ...row.facts }, { ...clocks, ...row.clocks })
    if (refused === undefined) check()
    else assert.throws(check, { code: 'policyRefused', reason: refused })
  })
}

test('R12: every refusal has a row', () => {
  assert.deepEqual(new Set(rows.flatMap(({ refused }) => (refused === undefined ? [] : [refused]))), new Set(statementRefusals))
})

/** Facts of some device of a small world, so that they often agree with a statement in all but one thing. */
const anyFacts: fc.Arbitrary<DeviceFacts> = fc.record({
  manufacturer: fc.constantFrom('acme', 'other'),
  productSerial: fc.constantFrom('A-1042', 'A-1043'),
  birthKey: fc.constantFrom(digestOf('born A-1042'), digestOf('copy')),
  model: fc.constantFrom('engine-a', 'engine-b'),
  revision: fc.constantFrom('r1', 'r2', 'r3', undefined),
  owner: fc.constantFrom('plant-north', 'plant-south'),
  epoch: fc.integer({ min: 1, max: 3 }),
  area: fc.constantFrom('press-shop', 'paint-shop', undefined),
  installed: fc.integer({ min: 0, max: 9 }).map((motor) => installed({ motor, loader: 2 })),
  features: fc.constant(new Set(['torque'])),
  last: fc.constant(undefined),
})

test('R12: no twin, older counter, other model, revision, owner or area ever passes, whatever else agrees', () => {
  let passed = 0
  fc.assert(
    fc.property(
      fc.oneof(
        anyFacts,
        anyFacts.map((some) => ({ ...facts, [pick(some)]: some[pick(some)] })),
      ),
      (device) => {
        try {
          checkStatement(statement, device, clocks)
        } catch (error) {
          assert.equal(asTrustError(error).code, 'policyRefused')
          return
        }
        passed++
        const { manufacturer, productSerial, birthKey, model, owner, epoch, area } = device
        assert.deepEqual(
          { manufacturer, productSerial, birthKey, model, owner, epoch, area },
          {
            manufacturer: 'acme',
            productSerial: 'A-1042',
            birthKey: facts.birthKey,
            model: 'engine-a',
            owner: 'plant-north',
            epoch: 2,
            area: 'press-shop',
          },
        )
        assert.ok(statement.revisions.includes(device.revision ?? ''))
        const counter = device.installed.get('motor') ?? 0
        assert.ok(counter >= 3 && counter < 7)
      },
    ),
    { numRuns: 3000 },
  )
  assert.ok(passed > 0, 'some device is the one that it is for')
})

const names = ['productSerial', 'birthKey', 'model', 'revision', 'owner', 'epoch', 'area', 'installed'] as const
const pick = ({ installed: counters, epoch }: DeviceFacts): (typeof names)[number] =>
  names[((counters.get('motor') ?? 0) + epoch) % names.length] ?? 'model'

test('a statement and a manifest that were read and are written again are the same octets', () => {
  const statements = [
    statement,
    rollback,
    { ...statement, area: undefined, consent: undefined, feature: undefined, requires: undefined, source: undefined },
  ]
  for (const one of statements) {
    const encoded = encodeStatement(one)
    assert.deepEqual(encodeStatement(parseStatement(encoded)), encoded)
  }
  assert.deepEqual(encodeManifest(parseManifest(encodeManifest(manifest))), encodeManifest(manifest))
})

const bad: readonly (readonly [name: string, statement: DirectorStatement])[] = [
  ['an end before its beginning', { ...statement, expiresAt: statement.issuedAt }],
  ['a rollback that is no rollback', { ...statement, kind: 'rollback' }],
  ['an install that rolls back', { ...rollback, kind: 'install' }],
  ['a rollback to a higher counter', { ...rollback, rollback: { from: 3, to: 4 } }],
  ['a rollback to another counter than its release has', { ...rollback, rollback: { from: 5, to: 3 } }],
  ['a file twice', { ...statement, artifacts: [...statement.artifacts, ...statement.artifacts] }],
  ['a file that leads elsewhere', { ...statement, artifacts: statement.artifacts.map((one) => ({ ...one, name: '../passwd' })) }],
  ['a hidden file', { ...statement, artifacts: statement.artifacts.map((one) => ({ ...one, name: '.profile' })) }],
  ['no artifact', { ...statement, artifacts: [] }],
  ['a sequence of nothing', { ...statement, sequence: 0 }],
  ['a birth key that is no SHA-256', { ...statement, device: { ...statement.device, birthKey: new Uint8Array(20) } }],
]
for (const [name, one] of bad)
  test(`refused: ${name}`, () => assert.throws(() => parseStatement(encodeStatement(one)), { code: 'malformed' }))

test('refused: a field that is not known, though a later version may have it', () => {
  const item = new Map(parseCBOR(encodeStatement(statement)) as ReadonlyMap<number, Uint8Array>)
  assert.throws(() => parseStatement(encodeCBOR(item.set(99, new Uint8Array()))), { code: 'malformed' })
})

test('R12: a director alone cannot say what the maker of the software did not', () => {
  checkManifest(manifest, statement)
  const said: readonly (readonly [string, Partial<DirectorStatement>])[] = [
    ['another release', { release: '0190aaaa-0000-7000-8000-000000000002' }],
    ['a higher counter', { counter: 8 }],
    ['another version', { version: '4.2.1' }],
    ['a model that it is not for', { model: 'engine-c' }],
    ['more revisions', { revisions: ['r1', 'r2', 'r3'] }],
    ['all revisions', { revisions: [] }],
    ['an older source', { source: { counterMin: 1, version: '1.0.0' } }],
    ['nothing that has to be there first', { requires: undefined }],
    ['no feature', { feature: undefined }],
    ['other octets', { artifacts: statement.artifacts.map((one) => ({ ...one, sha256: digestOf('other') })) }],
    ['another format', { artifacts: statement.artifacts.map((one) => ({ ...one, format: 'mcuboot' })) }],
    ['another manifest', { manifest: digestOf('other') }],
  ]
  for (const [name, changes] of said) {
    const one = { ...statement, ...changes }
    assert.throws(() => checkManifest(manifest, one), { code: 'policyRefused', reason: 'updateManifestOther' }, name)
  }
  const forged: ReleaseManifest = { ...manifest, counter: 8 }
  assert.throws(() => checkManifest(forged, { ...statement, counter: 8 }), { reason: 'updateManifestOther' })
  checkManifest(forged, { ...statement, counter: 8, manifest: manifestDigest(forged) })
})

test('only a message of its own kind, by who is trusted for it, is read', async () => {
  const [director, stranger] = [
    await trialSigner('ecdsa-p256', 'documentSigning'),
    await trialSigner('ecdsa-p256', 'documentSigning'),
  ]
  const reading = { trust: messageTrust([director.answering.certificates[0]]), at: AT }
  const message = { form: 'cose', typ: DIRECTOR_TYPE, payload: encodeStatement(statement) } as const
  const signed = await trialMessage(director, message)
  assert.deepEqual((await readStatement(signed, reading)).value, statement)
  await assert.rejects(readManifest(signed, reading), { reason: 'messageTypeOther' })
  await assert.rejects(readStatement(await trialMessage(stranger, message), reading), { code: 'unauthenticated' })
  await assert.rejects(readStatement(await trialMessage(director, { ...message, form: 'jws' }), reading), { code: 'malformed' })
  const changed = new Uint8Array(signed)
  const at = Buffer.from(changed).indexOf('press-shop')
  changed[at] = 0x50
  await assert.rejects(readStatement(changed, reading), { reason: 'messageSignature' })
  const maker = await trialMessage(director, { form: 'cose', typ: MANIFEST_TYPE, payload: encodeManifest(manifest) })
  assert.deepEqual((await readManifest(maker, reading)).value, manifest)
})
