/** ZIP64: files above four gigabytes and many entries, and what of it could be said in two ways. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { concat, utf8 } from '#base/bytes.ts'
import { asTrustError } from '#base/errors.ts'
import type { BlobSource, Piece } from '../format.ts'
import { bytesSource, sizeOf } from './blob.ts'
import { endOf, isZip, movedRecord, newEntry, parseZip, parseZipEnd } from './zip.ts'

const badArtifact = 'malformed badArtifact'
const IN_ZIP64 = 0xffffffff

async function verdict(source: BlobSource): Promise<string> {
  try {
    return (await parseZip(source)).entries.map(({ name }) => name).join(' ')
  } catch (error) {
    const { code, reason } = asTrustError(error)
    return `${code} ${reason}`
  }
}

const viewOf = ({ buffer, byteOffset, length }: Uint8Array): DataView => new DataView(buffer, byteOffset, length)
const changed = (octets: Uint8Array, change: (view: DataView) => void): Uint8Array => {
  const copy = octets.slice()
  change(viewOf(copy))
  return copy
}
const uint64 = (...values: readonly number[]): Uint8Array => {
  const octets = new Uint8Array(8 * values.length)
  for (const [i, value] of values.entries()) viewOf(octets).setBigUint64(8 * i, BigInt(value), true)
  return octets
}
const extraField = (id: number, content: Uint8Array): Uint8Array =>
  concat([Uint8Array.of(id & 0xff, id >> 8, content.length & 0xff, content.length >> 8), content])
const field = (...values: readonly number[]): Uint8Array => extraField(1, uint64(...values))

const a = newEntry('a', utf8('content'), 0)
const b = newEntry('b', utf8('text'), a.local.length)
const locals = concat([a.local, b.local])

/** The end as a writer has it that always writes ZIP64, in 56, 20 and 22 octets. */
function wideEnd(count: number, size: number, offset: number): Uint8Array {
  const end = endOf(0xffff, size, offset)
  return changed(end, (view) => {
    for (const at of [24, 32]) view.setBigUint64(at, BigInt(count), true)
    for (const at of [84, 86]) view.setUint16(at, count, true)
    view.setUint16(84, 0xffff, true)
    view.setUint16(86, 0xffff, true)
  })
}
const [LOCATOR, END] = [56, 76]
const directory = concat([a.record, b.record])
const end = wideEnd(2, directory.length, locals.length)
const wide = (last: Uint8Array, records = directory): Uint8Array => concat([locals, records, last])

const ends: readonly { readonly name: string; readonly octets: Uint8Array; readonly said: string }[] = [
  { name: 'both ends say the same', octets: wide(end), said: 'a b' },
  {
    name: 'everything is in the record alone',
    octets: wide(changed(end, (view) => (view.setUint32(END + 12, IN_ZIP64, true), view.setUint32(END + 16, IN_ZIP64, true)))),
    said: 'a b',
  },
  { name: 'the record is missing', octets: wide(end.subarray(END)), said: badArtifact },
  { name: 'nothing but an end that says ZIP64', octets: end.subarray(END), said: badArtifact },
  {
    name: 'what points to it is missing',
    octets: wide(concat([end.subarray(0, LOCATOR), end.subarray(END)])),
    said: badArtifact,
  },
  {
    name: 'the record is there and not needed',
    octets: wide(changed(end, (v) => (v.setUint16(END + 8, 2, true), v.setUint16(END + 10, 2, true)))),
    said: badArtifact,
  },
  {
    name: 'another count in one of its parts',
    octets: wide(changed(end, (v) => v.setUint16(END + 8, 1, true))),
    said: badArtifact,
  },
  {
    name: 'another size',
    octets: wide(changed(end, (v) => v.setUint32(END + 12, directory.length - 1, true))),
    said: badArtifact,
  },
  { name: 'another place', octets: wide(changed(end, (v) => v.setUint32(END + 16, 0, true))), said: badArtifact },
  {
    name: 'a place in the record that is another directory',
    octets: wide(changed(end, (v) => (v.setUint32(END + 16, IN_ZIP64, true), v.setBigUint64(48, 0n, true)))),
    said: badArtifact,
  },
  { name: 'it points elsewhere', octets: wide(changed(end, (v) => v.setBigUint64(LOCATOR + 8, 0n, true))), said: badArtifact },
  {
    name: 'two records, of which it points to the first',
    octets: wide(concat([end.subarray(0, LOCATOR), end])),
    said: badArtifact,
  },
  {
    name: 'two records, of which it points to the second',
    octets: wide(
      concat([
        end.subarray(0, LOCATOR),
        changed(end, (v) => v.setBigUint64(LOCATOR + 8, BigInt(locals.length + directory.length + LOCATOR), true)),
      ]),
    ),
    said: badArtifact,
  },
  { name: 'two that point', octets: wide(concat([end.subarray(0, END), end.subarray(LOCATOR)])), said: badArtifact },
  { name: 'a record of another length', octets: wide(changed(end, (v) => v.setBigUint64(4, 45n, true))), said: badArtifact },
  { name: 'a record of another part', octets: wide(changed(end, (v) => v.setUint32(16, 1, true))), said: badArtifact },
  {
    name: 'three parts',
    octets: wide(changed(end, (v) => v.setUint32(LOCATOR + 16, 3, true))),
    said: 'unsupported artifactUnsupported',
  },
  {
    name: 'another count in the record',
    octets: wide(changed(end, (v) => (v.setBigUint64(24, 3n, true), v.setBigUint64(32, 3n, true)))),
    said: badArtifact,
  },
  {
    name: 'a count above any',
    octets: wide(changed(end, (v) => (v.setBigUint64(24, 1n << 63n, true), v.setBigUint64(32, 1n << 63n, true)))),
    said: badArtifact,
  },
  {
    name: 'more entries than are held',
    octets: wide(changed(end, (v) => (v.setBigUint64(24, 1_000_000n, true), v.setBigUint64(32, 1_000_000n, true)))),
    said: 'tooLarge artifactPartTooLarge',
  },
]

for (const { name, octets, said } of ends) {
  test(`R31: ${name}: ${said}`, async () => assert.equal(await verdict(bytesSource(octets)), said))
}

interface Shape {
  readonly local?: (view: DataView) => void
  readonly localExtra?: Uint8Array
  readonly record?: (view: DataView) => void
  readonly recordExtra?: Uint8Array
  readonly behind?: Uint8Array
}
/** One entry, `text` of 7 octets, with fields of its own. */
function zipWith({
  local = () => {},
  localExtra = new Uint8Array(),
  record = () => {},
  recordExtra = new Uint8Array(),
  behind,
}: Shape): Uint8Array {
  const head = changed(a.local.subarray(0, 31), (view) => (view.setUint16(28, localExtra.length, true), local(view)))
  const first = concat([head, localExtra, a.local.subarray(31), behind ?? new Uint8Array()])
  const entry = concat([changed(a.record, (view) => (view.setUint16(30, recordExtra.length, true), record(view))), recordExtra])
  return concat([first, entry, endOf(1, entry.length, first.length)])
}
const crc = viewOf(a.local).getUint32(14, true)
const saysSizes = (view: DataView): void => (view.setUint32(20, IN_ZIP64, true), view.setUint32(24, IN_ZIP64, true))
const saysLocal = (view: DataView): void => (view.setUint32(18, IN_ZIP64, true), view.setUint32(22, IN_ZIP64, true))
const saysPlace = (view: DataView): void => view.setUint32(42, IN_ZIP64, true)
const described = (view: DataView): void => (view.setUint16(6, 0x0808, true), view.setUint32(14, 0, true))
const describes = (view: DataView): void => view.setUint16(8, 0x0808, true)
const crcOctets = changed(new Uint8Array(4), (view) => view.setUint32(0, crc, true))
const MARK = Uint8Array.of(0x50, 0x4b, 7, 8)
const wideDescriptor = concat([MARK, crcOctets, uint64(7, 7)])

const entries: readonly { readonly name: string; readonly shape: Shape; readonly said: string }[] = [
  { name: 'as it was', shape: {}, said: 'a' },
  {
    name: 'sizes and place in fields',
    shape: {
      local: saysLocal,
      localExtra: field(7, 7),
      record: (v) => (saysSizes(v), saysPlace(v)),
      recordExtra: field(7, 7, 0),
    },
    said: 'a',
  },
  { name: 'its place alone', shape: { record: saysPlace, recordExtra: field(0) }, said: 'a' },
  {
    name: 'a field among others, and zeros that fill up',
    shape: { record: saysPlace, recordExtra: concat([extraField(0xcafe, Uint8Array.of(1)), field(0), new Uint8Array(3)]) },
    said: 'a',
  },
  { name: 'no field', shape: { record: saysPlace }, said: badArtifact },
  { name: 'another place in the field', shape: { record: saysPlace, recordExtra: field(1) }, said: badArtifact },
  {
    name: 'a place above any',
    shape: { record: saysPlace, recordExtra: changed(field(0), (v) => v.setUint8(11, 0xff)) },
    said: badArtifact,
  },
  { name: 'a field that nothing asks for', shape: { recordExtra: field(7, 7, 0) }, said: badArtifact },
  { name: 'an empty field', shape: { recordExtra: field() }, said: badArtifact },
  { name: 'a field with more than is asked for', shape: { record: saysPlace, recordExtra: field(0, 7) }, said: badArtifact },
  {
    name: 'a field with less than is asked for',
    shape: { record: (v) => (saysSizes(v), saysPlace(v)), recordExtra: field(7, 7) },
    said: badArtifact,
  },
  { name: 'two fields', shape: { record: saysPlace, recordExtra: concat([field(0), field(0)]) }, said: badArtifact },
  { name: 'a field that is cut short', shape: { record: saysPlace, recordExtra: field(0).subarray(0, 11) }, said: badArtifact },
  { name: 'another size in the field', shape: { record: saysSizes, recordExtra: field(7, 8) }, said: badArtifact },
  { name: 'sizes before the data without a field', shape: { local: saysLocal }, said: badArtifact },
  { name: 'a field before the data that nothing asks for', shape: { localExtra: field(7, 7) }, said: badArtifact },
  {
    name: 'a field before the data with one size',
    shape: { local: (v) => v.setUint32(18, IN_ZIP64, true), localExtra: field(7) },
    said: badArtifact,
  },
  { name: 'another size in the field before the data', shape: { local: saysLocal, localExtra: field(8, 7) }, said: badArtifact },
  {
    name: 'sizes of eight octets behind the data, where a field promised them',
    shape: { local: (v) => (described(v), saysLocal(v)), localExtra: field(0, 0), record: describes, behind: wideDescriptor },
    said: 'a',
  },
  {
    name: 'the same without their mark',
    shape: {
      local: (v) => (described(v), saysLocal(v)),
      localExtra: field(0, 0),
      record: describes,
      behind: wideDescriptor.subarray(4),
    },
    said: 'a',
  },
  {
    name: 'sizes of four octets where a field promised eight',
    shape: {
      local: (v) => (described(v), saysLocal(v)),
      localExtra: field(0, 0),
      record: describes,
      behind: concat([MARK, crcOctets, Uint8Array.of(7, 0, 0, 0, 7, 0, 0, 0)]),
    },
    said: badArtifact,
  },
  {
    name: 'sizes of eight octets where nothing promised them',
    shape: {
      local: (v) => (described(v), v.setUint32(18, 0, true), v.setUint32(22, 0, true)),
      record: describes,
      behind: wideDescriptor,
    },
    said: badArtifact,
  },
  {
    name: 'other sizes of eight octets',
    shape: {
      local: (v) => (described(v), saysLocal(v)),
      localExtra: field(0, 0),
      record: describes,
      behind: concat([MARK, crcOctets, uint64(7, 8)]),
    },
    said: badArtifact,
  },
]

for (const { name, shape, said } of entries) {
  test(`R31: an entry with ${name}: ${said}`, async () => assert.equal(await verdict(bytesSource(zipWith(shape))), said))
}

test('whoever refuses ZIP64 refuses it at the end and in an entry', async () => {
  for (const octets of [wide(end), zipWith({ record: saysPlace, recordExtra: field(0) })])
    await assert.rejects(parseZip(bytesSource(octets), { isClassic: true }), { reason: 'artifactUnsupported' })
  assert.equal((await parseZip(bytesSource(zipWith({})), { isClassic: true })).entries.length, 1)
})

test('70,000 entries have an end of ZIP64, and 65,534 have not', async () => {
  for (const [count, isZip64] of [
    [65_534, false],
    [65_535, true],
    [70_000, true],
  ] as const) {
    const [parts, records]: [Uint8Array[], Uint8Array[]] = [[], []]
    let at = 0
    for (let i = 0; i < count; i++) {
      const { local, record } = newEntry(`${i}`, new Uint8Array(), at)
      parts.push(local)
      records.push(record)
      at += local.length
    }
    const all = concat(records)
    const source = bytesSource(concat([...parts, all, endOf(count, all.length, at)]))
    assert.equal((await parseZipEnd(source)).isZip64, isZip64)
    assert.equal((await parseZip(source)).entries.length, count)
    assert.equal(await isZip(source), true)
  }
})

/** An artifact of pieces, of which the ranges are zeros: as large as need be. */
function sparse(pieces: readonly Piece[]): BlobSource {
  const size = sizeOf(pieces)
  return {
    size,
    async read(offset, length) {
      assert.ok(length <= 2 << 20 && offset + length <= size)
      const out = new Uint8Array(length)
      let at = 0
      for (const piece of pieces) {
        const from = Math.max(offset, at)
        const until = Math.min(offset + length, at + piece.length)
        if (piece instanceof Uint8Array && from < until) out.set(piece.subarray(from - at, until - at), from - offset)
        at += piece.length
      }
      return out
    },
  }
}

const GIGABYTE = 2 ** 30
const zeros = { offset: 0, length: 5 * GIGABYTE }
/** Of an entry that is not compressed and has five gigabytes. */
const largeHead = concat([
  changed(newEntry('large', new Uint8Array(), 0).local, (view) => (saysLocal(view), view.setUint16(28, 20, true))),
  field(zeros.length, zeros.length),
])
const largeRecord = concat([
  changed(newEntry('large', new Uint8Array(), 0).record, (view) => (saysSizes(view), view.setUint16(30, 25, true))),
  extraField(0xcafe, Uint8Array.of(7)),
  field(zeros.length, zeros.length),
])

test('entries above and behind four gigabytes are read, and can be moved', async () => {
  const behindAt = largeHead.length + zeros.length
  const small = newEntry('small', utf8('behind'), 0)
  const smallRecord = concat([changed(small.record, (view) => (saysPlace(view), view.setUint16(30, 12, true))), field(behindAt)])
  const records = concat([largeRecord, smallRecord])
  const source = sparse([largeHead, zeros, small.local, records, endOf(2, records.length, behindAt + small.local.length)])
  const { entries: found } = await parseZip(source)
  assert.deepEqual(
    found.map(({ name, size, local }) => [name, size, local.offset]),
    [
      ['large', zeros.length, 0],
      ['small', 6, behindAt],
    ],
  )
  const [large, behind] = found
  assert.ok(large !== undefined && behind !== undefined)
  // the other way round: what needs its place in ZIP64 changes
  const first = newEntry('first', utf8('new'), 0)
  const moved = concat([
    first.record,
    movedRecord(behind, first.local.length),
    movedRecord(large, first.local.length + small.local.length),
  ])
  const largeAt = first.local.length + small.local.length
  const other = sparse([first.local, small.local, largeHead, zeros, moved, endOf(3, moved.length, largeAt + behindAt)])
  assert.equal(await verdict(other), 'first small large')
  assert.equal(movedRecord(behind, 40).length, small.record.length)
  // and back
  const [, smallAgain, largeAgain] = (await parseZip(other)).entries
  assert.ok(smallAgain !== undefined && largeAgain !== undefined)
  const back = concat([movedRecord(largeAgain, 0), movedRecord(smallAgain, behindAt)])
  const again = sparse([largeHead, zeros, small.local, back, endOf(2, back.length, behindAt + small.local.length)])
  assert.equal(await verdict(again), 'large small')
  assert.deepEqual(movedRecord(smallAgain, behindAt).subarray(46), smallRecord.subarray(46))
})

test('R31: a large entry that says another length than it has overlaps the next', async () => {
  for (const length of [zeros.length - 1, zeros.length + 1]) {
    const head = concat([largeHead.subarray(0, -20), field(length, length)])
    const record = concat([largeRecord.subarray(0, -20), field(length, length)])
    assert.equal(await verdict(sparse([head, zeros, record, endOf(1, record.length, head.length + zeros.length)])), badArtifact)
  }
})
