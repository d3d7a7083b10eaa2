import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { asTrustError } from '#base/errors.ts'
import { encodeCBOR } from './cbor.ts'
import { boolean, encodeRecord, field, integer, list, octets, optional, parseRecord, record, text, time, word } from './record.ts'

const shape = record({
  name: field(1, text(8)),
  count: field(2, integer(1, 9)),
  hash: field(3, octets(4)),
  kind: field(4, word(['up', 'down'])),
  at: field(5, time),
  parts: field(6, list(record({ isSet: field(1, boolean) }), { min: 1, max: 2 })),
  note: optional(7, text(3, /^[a-z]+$/)),
})
const reading = { what: 'the thing', maxOctets: 200 }

const item = (changes: readonly (readonly [number, Parameters<typeof encodeCBOR>[0]])[] = [], without?: number): Uint8Array => {
  const map = new Map<number, Parameters<typeof encodeCBOR>[0]>([
    [1, 'motor'],
    [2, 9],
    [3, new Uint8Array(4)],
    [4, 'up'],
    [5, 1_700_000_000],
    [6, [new Map([[1, true]])]],
    ...changes,
  ])
  if (without !== undefined) map.delete(without)
  return encodeCBOR(map)
}

test('RFC 8949, 4.2.1: a record that is read and written again is the same octets', () => {
  const value = fc.record(
    {
      name: fc.stringMatching(/^[a-z]{1,8}$/),
      count: fc.integer({ min: 1, max: 9 }),
      hash: fc.uint8Array({ minLength: 4, maxLength: 4 }),
      kind: fc.constantFrom('up' as const, 'down' as const),
      at: fc.integer({ min: 0, max: 4e9 }).map((seconds) => new Date(seconds * 1000)),
      parts: fc.array(fc.record({ isSet: fc.boolean() }), { minLength: 1, maxLength: 2 }),
      note: fc.stringMatching(/^[a-z]{1,3}$/),
    },
    { requiredKeys: ['name', 'count', 'hash', 'kind', 'at', 'parts'] },
  )
  fc.assert(
    fc.property(value, (written) => {
      const encoded = encodeRecord(shape, written)
      const read = parseRecord(shape, encoded, reading)
      assert.deepEqual(encodeRecord(shape, read), encoded)
      assert.equal(read.at.getTime(), written.at.getTime())
      assert.equal(read.note, written.note)
    }),
  )
})

const refused: readonly (readonly [name: string, encoded: Uint8Array, detail: RegExp])[] = [
  ['what is left out', item([], 2), /says no count/],
  ['a label that is not known', item([[8, 1]]), /holds 8, which is not known/],
  ['a text that is too long', item([[1, 'motormotor']]), /name of the thing is not the text/],
  ['two lines', item([[1, 'a\nb']]), /name of the thing/],
  ['what reads from right to left', item([[1, 'a\u202eb']]), /name of the thing/],
  ['another pattern', item([[7, 'A']]), /note of the thing/],
  ['a number that is too small', item([[2, 0]]), /count of the thing is not from 1 to 9/],
  ['a number that is too large', item([[2, 10]]), /is not from 1 to 9/],
  ['a number beyond what is exact', item([[2, 2n ** 60n]]), /integer of this size/],
  ['octets of another length', item([[3, new Uint8Array(5)]]), /hash of the thing has not its length/],
  ['another word', item([[4, 'left']]), /none of up, down/],
  ['a time before 1970', item([[5, -1]]), /is no time/],
  ['a time after 9999', item([[5, 253_402_300_800]]), /is no time/],
  ['too few entries', item([[6, []]]), /has not from 1 to 2 entries/],
  ['an entry of another type', item([[6, [1]]]), /parts of the thing, entry 1, is no map/],
  ['null for what is left out', item([[7, null]]), /note of the thing/],
  ['neither true nor false', item([[6, [new Map([[1, 1]])]]]), /neither true nor false/],
  ['what is no map', encodeCBOR([1]), /the thing is no map/],
]
for (const [name, encoded, detail] of refused) {
  test(`refused: ${name}`, () => {
    assert.throws(
      () => parseRecord(shape, encoded, reading),
      (error) => {
        const { code, facts } = asTrustError(error)
        return code === 'malformed' && detail.test(String(facts['detail']))
      },
    )
  })
}

test('refused: longer than it may be, and keys in another order', () => {
  assert.throws(() => parseRecord(shape, item(), { ...reading, maxOctets: 10 }), { code: 'tooLarge' })
  assert.ok(parseRecord(shape, item(), reading))
  assert.throws(
    () => parseRecord(record({ a: field(1, integer(0)), b: field(2, integer(0)) }), Uint8Array.fromHex('a202000100'), reading),
    {
      code: 'malformed',
    },
  )
})

test('two fields with one label are a mistake of the program', () => {
  assert.throws(() => record({ a: field(1, boolean), b: field(1, boolean) }), TypeError)
})
