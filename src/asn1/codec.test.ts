import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import * as fc from 'fast-check'
import { ANY } from './any.ts'
import {
  captured,
  choice,
  type Codec,
  decode,
  encode,
  explicit,
  implicit,
  type Infer,
  octetStringOf,
  optional,
  sequence,
  sequenceOf,
  setOf,
  tagged,
  withDefault,
} from './codec.ts'
import { BOOLEAN, INTEGER, NULL, OBJECT_IDENTIFIER, OCTET_STRING, PrintableString, SMALL_INTEGER, UTF8String } from './types.ts'

const notDER = (message: RegExp) => ({ name: 'TrustError', code: 'malformed', reason: 'notDER', message })
const bytes = (hex: string) => Uint8Array.fromHex(hex.replaceAll(' ', ''))

/** A type with the accepted and refused forms of it. */
function table<T>(
  codec: Codec<T>,
  accepted: readonly (readonly [name: string, der: string, value: T])[],
  refused: readonly (readonly [name: string, der: string, message: RegExp])[],
): void {
  for (const [name, der, value] of accepted) {
    test(`accepts ${name}`, () => {
      assert.deepEqual(decode(codec, bytes(der)), value)
      assert.equal(encode(codec, value).toHex(), der.replaceAll(' ', ''))
    })
  }
  for (const [name, der, message] of refused) {
    test(`refuses ${name}`, () => assert.throws(() => decode(codec, bytes(der)), notDER(message)))
  }
}

describe('SEQUENCE', () => {
  const Plain = sequence('Plain', { a: INTEGER, b: optional(BOOLEAN), c: optional(explicit(0, INTEGER)), d: OCTET_STRING })
  table(
    Plain,
    [
      ['all components', '300d 020105 0101ff a003020107 0400', { a: 5n, b: true, c: 7n, d: new Uint8Array() }],
      ['only what is required', '3006 020105 0401aa', { a: 5n, d: bytes('aa') }],
      ['the last optional alone', '300b 020105 a003020107 0401aa', { a: 5n, c: 7n, d: bytes('aa') }],
    ],
    [
      ['a missing first component', '3000', /Plain\.a is missing/],
      ['a missing last component', '3003 020105', /Plain\.d is missing/],
      ['components out of order', '3009 0101ff 020105 0401aa', /expected INTEGER \(tag 0x02\), found tag 0x01/],
      ['optional components out of order', '300e 020105 a003020107 0101ff 0401aa', /expected OCTET STRING .* found tag 0x01/],
      ['a component twice', '300c 020105 0101ff 0101ff 0401aa', /expected OCTET STRING/],
      ['something after the last', '3008 020105 0401aa 0500', /Plain has unknown content/],
      ['the tag of a SET', '3106 020105 0401aa', /expected Plain \(tag 0x30\), found tag 0x31/],
      ['its primitive tag', '1006 020105 0401aa', /expected Plain/],
      ['an indefinite length', '3080 020105 0401aa 0000', /indefinite/],
      ['an explicit tag around nothing', '3008 020105 a000 0401aa', /INTEGER is missing/],
      ['an explicit tag around two', '300e 020105 a006020107020107 0401aa', /INTEGER has unknown content/],
      ['a primitive explicit tag', '300b 020105 8003020107 0401aa', /expected OCTET STRING/],
    ],
  )

  test('leaves absent components out of the value', () => {
    assert.deepEqual(Object.keys(decode(Plain, bytes('3006 020105 0401aa'))), ['a', 'd'])
  })

  test('a required component without a value is a mistake', () => {
    assert.throws(() => encode(Plain, { a: 5n } as Infer<typeof Plain>), { name: 'TypeError', message: /Plain\.d is required/ })
  })

  test('an optional component may be given as undefined', () => {
    assert.equal(encode(Plain, { a: 5n, b: undefined, d: new Uint8Array() }).toHex(), '30050201050400')
  })

  test('whatever the components, decode inverts encode', () => {
    const values = fc.record(
      {
        a: fc.bigInt({ min: -(2n ** 70n), max: 2n ** 70n }),
        b: fc.boolean(),
        c: fc.bigInt({ min: 0n, max: 300n }),
        d: fc.uint8Array({ maxLength: 300 }),
      },
      { requiredKeys: ['a', 'd'], noNullPrototype: true },
    )
    fc.assert(
      fc.property(values, (value) => assert.deepEqual(decode(Plain, encode(Plain, value)), value)),
      { numRuns: 300 },
    )
  })
})

describe('DEFAULT', () => {
  const Inner = sequence('Inner', { n: withDefault(SMALL_INTEGER, 20) })
  const Outer = sequence('Outer', {
    critical: withDefault(BOOLEAN, false),
    version: withDefault(explicit(0, SMALL_INTEGER), 0),
    inner: withDefault(Inner, { n: 20 }),
    purposes: withDefault(explicit(1, sequenceOf('Purposes', OBJECT_IDENTIFIER)), ['1.2']),
  })
  const defaults = { critical: false, version: 0, inner: { n: 20 }, purposes: ['1.2'] }
  table(
    Outer,
    [
      ['nothing said', '3000', defaults],
      ['one said', '3003 0101ff', { ...defaults, critical: true }],
      ['an explicit one said', '3005 a003020102', { ...defaults, version: 2 }],
      ['a structure said', '3005 3003020115', { ...defaults, inner: { n: 21 } }],
      ['an empty list, which is not the default', '3004 a1023000', { ...defaults, purposes: [] }],
    ],
    [
      ['false spelled out', '3003 010100', /Outer\.critical encodes its DEFAULT/],
      ['zero spelled out', '3005 a003020100', /Outer\.version encodes its DEFAULT/],
      ['an equal structure', '3002 3000', /Outer\.inner encodes its DEFAULT/],
      ['a default within a structure', '3005 3003020114', /Inner\.n encodes its DEFAULT/],
      ['an equal list', '3007 a1053003060 12a', /Outer\.purposes encodes its DEFAULT/],
      ['a BER true', '3003 010101', /BOOLEAN/],
      ['defaults out of order', '3008 a003020102 0101ff', /unknown content/],
    ],
  )

  test('values equal to the default are left out though they are other objects', () => {
    assert.equal(encode(Outer, { critical: false, version: 0, inner: { n: 20 }, purposes: ['1.2'] }).toHex(), '3000')
  })

  test('what stands after a default that was left out is written', () => {
    const After = sequence('After', { list: withDefault(sequenceOf('List', SMALL_INTEGER), [1]), octets: OCTET_STRING })
    assert.equal(encode(After, { list: [1], octets: bytes('aa') }).toHex(), '30030401aa')
    assert.equal(encode(After, { list: [1, 2], octets: bytes('aa') }).toHex(), '300b30060201010201020401aa')
  })
})

describe('IMPLICIT and EXPLICIT', () => {
  const Tagged = sequence('Tagged', {
    a: optional(implicit(0, INTEGER)),
    b: explicit(1, sequenceOf('Ints', INTEGER)),
    c: optional(implicit(2, sequenceOf('Ints', INTEGER))),
  })
  table(
    Tagged,
    [
      ['both', '300d 800105 a108 3006020101020102', { a: 5n, b: [1n, 2n] }],
      ['an implicit constructed one', '3009 a1023000 a203020109', { b: [], c: [9n] }],
    ],
    [
      [
        'an implicit tag that is constructed over a primitive',
        '3007 a00105 a1023000',
        /expected Ints \(tag 0xa1\), found tag 0xa0/,
      ],
      ['an implicit tag that is primitive over a list', '3009 a1023000 8203020109', /Tagged has unknown content/],
      ['another class', '300a 400105 a1023000', /runs past its container|expected Ints/],
      ['a missing explicit component', '3003 800105', /Tagged\.b is missing/],
    ],
  )
  test('an implicit tag keeps the rules of the content', () => {
    assert.throws(() => decode(implicit(0, INTEGER), bytes('80020001')), notDER(/shortest form/))
    assert.throws(() => decode(implicit(0, NULL), bytes('800100')), notDER(/unknown content/))
  })
})

describe('SEQUENCE OF', () => {
  table(
    sequenceOf('Some', SMALL_INTEGER, { min: 1, max: 2 }),
    [
      ['the least', '3003 020105', [5]],
      ['the most, in any order', '3006 020105 020101', [5, 1]],
    ],
    [
      ['too few', '3000', /Some has fewer than 1 items/],
      ['too many', '3009 020101 020101 020101', /Some has more than 2 items/],
      ['another type', '3003 0101ff', /expected INTEGER/],
    ],
  )
  test('without a count of its own it ends at 1024', () => {
    const Many = sequenceOf('Many', NULL)
    assert.equal(decode(Many, encode(Many, Array<null>(1024).fill(null))).length, 1024)
    assert.throws(() => decode(Many, encode(Many, Array<null>(1025).fill(null))), notDER(/Many has more than 1024 items/))
    assert.deepEqual(decode(Many, bytes('3000')), [])
  })
})

describe('SET OF', () => {
  const Some = setOf('Some', OCTET_STRING, { min: 1, max: 3 })
  table(
    Some,
    [
      ['one', '3102 0400', [bytes('')]],
      ['a shorter one first', '3105 0400 0401aa', [bytes(''), bytes('aa')]],
      ['ascending content', '3106 0401aa 0401ab', [bytes('aa'), bytes('ab')]],
      ['equal ones', '3106 0401aa 0401aa', [bytes('aa'), bytes('aa')]],
    ],
    [
      ['descending content', '3106 0401ab 0401aa', /Some is not in ascending order/],
      ['a longer one first', '3105 0401aa 0400', /Some is not in ascending order/],
      ['the last two swapped', '3109 0401aa 0401ac 0401ab', /Some is not in ascending order/],
      ['too few', '3100', /Some has fewer than 1 items/],
      ['too many', '3108 0400 0400 0400 0400', /Some has more than 3 items/],
      ['the tag of a SEQUENCE', '3002 0400', /expected Some \(tag 0x31\), found tag 0x30/],
    ],
  )
  test('is written in ascending order whatever the order given', () => {
    const items = fc.array(fc.uint8Array({ maxLength: 200 }), { minLength: 1, maxLength: 12 })
    fc.assert(
      fc.property(items, (value) => {
        const codec = setOf('Any', OCTET_STRING)
        const der = encode(codec, value)
        assert.equal(encode(codec, value.toReversed()).toHex(), der.toHex())
        assert.deepEqual(
          decode(codec, der)
            .map((one) => one.toHex())
            .toSorted(),
          value.map((one) => one.toHex()).toSorted(),
        )
      }),
      { numRuns: 300 },
    )
  })
  test('may be empty where its schema allows, and ends at 1024', () => {
    const Many = setOf('Many', NULL)
    assert.equal(encode(Many, []).toHex(), '3100')
    assert.deepEqual(decode(Many, bytes('3100')), [])
    assert.equal(decode(Many, encode(Many, Array<null>(1024).fill(null))).length, 1024)
    assert.throws(() => decode(Many, encode(Many, Array<null>(1025).fill(null))), notDER(/more than 1024/))
  })
})

describe('CHOICE', () => {
  const Text = choice('Text', { printableString: PrintableString, utf8String: UTF8String })
  const Nested = choice('Nested', { text: Text, number: explicit(0, INTEGER), any: implicit(1, OCTET_STRING) })
  table(
    Nested,
    [
      ['an alternative', 'a003020105', { type: 'number', value: 5n }],
      ['an alternative of an alternative', '0c0141', { type: 'text', value: { type: 'utf8String', value: 'A' } }],
      ['another of it', '130141', { type: 'text', value: { type: 'printableString', value: 'A' } }],
      ['an implicit one', '8101aa', { type: 'any', value: bytes('aa') }],
    ],
    [
      ['no alternative', '160141', /tag 0x16 is no alternative of Nested/],
      ['nothing', '', /Nested is missing/],
      ['an alternative that is wrong inside', '130140', /PrintableString/],
    ],
  )
  test('says which tags it accepts', () => {
    assert.deepEqual([0x13, 0x0c, 0xa0, 0x81, 0x16, -1].map(Nested.accepts), [true, true, true, true, false, false])
  })
  test('as an optional component it is skipped when none of its tags follows', () => {
    const Holder = sequence('Holder', { text: optional(Text), number: INTEGER })
    assert.deepEqual(decode(Holder, bytes('3003020105')), { number: 5n })
    assert.deepEqual(decode(Holder, bytes('3006130141020105')), { text: { type: 'printableString', value: 'A' }, number: 5n })
  })
  test('an unknown alternative is a mistake', () => {
    assert.throws(() => encode(Text, { type: 'ia5String' as 'utf8String', value: 'A' }), {
      name: 'TypeError',
      message: /ia5String is no alternative of Text/,
    })
  })
})

describe('captured', () => {
  const Inner = sequence('Inner', { n: SMALL_INTEGER })
  const Outer = sequence('Outer', { before: NULL, inner: captured(Inner), after: optional(captured(INTEGER)) })
  test('keeps the bytes that were read, as a view', () => {
    const der = bytes('300a 0500 3003020105 020109')
    const { inner, after } = decode(Outer, der)
    assert.deepEqual(inner, { der: bytes('3003020105'), value: { n: 5 } })
    assert.deepEqual(after, { der: bytes('020109'), value: 9n })
    assert.equal(inner.der.buffer, der.buffer)
  })
  test('writes the bytes it has', () => {
    assert.equal(
      encode(Outer, { before: null, inner: { der: bytes('3003020106'), value: { n: 5 } } }).toHex(),
      '300705003003020106',
    )
  })
  test('accepts what its type accepts', () => {
    assert.equal(captured(Inner).accepts(0x30), true)
    assert.equal(captured(Inner).accepts(0x31), false)
    assert.equal(captured(Inner).name, 'Inner')
  })
})

describe('OCTET STRING of an element', () => {
  table(
    octetStringOf(INTEGER),
    [['one element', '0403020105', 5n]],
    [
      ['none', '0400', /INTEGER is missing/],
      ['two', '0406020105020105', /OCTET STRING of INTEGER has unknown content/],
      ['another', '0403010100', /expected INTEGER/],
    ],
  )
})

test('an encoding within an encoding does not disturb it', () => {
  const Inner = sequence('Inner', { n: SMALL_INTEGER })
  const Twice = tagged(
    'Twice',
    0x04,
    () => 0,
    (to, value: number) => {
      to.octets(encode(Inner, { n: value + 1 }))
      to.octets(encode(Inner, { n: value }))
    },
  )
  assert.equal(encode(sequenceOf('Several', Twice), [1, 3]).toHex(), '3018040a30030201013003020102040a30030201033003020104')
})

test('a failed encoding leaves nothing behind', () => {
  assert.throws(
    () => encode(sequence('Two', { a: INTEGER, b: PrintableString, c: OCTET_STRING }), { a: 1n, b: '@', c: bytes('ff') }),
    TypeError,
  )
  assert.equal(encode(INTEGER, 5n).toHex(), '020105')
})

describe('no bytes crash a schema, and what it accepts is canonical', () => {
  const Everything = sequence('Everything', {
    version: withDefault(explicit(0, SMALL_INTEGER), 0),
    id: OBJECT_IDENTIFIER,
    flag: withDefault(BOOLEAN, false),
    names: setOf('Names', choice('Name', { printableString: PrintableString, utf8String: UTF8String }), { max: 8 }),
    inner: captured(sequence('Inner', { n: optional(INTEGER), any: optional(ANY) })),
    octets: octetStringOf(sequenceOf('List', SMALL_INTEGER)),
  })
  const example = encode(Everything, {
    version: 2,
    id: '1.2.840.113549',
    flag: true,
    names: [
      { type: 'utf8String', value: 'ä' },
      { type: 'printableString', value: 'A' },
    ],
    inner: { der: bytes('300702010531020500'), value: {} },
    octets: [1, 2, 3],
  })
  const attempt = (der: Uint8Array) => {
    let value: Infer<typeof Everything>
    try {
      value = decode(Everything, der)
    } catch (error) {
      assert.match((error as { code?: string }).code ?? String(error), /^(malformed|tooLarge)$/)
      return
    }
    assert.equal(encode(Everything, value).toHex(), der.toHex())
  }
  test('the example itself', () => {
    assert.equal(decode(Everything, example).version, 2)
    attempt(example)
  })
  test('every single octet changed', () => {
    for (let at = 0; at < example.length; at++) {
      for (let octet = 0; octet < 256; octet++) attempt(example.with(at, octet))
    }
  })
  test('every octet missing, and every octet doubled', () => {
    for (let at = 0; at < example.length; at++) {
      attempt(Uint8Array.of(...example.subarray(0, at), ...example.subarray(at + 1)))
      attempt(Uint8Array.of(...example.subarray(0, at + 1), ...example.subarray(at)))
      attempt(example.subarray(0, at))
    }
  })
  test('arbitrary bytes', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 80 }), attempt), { numRuns: 3000 })
  })
})
