/** Lengths of packets, however they arrive in pieces. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { framing } from './framing.ts'

const MAX = 20_000

/** MQTT 3.1.1, 2.2.3 */
function packet(length: number): Uint8Array {
  const digits: number[] = []
  for (let rest = length; ;) {
    digits.push((rest % 128) + (rest >= 128 ? 128 : 0))
    rest = Math.floor(rest / 128)
    if (rest === 0) break
  }
  return Uint8Array.of(0x30, ...digits, ...new Uint8Array(length).fill(0xff))
}

test('packets up to the limit pass, in whatever pieces, and the first longer one does not', () => {
  const lengths = fc.array(fc.oneof(fc.constantFrom(0, 127, 128, 16_383, 16_384, MAX), fc.nat(MAX)), { maxLength: 5 })
  fc.assert(
    fc.property(lengths, fc.array(fc.integer({ min: 1, max: 5000 }), { minLength: 1 }), (all, steps) => {
      const frames = framing(MAX)
      const octets = Buffer.concat([...all.map(packet), packet(MAX + 1)])
      const end = octets.length - MAX - 1 // the last digit of the length that is too long
      let at = 0
      for (let step = 0; at < end - 1; step++) {
        const next = Math.min(at + (steps[step % steps.length] ?? 1), end - 1)
        assert.equal(frames.take(octets.subarray(at, next)), true)
        at = next
      }
      assert.equal(frames.take(octets.subarray(at)), false)
    }),
    { numRuns: 50 },
  )
})

test('a length of five digits is none', () => {
  const frames = framing(Number.MAX_SAFE_INTEGER)
  assert.equal(frames.take(Uint8Array.of(0x30, 0xff, 0xff, 0xff)), true)
  assert.equal(frames.take(Uint8Array.of(0xff)), false)
})
