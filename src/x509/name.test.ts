/** Names: encodings, RFC 4514 text, comparison, bounds. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { decode, encode } from '#asn1/codec.ts'
import {
  attributeOf,
  attributesOf,
  attributeTypes,
  encodeName,
  equalNames,
  formatName,
  Name,
  nameFindings,
  nameOf,
  parseDistinguishedName,
  parseName,
} from './name.ts'

test('R2: a name is written in the encodings that RFC 5280 asks for', () => {
  const name = nameOf([
    { type: 'C', value: 'DE' },
    { type: 'O', value: 'Müller Pumpen' },
    { type: 'serialNumber', value: 'SN-7' },
    { type: 'DC', value: 'example' },
    { type: '1.3.6.1.4.1.99999.1', value: 'x' },
  ])
  const encodings = name.flat().map(({ encoding }) => encoding)
  assert.deepEqual(encodings, ['printableString', 'utf8String', 'printableString', 'ia5String', 'utf8String'])
  // by hand: SEQUENCE { SET { SEQUENCE { 2.5.4.6, PrintableString "DE" } } }
  assert.equal(encodeName(name.slice(0, 1)).toHex(), '300d310b3009060355040613024445')
})

for (const { name, part, detail } of [
  { name: 'a type that is no identifier', part: { type: 'nonsense', value: 'x' }, detail: /no attribute type/ },
  { name: 'an identifier under joint-iso with a bad arc', part: { type: '1.40.1', value: 'x' }, detail: /1\.40\.1/ },
  { name: 'an empty value', part: { type: 'CN', value: '' }, detail: /empty/ },
  { name: 'a character that PrintableString does not have', part: { type: 'serialNumber', value: 'a_b' }, detail: /character/ },
  { name: 'a character that IA5String does not have', part: { type: 'DC', value: 'müller' }, detail: /character/ },
]) {
  test(`nameOf refuses ${name}`, () => {
    assert.throws(() => encodeName(nameOf([part])), { code: 'malformed', reason: 'notName', message: detail })
  })
}

test('a value of a type that is no string is kept as it stands', () => {
  const hex = '300c310a3008060355040302010a'
  const bytes = Uint8Array.fromHex(hex)
  assert.deepEqual(parseName(bytes), [[{ type: '2.5.4.3', value: '02010a', encoding: 'any' }]])
  assert.equal(encodeName(parseName(bytes)).toHex(), hex)
  assert.equal(formatName(parseName(bytes)), 'CN=#02010a')
})

/** RFC 4514, section 4, where the example's attribute types are in the table. */
const examples = [
  { text: 'UID=jsmith,DC=example,DC=net' },
  { text: 'OU=Sales+CN=J.  Smith,DC=example,DC=net' },
  { text: String.raw`CN=James \"Jim\" Smith\, III,DC=example,DC=net` },
  { text: String.raw`CN=Before\0dAfter,DC=example,DC=net` },
  { text: '1.3.6.1.4.1.1466.0=#04024869' },
  { text: String.raw`CN=Lu\C4\8Di\C4\87`, formatted: 'CN=Lučić' },
]
for (const { text, formatted = text } of examples) {
  test(`RFC 4514, 4: ${text}`, () => {
    const name = parseDistinguishedName(text)
    assert.equal(formatName(name), formatted)
    assert.deepEqual(parseName(encodeName(name)), name)
  })
}

test('a multi-valued level is read as one, and serial order is from the root', () => {
  const name = parseDistinguishedName('OU=Sales+CN=J. Smith,DC=example,DC=net')
  assert.deepEqual(
    name.map((rdn) => rdn.map(({ value }) => value)),
    [['net'], ['example'], ['Sales', 'J. Smith']],
  )
})

for (const { name, text } of [
  { name: 'a part without an equals sign', text: 'CN=a,b' },
  { name: 'an unescaped semicolon', text: 'CN=a;b' },
  { name: 'an unescaped quote', text: 'CN="a"' },
  { name: 'a backslash before a plain letter', text: String.raw`CN=a\z` },
  { name: 'a backslash at the end', text: 'CN=a\\' },
  { name: 'escapes that are not UTF-8', text: String.raw`CN=\ff` },
  { name: 'an unknown type', text: 'FOO=bar' },
  { name: 'hex that is not DER', text: 'CN=#0403aa' },
  { name: 'an empty value', text: 'CN=,O=x' },
  { name: 'a trailing comma', text: 'CN=a,' },
]) {
  test(`RFC 4514 text: refuses ${name}`, () => assert.throws(() => parseDistinguishedName(text), { code: 'malformed' }))
}

test('no text is too long or too odd for the parser to end with a name or a refusal', () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(...Array.from('CN=O,+\\#"; 0aé')), maxLength: 40 }), (text) => {
      try {
        const name = parseDistinguishedName(text)
        assert.ok(equalNames(encodeName(parseDistinguishedName(formatName(name))), encodeName(name)))
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'malformed')
      }
    }),
    { numRuns: 3000 },
  )
  assert.throws(() => parseDistinguishedName(`CN=${'x'.repeat(9000)}`), { code: 'tooLarge' })
})

const anyName = fc.array(
  fc.record({
    type: fc.constantFrom('CN', 'O', 'OU', 'L', 'ST', 'title', '1.3.6.1.4.1.99999.5'),
    value: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 }).filter((text) => text.isWellFormed()),
  }),
  { maxLength: 6 },
)

test('parse(encode(name)) = name, and its RFC 4514 text reads back to the same name', () => {
  fc.assert(
    fc.property(anyName, (parts) => {
      const name = nameOf(parts)
      assert.deepEqual(parseName(encodeName(name)), name)
      assert.deepEqual(
        parseDistinguishedName(formatName(name))
          .flat()
          .map(({ type, value }) => ({ type, value })),
        name.flat().map(({ type, value }) => ({ type, value })),
      )
    }),
    { numRuns: 500 },
  )
})

test('no bytes crash the reader: accepted implies canonical', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      try {
        assert.deepEqual(encode(Name, decode(Name, bytes)), bytes)
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'malformed')
      }
    }),
    { numRuns: 3000 },
  )
})

const printable = (value: string) => encodeName([[{ type: attributeTypes.CN, value, encoding: 'printableString' }]])
const text = (value: string) => encodeName([[{ type: attributeTypes.CN, value, encoding: 'utf8String' }]])
const teletex = (value: string) => encodeName([[{ type: attributeTypes.CN, value, encoding: 'teletexString' }]])

for (const { name, a, b, same } of [
  { name: 'the same octets', a: text('Press 7'), b: text('Press 7'), same: true },
  { name: 'another case', a: text('PRESS 7'), b: text('press 7'), same: true },
  { name: 'PrintableString and UTF8String', a: printable('Press 7'), b: text('Press 7'), same: true },
  { name: 'more white space', a: text('Press   7'), b: text(' Press 7  '), same: true },
  { name: 'composed and decomposed', a: text('Müller'), b: text('Mu\u0308ller'), same: true },
  { name: 'sharp s', a: text('Straße'), b: text('STRASSE'), same: true },
  { name: 'a character that means nothing', a: text('Press\u200b7'), b: text('Press7'), same: true },
  { name: 'another value', a: text('Press 7'), b: text('Press 8'), same: false },
  { name: 'no white space at all', a: text('Press7'), b: text('Press 7'), same: false },
  { name: 'an encoding that need not compare', a: teletex('Press 7'), b: text('Press 7'), same: false },
  { name: 'another level', a: text('a'), b: encodeName([...parseName(text('a')), ...parseName(text('b'))]), same: false },
  {
    name: 'the values of one level in another order',
    a: encodeName(parseDistinguishedName('CN=a+OU=b')),
    b: encodeName(parseDistinguishedName('OU=B+CN=A')),
    same: true,
  },
  {
    name: 'levels in another order',
    a: encodeName(parseDistinguishedName('CN=a,OU=b')),
    b: encodeName(parseDistinguishedName('OU=b,CN=a')),
    same: false,
  },
]) {
  test(`RFC 5280, 7.1: ${name} ${same ? 'is the same name' : 'is another name'}`, () => {
    assert.equal(equalNames(a, b), same)
    assert.equal(equalNames(b, a), same)
  })
}

test('an attribute that a name has twice has no single value', () => {
  const name = parseDistinguishedName('serialNumber=2,OU=b,OU=a')
  assert.deepEqual(attributesOf(name, 'OU'), ['a', 'b'])
  assert.equal(attributeOf(name, 'serialNumber'), '2')
  assert.equal(attributeOf(name, attributeTypes.CN), undefined)
  assert.throws(() => attributeOf(name, 'OU'), { code: 'malformed', reason: 'repeatedAttribute' })
})

test('RFC 5280, A.1: what exceeds the bounds is found, and not refused by the parser', () => {
  const clean = nameOf([
    { type: 'C', value: 'DE' },
    { type: 'CN', value: 'ü'.repeat(64) },
  ])
  assert.deepEqual(nameFindings(clean), [])
  const name = parseName(
    encodeName([
      ...nameOf([
        { type: 'C', value: 'de' },
        { type: 'CN', value: 'x'.repeat(65) },
      ]),
      [{ type: attributeTypes.O, value: 'Old', encoding: 'teletexString' }],
    ]),
  )
  assert.deepEqual(nameFindings(name), [
    { kind: 'country', detail: 'C is not a country code of two capital letters' },
    { kind: 'length', detail: 'CN has 65 characters, more than 64' },
    { kind: 'encoding', detail: 'O is written as teletexString' },
  ])
})

test('names have limits: levels and values', () => {
  const level = encodeName(nameOf([{ type: 'CN', value: 'x' }])).subarray(2)
  const many = new Uint8Array(4 + 65 * level.length)
  many.set([0x30, 0x82, (65 * level.length) >> 8, (65 * level.length) & 0xff])
  for (let i = 0; i < 65; i++) many.set(level, 4 + i * level.length)
  assert.throws(() => parseName(many), { code: 'malformed', message: /more than 64/ })
  assert.throws(() => parseName(Uint8Array.fromHex('30023100')), { code: 'malformed', message: /fewer than 1/ })
})
