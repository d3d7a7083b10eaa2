import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import * as fc from 'fast-check'
import { ANY } from './any.ts'
import { decode, encode, optional, sequence } from './codec.ts'
import { INTEGER } from './types.ts'

const bytes = (hex: string) => Uint8Array.fromHex(hex.replaceAll(' ', ''))

describe('ANY accepts DER of any type, as its bytes', () => {
  const cases: readonly (readonly [name: string, der: string])[] = [
    ['NULL', '0500'],
    ['an INTEGER', '020105'],
    ['a negative ENUMERATED', '0a01ff'],
    ['an OCTET STRING with anything inside', '0403 3080 00'],
    ['a BIT STRING', '030204f0'],
    ['a structure', '300a 3003020105 31030101ff'],
    ['an empty SEQUENCE', '3000'],
    ['an empty SET', '3100'],
    ['a context tag, primitive, with anything inside', '8002 3080'],
    ['a context tag, constructed', 'a003 020105'],
    ['an application tag', '6103 020105'],
    ['a private tag with a high number', 'ff8149 03 020105'],
    ['a universal type that is not known here', '0d0103'],
    ['a universal type with a high number', '1f1f03 414243'],
    ['a GeneralizedTime with a fraction', '1811 32303530303130313030303030302e355a'],
    ['a GeneralizedTime without', '180f 32303530303130313030303030305a'],
    ['a TeletexString', '140141'],
    ['a SET OF in order', '3106 020101 020102'],
    ['a SET OF with equal members', '3106 020101 020101'],
    ['a SET of unlike members in order of their tags', '3105 3000 020101'],
    ['a SET of unlike members in another order', '3106 020101 0101ff'],
  ]
  for (const [name, der] of cases) {
    test(name, () => {
      assert.equal(decode(ANY, bytes(der)).toHex(), bytes(der).toHex())
      assert.equal(encode(ANY, bytes(der)).toHex(), bytes(der).toHex())
    })
  }
})

describe('ANY refuses what no DER encoder writes', () => {
  const cases: readonly (readonly [name: string, der: string, message: RegExp])[] = [
    ['nothing', '', /an element is missing/],
    ['an OCTET STRING in pieces', '2403 040101', /in pieces/],
    ['an INTEGER that is constructed', '2203 020101', /in pieces/],
    ['an EXTERNAL', '2800', /in pieces/],
    ['end of contents', '0000', /tag that it may not have/],
    ['a primitive EXTERNAL', '0800', /tag that it may not have/],
    ['a primitive EMBEDDED PDV', '0b00', /tag that it may not have/],
    ['a primitive SEQUENCE', '1000', /tag that it may not have/],
    ['a primitive SET', '1100', /tag that it may not have/],
    ['a primitive CHARACTER STRING', '1d00', /tag that it may not have/],
    ['an indefinite length', '3080 0000', /indefinite/],
    ['an indefinite length deep inside', 'a005 3003 3080 00', /indefinite/],
    ['a long length in a context tag', 'a08103 020105', /shortest form/],
    ['a long length in a primitive context tag', '808103 020105', /shortest form/],
    ['bytes in a context tag that are no elements', 'a003 020505', /runs past its container/],
    ['a BOOLEAN of BER', '3003 010101', /BOOLEAN/],
    ['a padded INTEGER', '3004 02020001', /INTEGER is not in its shortest/],
    ['a padded ENUMERATED', '0a020001', /INTEGER is not in its shortest/],
    ['unused bits set', '03020481', /not zero/],
    ['a NULL with content', '050100', /NULL has unknown content/],
    ['a padded identifier', '06032a8001', /IDENTIFIER is not in its shortest/],
    ['broken UTF-8', '0c01ff', /not UTF-8/],
    ['a letter in a NumericString', '120141', /NumericString/],
    ['an asterisk in a PrintableString', '13012a', /PrintableString/],
    ['an umlaut in an IA5String', '1601e4', /IA5String/],
    ['a UTCTime without seconds', '170b 353030313031303030305a', /UTCTime/],
    ['a GeneralizedTime with a trailing zero', '1812 32303530303130313030303030302e35305a', /GeneralizedTime/],
    ['a GeneralizedTime with an empty fraction', '1810 32303530303130313030303030302e5a', /GeneralizedTime/],
    ['a GeneralizedTime in local time', '180e 3230353030313031303030303030', /GeneralizedTime/],
    ['a GeneralizedTime that goes on', `1845 32303530303130313030303030302e${'31'.repeat(48)}5a414141414100`, /GeneralizedTime/],
    ['a control character in a VisibleString', '1a0101', /VisibleString/],
    ['half a BMPString', '1e0141', /BMPString/],
    ['half a UniversalString', '1c020041', /UniversalString/],
    ['a SET OF out of order', '3106 020102 020101', /SET OF is not in ascending order/],
    ['a SET OF out of order early', '3109 020102 020101 020103', /SET OF is not in ascending order/],
    ['a SET OF out of order late', '3109 020101 020103 020102', /SET OF is not in ascending order/],
    ['a SET OF out of order inside', '3008 3106 020102 020101', /SET OF is not in ascending order/],
    ['a tag with a padded number', '9f801f00', /tag number/],
  ]
  for (const [name, der, message] of cases) {
    test(name, () => assert.throws(() => decode(ANY, bytes(der)), { code: 'malformed', reason: 'notDER', message }))
  }
})

test('nesting ends at 32 levels, in SEQUENCE, SET and tags alike', () => {
  for (const tag of [0x30, 0x31, 0xa0]) {
    const nested = (levels: number) => {
      let der: Uint8Array = bytes('0500')
      for (let i = 0; i < levels; i++) der = Uint8Array.of(tag, der.length, ...der)
      return der
    }
    assert.equal(decode(ANY, nested(32)).length, 66)
    assert.throws(() => decode(ANY, nested(33)), { code: 'tooLarge', reason: 'derTooDeep', message: /32 levels/ })
  }
})

test('a deep object of a megabyte is refused, not overflown', () => {
  const deep = new Uint8Array(1 << 20).fill(0x30)
  assert.throws(() => decode(ANY, deep), { code: 'malformed' })
})

test('in a SEQUENCE it takes one element of any tag, and none at the end', () => {
  const Holder = sequence('Holder', { n: INTEGER, any: optional(ANY) })
  assert.deepEqual(decode(Holder, bytes('3003020105')), { n: 5n })
  assert.deepEqual(decode(Holder, bytes('3006020105020106')), { n: 5n, any: bytes('020106') })
  assert.throws(() => decode(Holder, bytes('3009020105020106020107')), { code: 'malformed', message: /unknown content/ })
})

test('no bytes crash it: it returns them or refuses', () => {
  const elements = fc.letrec<{ element: Uint8Array }>((tie) => ({
    element: fc.oneof(
      { maxDepth: 5 },
      fc
        .tuple(fc.nat(255), fc.uint8Array({ maxLength: 20 }))
        .map(([tag, content]) => Uint8Array.of(tag, content.length, ...content)),
      fc
        .tuple(fc.constantFrom(0x30, 0x31, 0xa0, 0x24), fc.array(tie('element'), { maxLength: 3 }))
        .filter(([, members]) => members.flatMap((member) => [...member]).length < 128)
        .map(([tag, members]) =>
          Uint8Array.of(tag, members.flatMap((member) => [...member]).length, ...members.flatMap((member) => [...member])),
        ),
    ),
  })).element
  let accepted = 0
  fc.assert(
    fc.property(fc.oneof(elements, fc.uint8Array({ maxLength: 40 })), (der) => {
      try {
        assert.equal(decode(ANY, der).toHex(), der.toHex())
        accepted++
      } catch (error) {
        assert.match((error as { code?: string }).code ?? String(error), /^(malformed|tooLarge)$/)
      }
    }),
    { numRuns: 4000 },
  )
  assert.ok(accepted > 100, `only ${accepted} were elements at all`)
})
