/** How fast one address may ask, and that nobody can make the table grow. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { networkOf, rateLimit } from './rate-limit.ts'

test('a burst, then the rate; waiting gives tokens back up to the burst', () => {
  let now = 0
  const limit = rateLimit({ perSecond: 2, burst: 3, addressesMax: 10, clock: { now: () => now } })
  const take = () => limit.take('192.0.2.1')
  assert.deepEqual([take(), take(), take(), take()], [0, 0, 0, 1])
  now += 500
  assert.deepEqual([take(), take()], [0, 1])
  now += 3_600_000
  assert.deepEqual([take(), take(), take(), take()], [0, 0, 0, 1])
  assert.equal(limit.take('192.0.2.2'), 0, 'another address has its own')
})

test('a clock that is set back neither gives nor takes', () => {
  let now = 1_000_000
  const limit = rateLimit({ perSecond: 1, burst: 1, addressesMax: 10, clock: { now: () => now } })
  assert.equal(limit.take('192.0.2.1'), 0)
  now = 0
  assert.equal(limit.take('192.0.2.1'), 1)
})

test('the longest known address is forgotten when the table is full', () => {
  const limit = rateLimit({ perSecond: 1, burst: 1, addressesMax: 2, clock: { now: () => 0 } })
  assert.deepEqual(['a', 'b', 'a', 'c', 'b', 'a'].map(limit.take), [0, 0, 1, 0, 1, 0])
})

test('over any time no more is let through than burst and rate allow', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(400), { minLength: 1, maxLength: 200 }), (pauses) => {
      let now = 0
      let passed = 0
      const limit = rateLimit({ perSecond: 10, burst: 5, addressesMax: 10, clock: { now: () => now } })
      for (const pause of pauses) {
        now += pause
        if (limit.take('192.0.2.1') === 0) passed += 1
      }
      assert.ok(passed <= 5 + (now / 1000) * 10 + 1)
    }),
  )
})

for (const [address, network] of [
  ['192.0.2.1', '192.0.2.1'],
  ['::ffff:192.0.2.1', '192.0.2.1'],
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2'],
  ['2001:db8:1:2:ffff::1', '2001:db8:1:2'],
  ['2001:db8::1', '2001:db8:0:0'],
  ['fe80::1%eth0', 'fe80:0:0:0'],
  ['::1', '0:0:0:0'],
]) {
  test(`${address} counts as ${network}`, () => assert.equal(networkOf(address as string), network))
}
