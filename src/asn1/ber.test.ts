/** BER made DER: what streaming producers write, and nothing that is signed as DER. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { TrustError } from '#base/errors.ts'
import { type BERForm, berToDER } from './ber.ts'

const der = (ber: string, form?: BERForm): string => berToDER(Uint8Array.fromHex(ber.replaceAll(' ', '')), form).toHex()

test('X.690, 8.1.3: lengths are made definite and short', () => {
  assert.equal(der('30800201010000'), '3003020101')
  assert.equal(der('308400000004 02810101'), '3003020101')
  assert.equal(der('308030800000a0800201050000 0000'), '30073000a003020105')
})

test('X.690, 8.7.3: octet strings are put together, pieces of pieces too', () => {
  assert.equal(der('24800401aa0402bbcc0000'), '0403aabbcc')
  assert.equal(der('248024800401aa04000000 24030401bb0000'), '0402aabb')
  assert.equal(der('2400'), '0400')
})

test('an implicitly tagged octet string is put together where its place is named', () => {
  assert.equal(der('3080a0800401aa0401bb00000000', { octetStrings: new Set(['30/a0']) }), '30048002aabb')
  assert.equal(der('3080a0800401aa0401bb00000000'), '3008a0060401aa0401bb')
})

test('what must be DER stays as it was written', () => {
  assert.equal(der('3080 a003020105 0000', { verbatim: new Set(['30/a0']) }), '3005a003020105')
  assert.equal(der('3080a081030201050000', { verbatim: new Set(['30/a0']) }), '3006a08103020105')
  assert.throws(() => der('3080a0800201050000 0000', { verbatim: new Set(['30/a0']) }), /indefinite length/)
})

for (const { name, hex, detail } of [
  { name: 'no end of contents', hex: '3080020101', detail: /element is missing/ },
  { name: 'end of contents in a definite length', hex: '30020000', detail: /nothing ends/ },
  { name: 'a primitive element of indefinite length', hex: '04800000', detail: /primitive element/ },
  { name: 'a piece of another type', hex: '24800201010000', detail: /piece of another type/ },
  { name: 'a bit string in pieces', hex: '238003020001 0000', detail: /not of octets/ },
  { name: 'a text in pieces', hex: '2c800c01410000', detail: /not of octets/ },
  { name: 'a length beyond the input', hex: '300502', detail: /runs past/ },
  { name: 'a length of nine octets', hex: '3089010203040506070809', detail: /too long/ },
  { name: 'a reserved length', hex: '30ff', detail: /too long/ },
  { name: 'a tag without end', hex: '3fffffffffff', detail: /tag is cut short or too long/ },
  { name: 'nothing', hex: '', detail: /missing/ },
  { name: 'more than one element', hex: '05000500', detail: /followed by/ },
]) {
  test(`${name} is refused`, () => {
    assert.throws(() => der(hex), { code: 'malformed', reason: 'notBER', message: detail })
  })
}

test('R31: depth, size and pieces are bounded', () => {
  assert.throws(() => der('3080'.repeat(40)), { code: 'tooLarge', reason: 'derTooDeep' })
  assert.throws(() => der('2480'.repeat(40)), { code: 'tooLarge', reason: 'derTooDeep' })
  assert.throws(() => der(`2480${'0400'.repeat(40_000)}0000`), { code: 'tooLarge' })
  assert.throws(() => der('0500', { maxOctets: 1 }), { code: 'tooLarge' })
})

/** DER trees, with their BER: every constructed length indefinite, every octet string in pieces. */
const tree = fc.letrec<{ node: { der: string; ber: string } }>((tie) => ({
  node: fc.oneof(
    { maxDepth: 4 },
    fc.uint8Array({ maxLength: 300 }).map((octets) => {
      const length =
        octets.length < 0x80
          ? hex(octets.length)
          : octets.length < 0x100
            ? `81${hex(octets.length)}`
            : `82${octets.length.toString(16).padStart(4, '0')}`
      const pieces = Array.from({ length: Math.ceil(octets.length / 100) }, (_, i) => octets.subarray(i * 100, i * 100 + 100))
      return {
        der: `04${length}${octets.toHex()}`,
        ber: `2480${pieces.map((piece) => `0484000000${hex(piece.length)}${piece.toHex()}`).join('')}0000`,
      }
    }),
    fc.array(tie('node'), { maxLength: 3 }).map((members) => {
      const content = members.map((member) => member.der).join('')
      const size = content.length / 2
      const length = size < 0x80 ? hex(size) : size < 0x100 ? `81${hex(size)}` : `82${size.toString(16).padStart(4, '0')}`
      return { der: `30${length}${content}`, ber: `3080${members.map((member) => member.ber).join('')}0000` }
    }),
  ),
})).node
const hex = (octet: number): string => octet.toString(16).padStart(2, '0')

test('whatever was DER comes back from its BER, and DER itself is left alone', () => {
  fc.assert(
    fc.property(tree, (one) => {
      assert.equal(der(one.ber), one.der)
      assert.equal(der(one.der), one.der)
    }),
  )
})

test('R31: any bytes are answered or refused', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      try {
        berToDER(bytes)
      } catch (thrown) {
        assert.ok(thrown instanceof TrustError)
      }
    }),
  )
})
