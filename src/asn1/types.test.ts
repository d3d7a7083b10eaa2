import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import * as fc from 'fast-check'
import { type Codec, decode, encode, type TaggedCodec } from './codec.ts'
import vectors from './testdata/types.json' with { type: 'json' }
import {
  BIT_STRING,
  BIT_STRING_OCTETS,
  type BitString,
  BMPString,
  BOOLEAN,
  ENUMERATED,
  GeneralizedTime,
  IA5String,
  INTEGER,
  INTEGER_OCTETS,
  namedBits,
  NULL,
  NumericString,
  OBJECT_IDENTIFIER,
  OCTET_STRING,
  PrintableString,
  SMALL_INTEGER,
  TeletexString,
  Time,
  UniversalString,
  UNSIGNED_INTEGER,
  UTCTime,
  UTF8String,
  VisibleString,
} from './types.ts'

/** A type with the way its values are written in vectors, and values to try. */
interface Subject<T> {
  readonly codec: Codec<T>
  readonly show: (value: T) => string
  readonly parse: (text: string) => T
  readonly values: fc.Arbitrary<T>
}

// `any` because a table of unlike types loses their ties; each row is checked where it is built
// oxlint-disable-next-line typescript/no-explicit-any -- as above
const subject = <T>(
  codec: Codec<T>,
  show: (value: T) => string,
  parse: (text: string) => T,
  values: fc.Arbitrary<T>,
): Subject<any> => ({ codec, show, parse, values })

const octets = (codec: Codec<Uint8Array>, values: fc.Arbitrary<Uint8Array> = fc.uint8Array({ maxLength: 300 })) =>
  subject(codec, (value) => value.toHex(), Uint8Array.fromHex, values)
const number = (codec: Codec<number>) => subject(codec, String, Number, fc.integer({ min: 0, max: 0x7fff_ffff }))
const text = (codec: Codec<string>, unit: fc.Arbitrary<string>) =>
  subject(
    codec,
    (value) => value,
    (value) => value,
    fc.string({ unit, maxLength: 200 }),
  )
const time = (codec: Codec<Date>, min: string, max: string) =>
  subject(
    codec,
    (value) => value.toISOString(),
    (value) => new Date(value),
    fc
      .date({ min: new Date(min), max: new Date(max), noInvalidDate: true })
      .map((date) => new Date(Math.floor(date.getTime() / 1000) * 1000)),
  )
const characters = (from: number, to: number) => fc.integer({ min: from, max: to }).map((point) => String.fromCodePoint(point))
const characterOf = (all: string) => fc.constantFrom(...all.split(''))
const scalars = (max: number) => fc.oneof(characters(0, 0xd7ff), characters(0xe000, max))

const KEY_USAGES = [
  'digitalSignature',
  'contentCommitment',
  'keyEncipherment',
  'dataEncipherment',
  'keyAgreement',
  'keyCertSign',
  'cRLSign',
  'encipherOnly',
  'decipherOnly',
] as const
const KeyUsage = namedBits('KeyUsage', KEY_USAGES)

const bitStrings: fc.Arbitrary<BitString> = fc
  .record({ octets: fc.uint8Array({ maxLength: 40 }), unusedBits: fc.integer({ min: 0, max: 7 }) })
  .map(({ octets: all, unusedBits }) => {
    if (all.length === 0) return { octets: all, unusedBits: 0 }
    const last = (all.at(-1) as number) & (0xff << unusedBits)
    return { octets: Uint8Array.of(...all.subarray(0, -1), last), unusedBits }
  })

const arcs = fc.oneof(
  fc.bigInt({ min: 0n, max: 20_000n }),
  fc.bigInt({ min: 2n ** 44n, max: 2n ** 56n }),
  fc.bigInt({ min: 0n, max: 2n ** 128n - 1n }),
)
const identifiers = fc
  .tuple(
    fc.oneof(fc.tuple(fc.bigInt({ min: 0n, max: 1n }), fc.bigInt({ min: 0n, max: 39n })), fc.tuple(fc.constant(2n), arcs)),
    fc.array(arcs, { maxLength: 2 }),
  )
  .map(([head, rest]) => [...head, ...rest].join('.'))

// oxlint-disable-next-line typescript/no-explicit-any -- as above
const subjects: Readonly<Record<keyof typeof vectors, Subject<any>>> = {
  BOOLEAN: subject(BOOLEAN, String, (value) => value === 'true', fc.boolean()),
  NULL: subject(NULL, String, () => null, fc.constant(null)),
  INTEGER: subject(INTEGER, String, BigInt, fc.bigInt({ min: -(2n ** 300n), max: 2n ** 300n })),
  UNSIGNED_INTEGER: subject(UNSIGNED_INTEGER, String, BigInt, fc.bigInt({ min: 0n, max: 2n ** 300n })),
  SMALL_INTEGER: number(SMALL_INTEGER),
  ENUMERATED: number(ENUMERATED),
  INTEGER_OCTETS: octets(
    INTEGER_OCTETS,
    fc.bigInt({ min: -(2n ** 160n), max: 2n ** 160n }).map((value) => encode(INTEGER, value).subarray(2)),
  ),
  OCTET_STRING: octets(OCTET_STRING),
  BIT_STRING: subject(
    BIT_STRING,
    (value) => `${value.unusedBits}:${value.octets.toHex()}`,
    (value) => {
      const [unusedBits = '', hex = ''] = value.split(':')
      return { octets: Uint8Array.fromHex(hex), unusedBits: Number(unusedBits) }
    },
    bitStrings,
  ),
  BIT_STRING_OCTETS: octets(BIT_STRING_OCTETS),
  KeyUsage: subject(
    KeyUsage,
    (value) => value.join(' '),
    (value) => KEY_USAGES.filter((one) => value.split(' ').includes(one)),
    fc.subarray([...KEY_USAGES]),
  ),
  OBJECT_IDENTIFIER: subject(
    OBJECT_IDENTIFIER,
    (value) => value,
    (value) => value,
    identifiers,
  ),
  UTF8String: text(UTF8String, scalars(0x10ffff)),
  NumericString: text(NumericString, characterOf('0123456789 ')),
  PrintableString: text(
    PrintableString,
    characterOf(`ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 '()+,-./:=?`),
  ),
  IA5String: text(IA5String, characters(0, 0x7f)),
  VisibleString: text(VisibleString, characters(0x20, 0x7e)),
  TeletexString: text(TeletexString, characters(0, 0xff)),
  BMPString: text(BMPString, scalars(0xffff)),
  UniversalString: text(UniversalString, scalars(0x10ffff)),
  UTCTime: time(UTCTime, '1950-01-01T00:00:00Z', '2049-12-31T23:59:59Z'),
  GeneralizedTime: time(GeneralizedTime, '0000-01-01T00:00:00Z', '9999-12-31T23:59:59Z'),
  Time: time(Time, '0000-01-01T00:00:00Z', '9999-12-31T23:59:59Z'),
}

interface Vector {
  readonly name: string
  readonly source: string
  readonly der?: string
  /** Content in ASCII, for times. */
  readonly text?: string
  readonly value?: string
  readonly rejects?: string
}

for (const [type, { codec, show, parse, values }] of Object.entries(subjects)) {
  describe(type, () => {
    for (const vector of vectors[type as keyof typeof vectors] as readonly Vector[]) {
      test(`${vector.source}: ${vector.name}`, () => {
        const { value, rejects } = vector
        const der =
          vector.der === undefined ? ofText(codec as TaggedCodec<unknown>, vector.text as string) : Uint8Array.fromHex(vector.der)
        if (value === undefined) {
          assert.throws(() => decode(codec, der), {
            name: 'TrustError',
            code: 'malformed',
            message: new RegExp(rejects as string),
          })
        } else {
          assert.equal(show(decode(codec, der)), value)
          assert.equal(encode(codec, parse(value)).toHex(), der.toHex())
        }
      })
    }

    test('decode inverts encode', () => {
      fc.assert(
        fc.property(values, (value) => {
          const der = encode(codec, value)
          assert.equal(show(decode(codec, der)), show(value))
          assert.equal(encode(codec, decode(codec, der)).toHex(), der.toHex())
        }),
        { numRuns: 300 },
      )
    })

    test('what is accepted is canonical: it encodes to the same bytes', () => {
      const tag = 'tag' in codec ? (codec as TaggedCodec<unknown>).tag : 0x17
      const near = values.chain((value) => {
        const der = encode(codec, value)
        return fc.record({ at: fc.nat(der.length - 1), octet: fc.nat(255) }).map(({ at, octet }) => {
          der[at] = octet
          return der
        })
      })
      const content = fc.uint8Array({ maxLength: 24 }).map((bytes) => Uint8Array.of(tag, bytes.length, ...bytes))
      fc.assert(
        fc.property(fc.oneof(near, content), (der) => {
          let value: unknown
          try {
            value = decode(codec, der)
          } catch (error) {
            assert.equal((error as { code?: string }).code, 'malformed')
            return
          }
          assert.equal(encode(codec, value).toHex(), der.toHex())
        }),
        { numRuns: 1500 },
      )
    })
  })
}

const ofText = ({ tag }: TaggedCodec<unknown>, content: string): Uint8Array => {
  const bytes = new TextEncoder().encode(content)
  return Uint8Array.of(tag, bytes.length, ...bytes)
}

describe('limits', () => {
  test('an INTEGER may have 16,384 bits and a sign, and no more', () => {
    const largest = 2n ** 16384n - 1n
    assert.equal(decode(INTEGER, encode(INTEGER, largest)), largest)
    assert.throws(() => decode(INTEGER, encode(INTEGER, 2n ** 16391n)), { code: 'malformed', message: /longer than any in use/ })
    assert.throws(() => decode(INTEGER_OCTETS, encode(INTEGER, 2n ** 16391n)), {
      code: 'malformed',
      message: /longer than any in use/,
    })
  })

  test('an OBJECT IDENTIFIER may have 64 octets, and no more', () => {
    // oxlint-disable-next-line unicorn/consistent-function-scoping -- two lines that belong to this test
    const of = (length: number) => Uint8Array.of(0x06, length, 0x2a, ...Array<number>(length - 1).fill(1))
    assert.equal(decode(OBJECT_IDENTIFIER, of(64)).split('.').length, 65)
    assert.throws(() => decode(OBJECT_IDENTIFIER, of(65)), { code: 'malformed', message: /no usable length/ })
  })
})

describe('values that a type cannot hold are mistakes of ours', () => {
  const cases: readonly (readonly [string, () => unknown, RegExp])[] = [
    ['negative small INTEGER', () => encode(SMALL_INTEGER, -1), /-1 is not a small INTEGER/],
    ['2^31', () => encode(SMALL_INTEGER, 2 ** 31), /not a small INTEGER/],
    ['a negative count', () => encode(UNSIGNED_INTEGER, -1n), /-1 is not an unsigned INTEGER/],
    ['half', () => encode(SMALL_INTEGER, 0.5), /not a small INTEGER/],
    ['no identifier', () => encode(OBJECT_IDENTIFIER, 'commonName'), /not an object identifier/],
    ['one arc', () => encode(OBJECT_IDENTIFIER, '1'), /not an object identifier/],
    ['a first arc of 3', () => encode(OBJECT_IDENTIFIER, '3.1'), /not an object identifier/],
    ['a second arc of 40 in the first tree', () => encode(OBJECT_IDENTIFIER, '0.40'), /not an object identifier/],
    ['a second arc of 40 in the second tree', () => encode(OBJECT_IDENTIFIER, '1.40.1'), /not an object identifier/],
    ['a leading zero in an arc', () => encode(OBJECT_IDENTIFIER, '1.2.03'), /not an object identifier/],
    ['an empty arc', () => encode(OBJECT_IDENTIFIER, '1.2.'), /not an object identifier/],
    ['text before', () => encode(OBJECT_IDENTIFIER, 'x1.2'), /not an object identifier/],
    ['an asterisk in a PrintableString', () => encode(PrintableString, '*.example'), /"\*\.example" is not a PrintableString/],
    ['a letter in a NumericString', () => encode(NumericString, '1a'), /not a NumericString/],
    ['an umlaut in an IA5String', () => encode(IA5String, 'ä'), /not a IA5String/],
    ['half a surrogate pair in UTF-8', () => encode(UTF8String, '\ud83d'), /not a UTF8String/],
    ['half a surrogate pair in UCS-4', () => encode(UniversalString, '\ud83d'), /not a UniversalString/],
    ['an emoji in UCS-2', () => encode(BMPString, '😀'), /not a BMPString/],
    ['a euro sign in Latin-1', () => encode(TeletexString, '€'), /not a TeletexString/],
    ['the first character after Latin-1', () => encode(TeletexString, '\u0100'), /not a TeletexString/],
    ['2050 in UTCTime', () => encode(UTCTime, new Date('2050-01-01T00:00:00Z')), /UTCTime cannot hold the year of 2050/],
    ['1949 in UTCTime', () => encode(UTCTime, new Date('1949-12-31T23:59:59Z')), /UTCTime cannot hold the year of 1949/],
    ['year 10000', () => encode(GeneralizedTime, new Date('+010000-01-01T00:00:00Z')), /GeneralizedTime cannot hold the year/],
    ['year -1', () => encode(Time, new Date('-000001-01-01T00:00:00Z')), /GeneralizedTime cannot hold the year/],
    ['a bit without a name', () => encode(KeyUsage, ['sign' as 'keyCertSign']), /sign is no bit of KeyUsage/],
    ['eight unused bits', () => encode(BIT_STRING, { octets: Uint8Array.of(0), unusedBits: 8 }), /unused bits/],
    ['unused bits that are set', () => encode(BIT_STRING, { octets: Uint8Array.of(1), unusedBits: 1 }), /unused bits/],
    ['unused bits of nothing', () => encode(BIT_STRING, { octets: new Uint8Array(), unusedBits: 1 }), /unused bits/],
  ]
  for (const [name, act, message] of cases) test(name, () => assert.throws(act, { name: 'TypeError', message }))
})

test('errors call a type by its ASN.1 name', () => {
  const named = Object.fromEntries(Object.entries(subjects).map(([name, { codec }]) => [name, codec.name]))
  const asItself = Object.fromEntries(Object.keys(subjects).map((name) => [name, name]))
  assert.deepEqual(named, {
    ...asItself,
    SMALL_INTEGER: 'INTEGER',
    UNSIGNED_INTEGER: 'INTEGER',
    INTEGER_OCTETS: 'INTEGER',
    OCTET_STRING: 'OCTET STRING',
    BIT_STRING: 'BIT STRING',
    BIT_STRING_OCTETS: 'BIT STRING',
    OBJECT_IDENTIFIER: 'OBJECT IDENTIFIER',
  })
})

test('every month ends with its last day', () => {
  const lengths = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
  for (const [year, leap] of [
    [2023, false],
    [2024, true],
    [2000, true],
    [1900, false],
  ] as const) {
    for (const [month, length] of lengths.entries()) {
      const last = month === 1 && leap ? 29 : length
      const on = (day: number) => ofText(GeneralizedTime, `${year}${String(month + 1).padStart(2, '0')}${day}120000Z`)
      assert.equal(decode(GeneralizedTime, on(last)).getTime(), Date.UTC(year, month, last, 12))
      assert.throws(() => decode(GeneralizedTime, on(last + 1)), { code: 'malformed', message: /no point in time/ })
    }
  }
})

test('a time is written to the second, its fraction cut off', () => {
  assert.equal(encode(Time, new Date('2026-02-03T04:05:06.999Z')).toHex(), ofText(UTCTime, '260203040506Z').toHex())
  assert.equal(encode(Time, new Date('2049-12-31T23:59:59.999Z')).toHex(), ofText(UTCTime, '491231235959Z').toHex())
})

test('named bits are set in any order, once', () => {
  assert.equal(encode(KeyUsage, ['decipherOnly', 'digitalSignature', 'decipherOnly']).toHex(), '0303078080')
})

test('more identifiers than are remembered still encode', () => {
  for (let i = 0; i < 3000; i++) {
    const dotted = `1.3.6.1.4.1.99999.${i}`
    assert.equal(decode(OBJECT_IDENTIFIER, encode(OBJECT_IDENTIFIER, dotted)), dotted)
  }
})
