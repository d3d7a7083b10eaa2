/** What a device counts: on the disk before it is said, sent once, and in one chain wherever power is cut. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import fc from 'fast-check'
import { TrustError } from '#base/errors.ts'
import { systemWorld, type World } from '#base/world.ts'
import { certificateOf, testKey } from '#protocols/testing.ts'
import { type LastUsage, readUsage, successionOf } from '#usage/messages.ts'
import type { Identity } from './enroll.ts'
import { scratch } from './testing.ts'
import { PERIOD_SECONDS, sendEach } from './usage.ts'
import { openUsageStore } from './usage-store.ts'

const AT = Date.UTC(2027, 5, 1)
const HOUR = PERIOD_SECONDS * 1000

function setting(t: TestContext) {
  const path = scratch(t)
  const time = { now: AT, stopsAt: undefined as string | undefined }
  const world: World = {
    ...systemWorld(),
    clock: { now: () => time.now },
    faults: {
      reach(point) {
        if (point === time.stopsAt) throw new Error(`power is cut: ${point}`)
      },
    },
  }
  const own = testKey()
  const { publicKey, sign } = own
  const key = {
    keyAlgorithm: 'ecdsa-p256',
    signatureAlgorithm: 'ecdsa-sha256',
    publicKey,
    sign: async (m: Uint8Array) => sign(m),
  } as const
  const identity: Identity = { chain: [certificateOf(own)], key }
  let last: LastUsage | undefined
  const kinds: string[] = []
  /** As the server holds it against the device. */
  const receive = async (octets: Uint8Array): Promise<void> => {
    const read = await readUsage(octets)
    const { kind } = successionOf(read, last)
    kinds.push(kind)
    if (kind === 'next' || kind === 'gap') last = { ...read.record, digest: read.digest }
    else if (kind !== 'repeated') throw new TrustError('forbidden', 'usageForked')
  }
  const within = <T>(work: (store: ReturnType<typeof openUsageStore>) => T): T => {
    using store = openUsageStore(path, world)
    return work(store)
  }
  const round = async (send: (octets: Uint8Array) => Promise<void> = receive): Promise<void> => {
    using store = openUsageStore(path, world)
    store.close(PERIOD_SECONDS)
    await sendEach(store, { identity: async () => identity }, send)
  }
  return { path, world, time, kinds, within, round, receive, totals: () => last?.counters.map(({ value }) => value) ?? [] }
}

test('R32: what was counted is sent once an hour, and totals go on', async (t) => {
  const { time, within, round, kinds, totals } = setting(t)
  assert.deepEqual(
    within((store) => store.count('holes', 5)),
    { name: 'holes', unit: '1', value: 5 },
  )
  await round()
  within((store) => store.count('holes', 7))
  within((store) => store.count('run', 3600, 's'))
  await round()
  assert.deepEqual([kinds, totals()], [['next'], [5]], 'not before the hour is over')
  time.now += HOUR
  await round()
  time.now += HOUR
  await round()
  assert.deepEqual(
    [kinds, totals()],
    [
      ['next', 'next'],
      [12, 3600],
    ],
    'nothing was counted in the second',
  )
})

test('R32: counters keep their names, units and bounds', (t) => {
  const { within } = setting(t)
  within((store) => store.count('run', 1, 'h'))
  assert.throws(() => within((store) => store.count('run', 1, 's')), { reason: 'usageCounterUnit' })
  assert.throws(() => within((store) => store.count('run', -1)), { reason: 'usageAmount' })
  assert.throws(() => within((store) => store.count('run', Number.MAX_SAFE_INTEGER)), { reason: 'usageAmount' })
  assert.throws(() => within((store) => store.count('Run', 1)), { reason: 'notUsage' })
  assert.throws(() => within((store) => Array.from({ length: 65 }, (_, at) => store.count(`c${at}`, 1))), {
    reason: 'usageCountersMany',
  })
})

test('R32: without a network records are kept, the oldest go, and no count with them', async (t) => {
  const { time, path, world, round, kinds, totals } = setting(t)
  {
    using store = openUsageStore(path, world, 5)
    for (let hour = 0; hour < 8; hour++) {
      store.count('holes', 1)
      store.close(PERIOD_SECONDS)
      time.now += HOUR
    }
    assert.equal(store.unsent().length, 5)
  }
  await round()
  assert.deepEqual([kinds, totals()], [['gap', 'next', 'next', 'next', 'next'], [8]])
})

test('R32: a clock that was set back makes no period that overlaps', async (t) => {
  const { time, within, round, kinds } = setting(t)
  within((store) => store.count('holes', 1))
  await round()
  time.now -= 5 * HOUR
  within((store) => {
    store.count('holes', 1)
    store.close(0)
  })
  await round()
  assert.deepEqual(kinds, ['next', 'next'])
})

test('R32: where the server refuses, the record stays, until the device begins anew', async (t) => {
  const { time, within, round } = setting(t)
  within((store) => store.count('holes', 1))
  const refuse = (): Promise<void> => Promise.reject(new TrustError('forbidden', 'deviceMessageRefused'))
  await assert.rejects(round(refuse), { reason: 'deviceMessageRefused' })
  time.now += HOUR
  assert.equal(
    within((store) => store.unsent().length),
    1,
  )
  within((store) => store.beginAnew())
  assert.deepEqual(
    within((store) => [store.counters(), store.unsent()]),
    [[], []],
  )
})

test('R32: wherever power is cut, what was answered is counted once, and the chain goes on', async (t) => {
  const points = ['opened', 'counted', 'closed', 'sent'].flatMap((one) => [
    `agent usage ${one}: before commit`,
    `agent usage ${one}`,
  ])
  const cut = fc.constantFrom(undefined, ...points)
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ amount: fc.integer({ min: 1, max: 9 }), cut }), { minLength: 1, maxLength: 6 }),
      async (course) => {
        const { time, within, round, kinds, totals } = setting(t)
        let [least, most] = [0, 0]
        for (const { amount, cut: stopsAt } of course) {
          time.stopsAt = stopsAt
          most += amount
          try {
            within((store) => store.count('holes', amount))
            least += amount
          } catch {
            time.stopsAt = undefined // it starts again, and whoever counted was not answered
            const [now] = within((store) => store.counters())
            least = most = now?.value ?? 0
            assert.ok(least >= 0)
          }
          time.now += HOUR
          await round().catch(() => {})
          time.stopsAt = undefined
        }
        within((store) => store.count('holes', 1))
        time.now += HOUR
        await round()
        assert.deepEqual([totals(), least], [[least + 1], most])
        assert.ok(
          kinds.every((kind) => kind === 'next' || kind === 'repeated'),
          kinds.join(' '),
        )
      },
    ),
    { numRuns: 6 },
  )
})
