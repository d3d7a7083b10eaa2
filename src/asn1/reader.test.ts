import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import * as fc from 'fast-check'
import { decode, encode, explicit, implicit, tagged } from './codec.ts'
import { hexTag, Reader } from './reader.ts'
import { INTEGER, NULL, OBJECT_IDENTIFIER, OCTET_STRING, SMALL_INTEGER } from './types.ts'
import { encodeHeader, Writer } from './writer.ts'

const notDER = (message: RegExp) => ({ name: 'TrustError', code: 'malformed', reason: 'notDER', message })
const bytes = (hex: string) => Uint8Array.fromHex(hex.replaceAll(' ', ''))

describe('lengths at every boundary', () => {
  const cases = [
    { size: 0, header: '0400' },
    { size: 1, header: '0401' },
    { size: 127, header: '047f' },
    { size: 128, header: '048180' },
    { size: 255, header: '0481ff' },
    { size: 256, header: '04820100' },
    { size: 65535, header: '0482ffff' },
    { size: 65536, header: '0483010000' },
    { size: 2 ** 20 - 5, header: '04830ffffb' },
    { size: 2 ** 24 - 1, header: '0483ffffff' },
    { size: 2 ** 24, header: '048401000000' },
  ]
  for (const { size, header } of cases) {
    test(`${size} octets`, () => {
      const octets = new Uint8Array(size).fill(7)
      const der = encode(OCTET_STRING, octets)
      assert.equal(der.subarray(0, -size || undefined).toHex(), header)
      assert.equal(encodeHeader(0x04, size).toHex(), header)
      assert.deepEqual(decode(OCTET_STRING, der, { maxOctets: der.length }), octets)
      assert.throws(
        () => decode(OCTET_STRING, der.subarray(0, -1), { maxOctets: der.length }),
        notDER(/runs past its container|length is missing/),
      )
    })
  }

  test('a header alone may name more than memory holds', () => {
    assert.equal(encodeHeader(0x30, 0x7fffffff).toHex(), '30847fffffff')
    assert.equal(encodeHeader(0x30, 0xffffffff).toHex(), '3084ffffffff')
  })
})

test('an object longer than the limit is refused before it is looked at', () => {
  const tooLarge = { code: 'tooLarge', reason: 'derTooLarge', message: /10 bytes/ }
  assert.throws(() => decode(OCTET_STRING, new Uint8Array(11), { maxOctets: 10 }), tooLarge)
  assert.equal(decode(OCTET_STRING, bytes('0408 0000000000000000'), { maxOctets: 10 }).length, 8)
  const most = encode(OCTET_STRING, new Uint8Array(2 ** 20 - 5))
  assert.equal(most.length, 2 ** 20)
  assert.equal(decode(OCTET_STRING, most).length, 2 ** 20 - 5)
  assert.throws(() => decode(OCTET_STRING, encode(OCTET_STRING, new Uint8Array(2 ** 20 - 4))), { code: 'tooLarge' })
})

describe('tag numbers', () => {
  const cases = [
    { n: 0, der: '8000' },
    { n: 30, der: '9e00' },
    { n: 31, der: '9f1f00' },
    { n: 127, der: '9f7f00' },
    { n: 128, der: '9f810000' },
    { n: 201, der: '9f814900' },
    { n: 16383, der: '9fff7f00' },
    { n: 16384, der: '9f81800000' },
    { n: 2 ** 21 - 1, der: '9fffff7f00' },
  ]
  for (const { n, der } of cases) {
    test(`[${n}]`, () => {
      const codec = implicit(n, NULL)
      assert.equal(encode(codec, null).toHex(), der)
      assert.equal(decode(codec, bytes(der)), null)
      assert.equal(new Reader(bytes(der)).peekTag(), codec.tag)
      assert.equal(encodeHeader(codec.tag, 0).toHex(), der)
      assert.throws(() => decode(implicit(n ^ 1, NULL), bytes(der)), notDER(/expected NULL \(tag 0x[89].*\), found tag 0x[89]/))
    })
  }

  test('an explicit high tag is constructed, and so is an implicit one of something constructed', () => {
    assert.equal(encode(explicit(100, INTEGER), 5n).toHex(), 'bf6403020105')
    assert.equal(decode(explicit(100, INTEGER), bytes('bf6403020105')), 5n)
    assert.equal(encode(implicit(101, explicit(100, INTEGER)), 5n).toHex(), 'bf6503020105')
    assert.equal(encode(implicit(1, explicit(100, INTEGER)), 5n).toHex(), 'a103020105')
    assert.equal(encode(implicit(1, implicit(100, INTEGER)), 5n).toHex(), '810105')
  })

  for (const n of [-1, 0.5, 2 ** 21]) {
    test(`[${n}] is a mistake`, () => {
      assert.throws(() => implicit(n, NULL), { name: 'TypeError', message: /is no tag number/ })
      assert.throws(() => explicit(n, NULL), { name: 'TypeError', message: /is no tag number/ })
    })
  }

  test('two classes with one number are two tags', () => {
    assert.throws(() => decode(implicit(31, NULL), bytes('5f1f00')), notDER(/expected NULL \(tag 0x9f 31\), found tag 0x5f 31/))
    assert.throws(() => decode(implicit(1, NULL), bytes('4100')), notDER(/expected NULL \(tag 0x81\), found tag 0x41/))
  })

  const refused = [
    { name: 'cut short at once', der: '9f', message: /tag is cut short/ },
    { name: 'cut short after a group', der: '9f81', message: /tag is cut short/ },
    { name: '30 in the high form', der: '9f1e00', message: /shortest form/ },
    { name: 'zero in the high form', der: '9f0000', message: /shortest form/ },
    { name: 'a leading zero group', der: '9f801f00', message: /shortest form/ },
    { name: '22 bits', der: '9f8180800000', message: /exceeds 21 bits/ },
    { name: 'a length missing', der: '9f1f', message: /length is missing/ },
  ]
  for (const { name, der, message } of refused) {
    test(`X.690 8.1.2.4: refuses ${name}`, () => assert.throws(() => decode(implicit(31, NULL), bytes(der)), notDER(message)))
  }

  test('any header is read and written alike', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(0x1f, 0x3f, 0x5f, 0x9f, 0xbf, 0xff),
        fc.integer({ min: 31, max: 2 ** 21 - 1 }),
        fc.uint8Array({ maxLength: 300 }),
        (octet, number, content) => {
          const codec = tagged(
            'Any',
            octet * 2 ** 21 + number,
            (from) => from.takeRest(),
            (to, value: Uint8Array) => to.octets(value),
          )
          const der = encode(codec, content)
          const reader = new Reader(der)
          assert.deepEqual(reader.readAnyHeader(), { tag: codec.tag, end: der.length })
          assert.equal(reader.at, der.length - content.length)
          assert.deepEqual(decode(codec, der), content)
        },
      ),
      { numRuns: 300 },
    )
  })

  test('tags are named as a dump shows them', () => {
    assert.deepEqual([-1, 0, 5, 0x30, 0xa3, implicit(31, NULL).tag].map(hexTag), [
      'nothing',
      '0x00',
      '0x05',
      '0x30',
      '0xa3',
      '0x9f 31',
    ])
  })
})

describe('the cursor', () => {
  test('at the end there is no tag and no header', () => {
    const reader = new Reader(new Uint8Array())
    assert.equal(reader.more, false)
    assert.equal(reader.peekTag(), -1)
    assert.throws(() => reader.readAnyHeader(), notDER(/an element is missing/))
    assert.throws(() => reader.readHeader(0x05, 'NULL'), notDER(/NULL is missing/))
  })

  test('an element inside may not run past its container, though bytes follow', () => {
    const reader = new Reader(bytes('3003 0402aabb'))
    const outer = reader.enter(0x30, 'Outer')
    assert.equal(outer, 6)
    assert.equal(reader.end, 5)
    assert.throws(() => OCTET_STRING.read(reader), notDER(/runs past its container/))
  })

  test('a length inside may not be read from beyond the container', () => {
    for (const der of ['3001 04 00', '3002 0481 80', '3003 048201 00']) {
      const reader = new Reader(bytes(der))
      reader.enter(0x30, 'Outer')
      assert.throws(() => OCTET_STRING.read(reader), notDER(/length is (missing|cut short)/))
    }
  })

  test('a tag inside may not be read from beyond the container', () => {
    const reader = new Reader(bytes('3001 9f 1f00'))
    reader.enter(0x30, 'Outer')
    assert.throws(() => reader.peekTag(), notDER(/tag is cut short/))
  })

  test('leaving with something unread is refused; leaving at the end widens again', () => {
    const reader = new Reader(bytes('3003 020105 020106'))
    const outer = reader.enter(0x30, 'Outer')
    assert.throws(() => reader.leave(outer, 'Outer'), notDER(/Outer has unknown content/))
    assert.equal(SMALL_INTEGER.read(reader), 5)
    reader.leave(outer, 'Outer')
    assert.equal(SMALL_INTEGER.read(reader), 6)
    assert.equal(reader.more, false)
  })

  test('what is taken is a view', () => {
    const der = bytes('0402aabb')
    const value = decode(OCTET_STRING, der)
    der[2] = 0xcc
    assert.equal(value.toHex(), 'ccbb')
  })
})

describe('a Buffer as input', () => {
  test('yields plain octets', () => {
    const value = decode(OCTET_STRING, Buffer.from('0402aabb', 'hex'))
    assert.equal(Object.getPrototypeOf(value), Uint8Array.prototype)
    assert.equal(value.toHex(), 'aabb')
  })

  test('may be written over afterwards: what was read from it is not remembered wrongly', () => {
    const buffer = Buffer.from('06062b8104010901', 'hex')
    assert.equal(decode(OBJECT_IDENTIFIER, buffer), '1.3.132.1.9.1')
    buffer[7] = 2
    assert.equal(decode(OBJECT_IDENTIFIER, buffer), '1.3.132.1.9.2')
    assert.equal(decode(OBJECT_IDENTIFIER, bytes('06062b8104010902')), '1.3.132.1.9.2')
    assert.equal(decode(OBJECT_IDENTIFIER, bytes('06062b8104010901')), '1.3.132.1.9.1')
  })
})

describe('the writer', () => {
  test('grows over its buffer from every method, and keeps what it has', () => {
    for (const size of [2040, 2047, 2048, 2049, 5000]) {
      const writer = new Writer()
      writer.octets(new Uint8Array(size).fill(1))
      writer.octet(2)
      writer.latin1('\x03\x04')
      writer.header(0x04, 0)
      assert.equal(writer.size, size + 7)
      const der = writer.take()
      assert.equal(der.subarray(0, 7).toHex(), `0482${(size + 3).toString(16).padStart(4, '0')}030402`)
      assert.ok(der.subarray(7).every((octet) => octet === 1))
    }
    const writer = new Writer()
    // more than any buffer that is kept from before
    for (let i = 0; i < 70_000; i++) writer.octet(i & 0xff)
    assert.deepEqual(
      writer.take(),
      Uint8Array.from({ length: 70_000 }, (_, i) => (69_999 - i) & 0xff),
    )
    const texts = new Writer()
    for (let i = 0; i < 30_000; i++) texts.latin1('abc')
    assert.equal(Buffer.from(texts.take()).toString(), 'abc'.repeat(30_000))
    const headers = new Writer()
    for (let i = 0; i < 40_000; i++) headers.header(0x05, headers.size)
    assert.equal(headers.take().toHex(), '0500'.repeat(40_000))
  })

  test('what was taken is a copy, and the writer begins anew', () => {
    const writer = new Writer()
    writer.octet(1)
    const taken = writer.take()
    assert.equal(writer.size, 0)
    writer.octet(2)
    writer.octet(3)
    assert.equal(taken.toHex(), '01')
    assert.equal(writer.take().toHex(), '0302')
  })

  test('what is dropped is not written', () => {
    const writer = new Writer()
    writer.octets(bytes('aabb'))
    const mark = writer.size
    writer.octets(bytes('ccdd'))
    assert.equal(writer.wrote(mark, bytes('ccdd')), true)
    assert.equal(writer.wrote(mark, bytes('ccde')), false)
    assert.equal(writer.wrote(mark, bytes('cc')), false)
    writer.drop(mark)
    assert.equal(writer.take().toHex(), 'aabb')
  })

  test('writers that live at once do not share', () => {
    const writers = Array.from({ length: 20 }, () => new Writer())
    for (const [i, writer] of writers.entries()) writer.octet(i)
    assert.deepEqual(
      writers.map((writer) => writer.take()[0]),
      [...writers.keys()],
    )
    const again = Array.from({ length: 20 }, () => new Writer())
    for (const [i, writer] of again.entries()) writer.octet(i)
    assert.deepEqual(
      again.map((writer) => writer.take().toHex()),
      [...again.keys()].map((i) => i.toString(16).padStart(2, '0')),
    )
  })

  test('octets are copied whole at every size near the loop', () => {
    for (let size = 0; size < 40; size++) {
      const writer = new Writer()
      const octets = Uint8Array.from({ length: size }, (_, i) => i + 1)
      writer.octets(octets)
      assert.deepEqual(writer.take(), octets)
    }
  })
})
