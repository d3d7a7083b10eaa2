/** Which topics lie within which filters. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { BrokerDevice } from './broker.ts'
import { conditionsFor, covers, parseUp, subtreeOf } from './topics.ts'

const pump: BrokerDevice = { deviceId: '1', epoch: 1, name: 'P-1', organization: 'ann', area: 'paint', areaId: '2' }
const NOTHING = { publish: [], subscribe: [] }

test('a filter covers what it matches, and filters that match no more', () => {
  const cases: readonly (readonly [pattern: string, filter: string, isCovered: boolean])[] = [
    ['a/#', 'a', true],
    ['a/#', 'a/b/c', true],
    ['a/#', 'a/+/#', true],
    ['a/+', 'a/b', true],
    ['a/+', 'a/+', true],
    ['a/+', 'a/#', false],
    ['a/+', 'a', false],
    ['a/+', 'a/b/c', false],
    ['a/b', 'a/+', false],
    ['a/b', '#', false],
    ['+/+', '+/#', false],
    ['a/b', 'a/bc', false],
    ['a//b', 'a/b', false],
  ]
  for (const [pattern, filter, isCovered] of cases) assert.equal(covers(pattern, filter), isCovered, `${pattern} ${filter}`)
})

const level = fc.constantFrom('a', 'b', '')
const topic = fc.array(level, { minLength: 1, maxLength: 4 }).map((levels) => levels.join('/'))
const filter = fc
  .tuple(fc.array(fc.oneof(level, fc.constant('+')), { minLength: 1, maxLength: 4 }), fc.boolean())
  .map(([levels, isOpen]) => [...levels, ...(isOpen ? ['#'] : [])].join('/'))

test('what a covered filter matches, its pattern matches', () => {
  fc.assert(
    fc.property(filter, filter, topic, (wide, narrow, one) => {
      fc.pre(covers(wide, narrow) && covers(narrow, one))
      return covers(wide, one)
    }),
    { numRuns: 2000 },
  )
})

test('R7: a device has its own subtree, whatever its name is made of', () => {
  const holds = (device: BrokerDevice, act: 'publish' | 'subscribe', at: string): boolean =>
    conditionsFor(device, NOTHING, act, at).has('own-subtree')
  assert.equal(holds(pump, 'publish', 'iiot/ann/paint/P-1/up/x'), true)
  assert.equal(holds(pump, 'publish', 'iiot/ann/paint/P-1/cmd/x'), false)
  assert.equal(holds(pump, 'publish', 'iiot/ann/paint/P-12/up/x'), false)
  assert.equal(holds(pump, 'subscribe', 'iiot/ann/paint/P-1/cmd/#'), true)
  assert.equal(holds(pump, 'subscribe', 'iiot/ann/paint/P-1/#'), false)
  assert.equal(holds(pump, 'subscribe', 'iiot/ann/paint/P-1/cmdx/#'), false)
  fc.assert(
    fc.property(
      fc.string({ unit: 'grapheme', minLength: 1, maxLength: 12 }),
      fc.string({ minLength: 1, maxLength: 12 }),
      (a, b) => {
        const [own, other] = [subtreeOf({ ...pump, name: a }), subtreeOf({ ...pump, name: b })]
        assert.equal(own.split('/').length, 4)
        assert.doesNotMatch(own, /[+#]/)
        assert.equal(own === other, a === b)
      },
    ),
  )
})

test('a conduit grants what it names, to publish or to hear', () => {
  const grants = { publish: ['iiot/ann/press/+/down/heat'], subscribe: ['iiot/ann/press/M-1/evt/#'] }
  assert.deepEqual([...conditionsFor(pump, grants, 'publish', 'iiot/ann/press/M-1/down/heat')], ['certificate-usable', 'conduit'])
  assert.deepEqual([...conditionsFor(pump, grants, 'publish', 'iiot/ann/press/M-1/evt/x')], ['certificate-usable'])
  assert.deepEqual([...conditionsFor(pump, grants, 'subscribe', 'iiot/ann/press/M-1/evt/+')], ['certificate-usable', 'conduit'])
  assert.deepEqual([...conditionsFor(pump, grants, 'subscribe', 'iiot/ann/press/+/evt/x')], ['certificate-usable'])
})

test('what a device sends to the server is told by its topic', () => {
  assert.deepEqual(parseUp('iiot/ann/paint/P-1/up/report'), { subtree: 'iiot/ann/paint/P-1', kind: 'report' })
  assert.equal(parseUp('iiot/ann/paint/P-1/evt/report'), undefined)
  assert.equal(parseUp('iiot/ann/paint/P-1/up'), undefined)
})
