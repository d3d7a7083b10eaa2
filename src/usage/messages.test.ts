/** Usage records as they are written and read, and what a record is after the one before. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { encodeCBOR, type Label, parseCBOR } from '#cbor/cbor.ts'
import { mapOf } from '#cbor/typed.ts'
import {
  type Counter,
  encodeUsage,
  type LastUsage,
  parseUsage,
  readUsage,
  signUsage,
  successionOf,
  usageDigest,
  type UsageRecord,
} from './messages.ts'
import { counting, HOUR, signed, testChain, testSigner } from './testing.ts'

const CHAIN = '000102030405060708090a0b0c0d0e0f'

const readOf = (record: UsageRecord) => ({ record, digest: usageDigest(encodeUsage(record)) })
const lastOf = (record: UsageRecord): LastUsage => ({ ...record, digest: usageDigest(encodeUsage(record)) })

const counter: fc.Arbitrary<Counter> = fc.record(
  {
    name: fc.stringMatching(/^[a-z0-9][a-z0-9._-]{0,12}$/),
    unit: fc.constantFrom('1', 'h', 'kW.h', 'mL'),
    value: fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
  },
  { noNullPrototype: true },
)
const anyRecord: fc.Arbitrary<UsageRecord> = fc
  .record({
    chain: fc.uint8Array({ minLength: 16, maxLength: 16 }),
    number: fc.integer({ min: 1, max: 2 ** 40 }),
    previous: fc.uint8Array({ minLength: 32, maxLength: 32 }),
    from: fc.integer({ min: 0, max: 4e9 }),
    lasts: fc.integer({ min: 0, max: 1e6 }),
    counters: fc.uniqueArray(counter, { maxLength: 8, selector: ({ name }) => name }),
  })
  .map(({ chain, number, previous, from, lasts, counters }) => ({
    ...{
      chain: chain.toHex(),
      number,
      previous: number === 1 ? '' : previous.toHex(),
      from: from * 1000,
      to: (from + lasts) * 1000,
    },
    counters: counters.toSorted((a, b) => (a.name < b.name ? -1 : 1)),
  }))

test('R32: a record is read as it was written', () => {
  fc.assert(fc.property(anyRecord, (record) => assert.deepEqual(parseUsage(encodeUsage(record)), record)))
})

test('R32: only the key of the certificate in it signs a record, and signing again does not make it another', async () => {
  const [signer, other] = [await testSigner(), await testSigner()]
  const [record] = testChain(CHAIN, 1) as readonly [UsageRecord]
  const [once, again] = [await readUsage(await signed(record, signer)), await readUsage(await signed(record, other))]
  assert.deepEqual(once.record, record)
  assert.equal(once.digest, again.digest)
  assert.notDeepEqual(once.certificate, again.certificate)
  const forged = signUsage(encodeUsage(record), { ...signer, sign: (message) => other.sign(message) })
  await assert.rejects(readUsage(await forged), { code: 'badProof' })
  const octets = await signed(record, signer)
  octets[octets.length - 100] = (octets[octets.length - 100] ?? 0) ^ 1
  await assert.rejects(readUsage(octets), (error: { code?: string }) => ['badProof', 'malformed'].includes(error.code ?? ''))
})

test('what is not a record is refused', () => {
  const good = mapOf(parseCBOR(encodeUsage((testChain(CHAIN, 2) as readonly [UsageRecord, UsageRecord])[1])), 'it')
  const changes: readonly (readonly [Label, Parameters<typeof encodeCBOR>[0]])[] = [
    [7, 1],
    [1, new Uint8Array(15)],
    [2, 0],
    [2, 1],
    [3, new Uint8Array(0)],
    [4, 5e9],
    [5, 0],
    [6, new Map([['A', ['1', 1]]])],
    [6, new Map([['a', ['1', -1]]])],
    [6, new Map([['a', ['', 1]]])],
    [6, new Map([['a', ['1', 2n ** 60n]]])],
    [6, new Map(Array.from({ length: 65 }, (_, at) => [`c${at}`, ['1', 1]] as const))],
  ]
  for (const [label, value] of changes)
    assert.throws(() => parseUsage(encodeCBOR(new Map([...good, [label, value]]))), { code: 'malformed' }, `member ${label}`)
})

/** What somebody between, or a device that does not behave, makes of a chain that was counted rightly. */
type Tampering =
  | { readonly type: 'as it is' }
  | { readonly type: 'dropped'; readonly count: number }
  | { readonly type: 'repeated'; readonly back: number }
  | { readonly type: 'altered' }
  | { readonly type: 'set back' }
  | { readonly type: 'of another chain' }

const tampering: fc.Arbitrary<Tampering> = fc.oneof(
  { weight: 4, arbitrary: fc.constant({ type: 'as it is' as const }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('dropped' as const), count: fc.integer({ min: 1, max: 3 }) }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('repeated' as const), back: fc.nat({ max: 5 }) }) },
  { weight: 1, arbitrary: fc.constant({ type: 'altered' as const }) },
  { weight: 1, arbitrary: fc.constant({ type: 'set back' as const }) },
  { weight: 1, arbitrary: fc.constant({ type: 'of another chain' as const }) },
)

test('R32: dropped, repeated, reordered, altered and set back are each found, and what is found changes nothing', () => {
  fc.assert(
    fc.property(fc.array(tampering, { minLength: 1, maxLength: 25 }), (course) => {
      const chain = testChain(CHAIN, 110)
      const stranger = testChain('f'.repeat(32), 1)[0] as UsageRecord
      const taken = new Map<number, string>()
      let last: LastUsage | undefined
      let at = 0
      const take = (record: UsageRecord): string => {
        const read = readOf(record)
        const succession = successionOf(read, last, (number) => taken.get(number))
        if (succession.kind === 'next' || succession.kind === 'gap') {
          last = lastOf(record)
          taken.set(record.number, read.digest)
        }
        return succession.kind
      }
      assert.equal(take(chain[at++] as UsageRecord), 'next')
      for (const step of course) {
        const next = chain[at] as UsageRecord
        const before: LastUsage | undefined = last
        switch (step.type) {
          case 'as it is':
            assert.equal(take(next), 'next')
            at++
            break
          case 'dropped':
            assert.equal(take(chain[at + step.count] as UsageRecord), 'gap')
            assert.equal(take(next), 'repeated', 'it comes late, and its counts are there')
            at += step.count + 1
            break
          case 'repeated':
            assert.equal(take(chain[Math.max(0, at - 1 - step.back)] as UsageRecord), 'repeated')
            break
          case 'altered': {
            const number = [...taken.keys()].at(-1) ?? 1
            const known = chain[number - 1] as UsageRecord
            assert.equal(take({ ...known, counters: counting(0, 0) }), 'forked')
            assert.equal(take({ ...next, previous: 'ab'.repeat(32) }), 'forked')
            break
          }
          case 'set back':
            assert.equal(take({ ...next, counters: counting(1000 * at - 1, at) }), 'set-back')
            assert.equal(take({ ...next, counters: counting(1000 * (at + 1), at).slice(0, 1) }), 'set-back', 'a counter is gone')
            assert.equal(take({ ...next, from: next.from - HOUR }), 'set-back', 'the period overlaps')
            assert.equal(
              take({ ...next, number: next.number + 1, previous: 'ab'.repeat(32), counters: counting(0, 0) }),
              'set-back',
            )
            break
          case 'of another chain':
            assert.equal(take(stranger), 'begun-anew')
            break
        }
        if (step.type !== 'as it is' && step.type !== 'dropped') assert.equal(last, before)
      }
    }),
  )
})

test('R32: a counter that counts in another unit was set back, and a new one may come', () => {
  const [first, second] = testChain(CHAIN, 2) as readonly [UsageRecord, UsageRecord]
  const other = second.counters.map((one) => (one.name === 'run' ? { ...one, unit: 's' } : one))
  assert.deepEqual(successionOf(readOf({ ...second, counters: other }), lastOf(first)), {
    ...{ kind: 'set-back', counter: 'run', value: 0, before: 1 },
  })
  const more = [...second.counters, { name: 'starts', unit: '1', value: 3 }]
  assert.equal(successionOf(readOf({ ...second, counters: more }), lastOf(first)).kind, 'next')
})
