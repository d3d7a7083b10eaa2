import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { utf8 } from '#base/bytes.ts'
import { asTrustError } from '#base/errors.ts'
import { isJSONObject, parseJSON, parseJSONObject } from './json.ts'

const answer = (octets: Uint8Array, maxOctets?: number): string => {
  try {
    return JSON.stringify(parseJSON(octets, maxOctets))
  } catch (error) {
    const { code, reason, facts } = asTrustError(error)
    return `${code} ${reason} ${facts['detail'] ?? ''}`
  }
}

const read: readonly (readonly [string, string])[] = [
  ['null', 'null'],
  [' true\n', 'true'],
  ['-0.5e1', '-5'],
  ['9007199254740991', '9007199254740991'],
  ['1e300', ''],
  ['"a\\u00e4\\"\\\\"', '"aä\\"\\\\"'],
  ['"\\\\"', '"\\\\"'],
  ['"\\ud83c\\udfed"', '"🏭"'],
  ['[]', '[]'],
  ['[1, [2]]', '[1,[2]]'],
  ['{}', '{}'],
  ['{"a":{"b":[{}]},"c":"\t"}'.replace('\t', '\\t'), '{"a":{"b":[{}]},"c":"\\t"}'],
  ['{"__proto__":1,"toString":2}', '{"__proto__":1,"toString":2}'],
]
for (const [text, value] of read.filter(([, expected]) => expected !== '')) {
  test(`RFC 8259: reads ${JSON.stringify(text)}`, () => assert.equal(answer(utf8(text)), value))
}

const refused: readonly (readonly [string, string | Uint8Array, string])[] = [
  ['nothing', '', 'there is no value where one should be'],
  ['a member twice', '{"a":1,"a":1}', 'an object has a member twice'],
  ['a member twice, once escaped', '{"a":1,"\\u0061":2}', 'an object has a member twice'],
  ['a member twice, further in', '[{"x":{"__proto__":1,"__proto__":2}}]', 'an object has a member twice'],
  ['something behind', '{} {}', 'something follows the value'],
  ['a NUL behind', '{}\u0000', 'something follows the value'],
  ['a comment', '/* */ 1', 'there is no value where one should be'],
  ['a comma too many', '[1,]', 'there is no value where one should be'],
  ['a comma too many in an object', '{"a":1,}', 'a name is no string'],
  ['no comma', '[1 2]', 'an array does not end'],
  ['an array without end', '[1', 'an array does not end'],
  ['an object without end', '{"a":1', 'an object does not end'],
  ['a name that is no string', '{a:1}', 'a name is no string'],
  ['a name without value', '{"a"}', 'a member has no value'],
  ['a string without end', '"a', 'a string does not end'],
  ['a string whose end is escaped', '"a\\"', 'a string does not end'],
  ['single quotes', "'a'", 'there is no value where one should be'],
  ['a control character', '"a\nb"', 'a string is not written as it must be'],
  ['an escape that is none', '"\\x41"', 'a string is not written as it must be'],
  ['half a surrogate pair', '"\\ud800"', 'a string holds half a surrogate pair'],
  ['the other half', '{"\\udfed":1}', 'a string holds half a surrogate pair'],
  ['a byte order mark', '\ufeff{}', 'there is no value where one should be'],
  ['octets that are not UTF-8', Uint8Array.of(0x22, 0xff, 0x22), 'it is not UTF-8'],
  ['an overlong form', Uint8Array.of(0x22, 0xc0, 0xa2, 0x22), 'it is not UTF-8'],
  ['NaN', 'NaN', 'there is no value where one should be'],
  ['a plus sign', '+1', 'there is no value where one should be'],
  ['a leading zero', '01', 'something follows the value'],
  ['a point without digits', '1.', 'something follows the value'],
  ['a number that a double rounds', '9007199254740993', 'a number is larger than can be held exactly'],
  ['a number that is too large', '1e400', 'a number is larger than can be held exactly'],
  ['another space', '\u00a01', 'there is no value where one should be'],
]
for (const [name, text, why] of refused) {
  test(`refuses ${name}`, () => {
    assert.equal(answer(typeof text === 'string' ? utf8(text) : text), `malformed notStrictJSON ${why}`)
  })
}

test('depth, number and size are bounded', () => {
  const nested = (depth: number): Uint8Array => utf8('['.repeat(depth) + '1' + ']'.repeat(depth))
  assert.match(answer(nested(32)), /^\[/)
  assert.equal(answer(nested(33)), 'tooLarge jsonTooDeep ')
  assert.equal(answer(utf8('['.repeat(900_000))), 'tooLarge jsonTooDeep ')
  assert.equal(answer(utf8(`[${'1,'.repeat(100_000)}1]`)), 'tooLarge jsonTooMany ')
  assert.equal(answer(new Uint8Array(11), 10), 'tooLarge jsonTooLarge ')
})

test('a string of millions of characters is read at once', () => {
  const text = 'A'.repeat(8 << 20)
  assert.equal(parseJSON(utf8(`"${text}"`), 9 << 20), text)
})

test('only an object is one', () => {
  assert.throws(() => parseJSONObject(utf8('[]')), { reason: 'notStrictJSON' })
  assert.equal(isJSONObject(parseJSON(utf8('null'))), false)
  assert.equal(Object.getPrototypeOf(parseJSONObject(utf8('{}'))), null)
})

test('what JSON.stringify writes is read as JSON.parse reads it', () => {
  const value = fc.jsonValue({ maxDepth: 4, stringUnit: 'binary' }).filter((one) => {
    const text = JSON.stringify(one)
    return !/-0\b|\d{16}|e\+?\d\d/.test(text)
  })
  fc.assert(fc.property(value, (one) => assert.equal(answer(utf8(JSON.stringify(one))), JSON.stringify(one))))
})

test('no octets make a fault, and what is accepted JSON.parse accepts too', () => {
  const alphabet = fc.constantFrom(...'{}[]":,\\u019aeE-+. \n\t"tfn'.split(''))
  fc.assert(
    fc.property(fc.array(alphabet, { maxLength: 30 }), (characters) => {
      const text = characters.join('')
      const seen = answer(utf8(text))
      if (/^(malformed|tooLarge) /.test(seen)) return
      assert.equal(seen, JSON.stringify(JSON.parse(text)))
    }),
    { numRuns: 5000 },
  )
})
