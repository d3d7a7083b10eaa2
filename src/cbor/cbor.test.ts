import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decode as decodeElsewhere, encode as encodeElsewhere, cdeEncodeOptions } from 'cbor2'
import fc from 'fast-check'
import { asTrustError } from '#base/errors.ts'
import { type CBOR, encodeCBOR, type Label, parseCBOR, type ReadOptions } from './cbor.ts'

const hex = (text: string): Uint8Array => Uint8Array.fromHex(text)
const refusal = (octets: Uint8Array, options?: ReadOptions): string => {
  try {
    parseCBOR(octets, options)
    return 'accepted'
  } catch (error) {
    const { code, reason, facts } = asTrustError(error)
    return `${code} ${reason} ${facts['detail'] ?? ''}`
  }
}

/** RFC 8949, appendix A: in the deterministic form, both ways. */
const deterministic: readonly (readonly [string, CBOR])[] = [
  ['00', 0],
  ['01', 1],
  ['0a', 10],
  ['17', 23],
  ['1818', 24],
  ['1819', 25],
  ['1864', 100],
  ['1903e8', 1000],
  ['1a000f4240', 1_000_000],
  ['1b000000e8d4a51000', 1_000_000_000_000],
  ['1bffffffffffffffff', 18446744073709551615n],
  ['c249010000000000000000', { tag: 2, value: hex('010000000000000000') }],
  ['3bffffffffffffffff', -18446744073709551616n],
  ['c349010000000000000000', { tag: 3, value: hex('010000000000000000') }],
  ['20', -1],
  ['29', -10],
  ['3863', -100],
  ['3903e7', -1000],
  ['f90000', { float: 0 }],
  ['f98000', { float: -0 }],
  ['f93c00', { float: 1 }],
  ['fb3ff199999999999a', { float: 1.1 }],
  ['f93e00', { float: 1.5 }],
  ['f97bff', { float: 65504 }],
  ['fa47c35000', { float: 100_000 }],
  ['fa7f7fffff', { float: 3.4028234663852886e38 }],
  ['fb7e37e43c8800759c', { float: 1e300 }],
  ['f90001', { float: 5.960464477539063e-8 }],
  ['f90400', { float: 0.00006103515625 }],
  ['f9c400', { float: -4 }],
  ['fbc010666666666666', { float: -4.1 }],
  ['f97c00', { float: Infinity }],
  ['f97e00', { float: NaN }],
  ['f9fc00', { float: -Infinity }],
  ['f4', false],
  ['f5', true],
  ['f6', null],
  ['f7', undefined],
  ['f0', { simple: 16 }],
  ['f8ff', { simple: 255 }],
  ['c074323031332d30332d32315432303a30343a30305a', { tag: 0, value: '2013-03-21T20:04:00Z' }],
  ['c11a514b67b0', { tag: 1, value: 1363896240 }],
  ['c1fb41d452d9ec200000', { tag: 1, value: { float: 1363896240.5 } }],
  ['d74401020304', { tag: 23, value: hex('01020304') }],
  ['d818456449455446', { tag: 24, value: hex('6449455446') }],
  ['d82076687474703a2f2f7777772e6578616d706c652e636f6d', { tag: 32, value: 'http://www.example.com' }],
  ['40', hex('')],
  ['4401020304', hex('01020304')],
  ['60', ''],
  ['6161', 'a'],
  ['6449455446', 'IETF'],
  ['62225c', '"\\'],
  ['62c3bc', 'ü'],
  ['63e6b0b4', '水'],
  ['64f0908591', '\u{10151}'],
  ['80', []],
  ['83010203', [1, 2, 3]],
  ['8301820203820405', [1, [2, 3], [4, 5]]],
  ['98190102030405060708090a0b0c0d0e0f101112131415161718181819', Array.from({ length: 25 }, (_, i) => i + 1)],
  ['a0', new Map()],
  [
    'a201020304',
    new Map([
      [1, 2],
      [3, 4],
    ]),
  ],
  [
    'a26161016162820203',
    new Map<string, CBOR>([
      ['a', 1],
      ['b', [2, 3]],
    ]),
  ],
  ['826161a161626163', ['a', new Map([['b', 'c']])]],
]

for (const [encoded, value] of deterministic) {
  test(`RFC 8949, A: ${encoded}`, () => {
    assert.deepEqual(parseCBOR(hex(encoded)), value)
    assert.equal(encodeCBOR(value).toHex(), encoded)
  })
}

/** RFC 8949, appendix A and 4.2: well formed, and not the deterministic form. */
const other: readonly (readonly [string, CBOR, string])[] = [
  ['5f42010243030405ff', hex('0102030405'), 'a length is indefinite'],
  ['7f657374726561646d696e67ff', 'streaming', 'a length is indefinite'],
  ['9fff', [], 'a length is indefinite'],
  ['9f018202039f0405ffff', [1, [2, 3], [4, 5]], 'a length is indefinite'],
  ['83018202039f0405ff', [1, [2, 3], [4, 5]], 'a length is indefinite'],
  [
    'bf61610161629f0203ffff',
    new Map<string, CBOR>([
      ['a', 1],
      ['b', [2, 3]],
    ]),
    'a length is indefinite',
  ],
  ['1817', 23, 'a number is not in its shortest form'],
  ['1900ff', 255, 'a number is not in its shortest form'],
  ['1a0000ffff', 65535, 'a number is not in its shortest form'],
  ['1b00000000ffffffff', 4294967295, 'a number is not in its shortest form'],
  ['580101', hex('01'), 'a number is not in its shortest form'],
  [
    'a203040102',
    new Map([
      [3, 4],
      [1, 2],
    ]),
    'map keys are not in order',
  ],
  [
    'a2616202616101',
    new Map([
      ['b', 2],
      ['a', 1],
    ]),
    'map keys are not in order',
  ],
  ['fa3fc00000', { float: 1.5 }, 'a floating-point number is not in its shortest form'],
  ['fb3ff8000000000000', { float: 1.5 }, 'a floating-point number is not in its shortest form'],
  ['fa7fc00000', { float: NaN }, 'a floating-point number is not in its shortest form'],
]

for (const [encoded, value, why] of other) {
  test(`RFC 8949, 4.2: ${encoded} is read only where any encoding is`, () => {
    assert.deepEqual(parseCBOR(hex(encoded), { encoding: 'any' }), value)
    assert.equal(refusal(hex(encoded)), `malformed notCBOR ${why}`)
  })
}

const never: readonly (readonly [string, string, string])[] = [
  ['nothing', '', 'it ends too early'],
  ['octets behind', '0000', 'octets follow the item'],
  ['a cut argument', '19ff', 'it ends too early'],
  ['a cut string', '42aa', 'it ends too early'],
  ['a string longer than anything', '5bffffffffffffffff', 'it ends too early'],
  ['an array longer than the rest', '9b0000010000000000', 'it ends too early'],
  ['a cut map', 'a1', 'it ends too early'],
  ['reserved information', '1c', 'it uses reserved additional information'],
  ['reserved information of a simple value', 'fc', 'it uses reserved additional information'],
  ['an integer of indefinite length', '1f', 'it uses reserved additional information'],
  ['a tag of indefinite length', 'df00', 'it uses reserved additional information'],
  ['a break alone', 'ff', 'a break stands where an item should'],
  ['a break in an array', '81ff', 'a break stands where an item should'],
  ['a break after a tag', 'c0ff', 'a break stands where an item should'],
  ['a break in place of a value', 'bf00ff', 'a map has a key without a value'],
  ['a simple value in two octets', 'f818', 'a simple value is not in its one form'],
  ['a key twice', 'a201000100', 'a map has a key twice'],
  ['a key twice, of another length', 'bf0100180100ff', 'a map has a key twice'],
  ['a key that is an array', 'a18000', 'a map key is neither an integer nor text'],
  ['text that is not UTF-8', '61ff', 'a text is not UTF-8'],
  ['text that is half a surrogate', '63eda080', 'a text is not UTF-8'],
  ['text cut within a character', '7f61c361bcff', 'a text is not UTF-8'],
  ['a part of another type', '5f6161ff', 'a part of a string is of another type'],
  ['a part of indefinite length', '5f5f4100ffff', 'a part of a string is of another type'],
  ['no end', '9f00', 'it ends too early'],
]

for (const [name, encoded, why] of never) {
  test(`never accepted: ${name}`, () => {
    assert.equal(refusal(hex(encoded), { encoding: 'any' }), `malformed notCBOR ${why}`)
    assert.match(refusal(hex(encoded)), /^malformed notCBOR/)
  })
}

test('depth, number and size are bounded', () => {
  const nested = (depth: number): Uint8Array => new Uint8Array(depth + 1).fill(0x81).with(depth, 0)
  assert.equal(refusal(nested(16)), 'accepted')
  assert.equal(refusal(nested(17)), 'tooLarge cborTooDeep ')
  assert.equal(refusal(new Uint8Array(900_000).fill(0x81)), 'tooLarge cborTooDeep ')
  const wide = (items: number): Uint8Array => encodeCBOR(Array.from({ length: items }, () => 0))
  assert.equal(refusal(wide(9_999)), 'accepted')
  assert.equal(refusal(wide(10_000)), 'tooLarge cborTooMany ')
  const parts = new Uint8Array(20_002).fill(0x40).with(0, 0x5f).with(20_001, 0xff)
  assert.equal(refusal(parts, { encoding: 'any' }), 'tooLarge cborTooMany ')
  assert.equal(refusal(new Uint8Array(11), { maxOctets: 10 }), 'tooLarge cborTooLarge ')
})

const label: fc.Arbitrary<Label> = fc.oneof(fc.maxSafeInteger(), fc.string({ unit: 'binary', maxLength: 8 }))
const { value: anything } = fc.letrec<{ value: CBOR }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small', maxDepth: 4 },
    fc.maxSafeInteger(),
    fc.bigInt(2n ** 60n, 2n ** 64n - 1n),
    fc.bigInt(-(2n ** 64n), -(2n ** 60n)),
    fc.uint8Array({ maxLength: 30 }),
    fc.string({ unit: 'binary', maxLength: 30 }),
    fc.constantFrom(true, false, null, undefined),
    fc.double().map((float) => ({ float })),
    fc.array(tie('value'), { maxLength: 5 }),
    fc.uniqueArray(fc.tuple(label, tie('value')), { selector: ([key]) => key, maxLength: 5 }).map((entries) => new Map(entries)),
  ),
}))

test('what is written is read again, whatever it is', () => {
  const sorted = (value: CBOR): CBOR => parseCBOR(encodeCBOR(value))
  fc.assert(
    fc.property(anything, (value) => {
      const encoded = encodeCBOR(value)
      const again = parseCBOR(encoded)
      assert.equal(encodeCBOR(again).toHex(), encoded.toHex())
      assert.deepEqual(sorted(again), again)
    }),
  )
})

test('accepted as deterministic implies that it is the one encoding; and no octets make a fault', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 24 }), (octets) => {
      try {
        assert.equal(encodeCBOR(parseCBOR(octets)).toHex(), octets.toHex())
      } catch (error) {
        assert.match(asTrustError(error).code, /^(malformed|tooLarge)$/)
      }
    }),
    { numRuns: 5000 },
  )
})

test('cbor2 reads what we write, and writes it in the same octets', () => {
  const plain = fc.oneof(fc.maxSafeInteger(), fc.uint8Array({ maxLength: 9 }), fc.string({ maxLength: 9 }), fc.boolean())
  const item = fc.array(fc.oneof(plain, fc.array(plain)), { minLength: 1 })
  fc.assert(
    fc.property(item, (value) => {
      const encoded = encodeCBOR(value)
      assert.deepEqual(encodeElsewhere(value, cdeEncodeOptions).toHex(), encoded.toHex())
      assert.deepEqual(decodeElsewhere(encoded), value)
    }),
  )
  const map = new Map<Label, CBOR>([
    ['alg', 1],
    [-1, 2],
    [4, 3],
    [1, -7],
    [300, 4],
    ['b', 5],
  ])
  assert.equal(encodeElsewhere(map, cdeEncodeOptions).toHex(), encodeCBOR(map).toHex())
})

test('what is no number, or too long a one, is a mistake of whoever writes', () => {
  assert.throws(() => encodeCBOR(1.5), TypeError)
  assert.throws(() => encodeCBOR(2n ** 64n), RangeError)
})

test('R31: an array that states more items than a message has is refused before there is room for them', () => {
  // fourteen in each other: in a message of 16 MiB room for all of them would be two gigabytes
  const octets = new Uint8Array(1 << 20)
  const view = new DataView(octets.buffer)
  for (let at = 0; at < 70; at += 5) {
    octets[at] = 0x9a
    view.setUint32(at + 1, octets.length - at - 5)
  }
  octets[70] = 0xff // is not come to
  for (const encoding of ['deterministic', 'any'] as const)
    assert.throws(() => parseCBOR(octets, { encoding }), { code: 'tooLarge', reason: 'cborTooMany' })
})
