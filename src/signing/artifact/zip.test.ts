/** Tricks with ZIP files: what two programs would read in two ways is refused. @module */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { crc32, deflateRawSync } from 'node:zlib'
import { concat, utf8 } from '#base/bytes.ts'
import { asTrustError } from '#base/errors.ts'
import { bytesSource } from './blob.ts'
import { contentOf, endOf, isZip, newEntry, parseZip, readEntry, type ZipEntry } from './zip.ts'

const read = async (octets: Uint8Array): Promise<ReadonlyMap<string, string>> => {
  const source = bytesSource(octets)
  const { entries } = await parseZip(source)
  const found = new Map<string, string>()
  for (const entry of entries) found.set(entry.name, Buffer.from(await readEntry(source, entry, 1 << 20)).toString())
  return found
}

const verdict = async (octets: Uint8Array): Promise<string> => {
  try {
    await read(octets)
    return 'read'
  } catch (error) {
    const { code, reason } = asTrustError(error)
    return `${code} ${reason}`
  }
}

interface Part {
  readonly local: Uint8Array
  readonly record: Uint8Array
}

/** Entries one after another; each part's record is made for where it lies. */
function zipOf(...makers: readonly ((offset: number) => Part)[]): Uint8Array {
  const parts: Part[] = []
  let at = 0
  for (const make of makers) {
    const part = make(at)
    parts.push(part)
    at += part.local.length
  }
  const directory = concat(parts.map(({ record }) => record))
  return concat([...parts.map(({ local }) => local), directory, endOf(parts.length, directory.length, at)])
}

const stored =
  (name: string, text = 'content') =>
  (offset: number): Part =>
    newEntry(name, utf8(text), offset)

/** Changes octets of the local part, of the record, or both. */
const patched =
  (make: (offset: number) => Part, change: (local: DataView, record: DataView) => void) =>
  (offset: number): Part => {
    const { local, record } = make(offset)
    change(new DataView(local.buffer), new DataView(record.buffer))
    return { local, record }
  }

/** @param declared other sizes and another checksum than it has */
const deflated =
  (name: string, text: string, behind: Uint8Array = new Uint8Array(), size = utf8(text).length, crc = crc32(text)) =>
  (offset: number): Part => {
    const data = concat([new Uint8Array(deflateRawSync(utf8(text))), behind])
    const part = newEntry(name, data, offset)
    const [local, record] = [new DataView(part.local.buffer), new DataView(part.record.buffer)]
    for (const [view, at] of [
      [local, 8],
      [record, 10],
    ] as const) {
      view.setUint16(at, 8, true)
      view.setUint32(at + 6, crc, true)
      view.setUint32(at + 14, size, true)
    }
    return part
  }

/** With its sums behind the data, as a writer has it that does not know them before. */
const described =
  (name: string, text: string, sums: readonly [number, number, number], hasSignature = true) =>
  (offset: number): Part => {
    const { local, record } = patched(stored(name, text), (l, r) => {
      l.setUint16(6, 0x0808, true)
      r.setUint16(8, 0x0808, true)
      for (const at of [14, 18, 22]) l.setUint32(at, 0, true)
    })(offset)
    const descriptor = new Uint8Array(16)
    const view = new DataView(descriptor.buffer)
    view.setUint32(0, 0x08074b50, true)
    for (const [i, sum] of sums.entries()) view.setUint32(4 + 4 * i, sum, true)
    return { local: concat([local, hasSignature ? descriptor : descriptor.subarray(4)]), record }
  }
const sumsOf = (text: string): readonly [number, number, number] => [crc32(text), text.length, text.length]

const patchedEnd = (octets: Uint8Array, change: (end: DataView) => void): Uint8Array => {
  const copy = new Uint8Array(octets)
  change(new DataView(copy.buffer, copy.length - 22))
  return copy
}
const usual = zipOf(stored('a'), deflated('b', 'content '.repeat(100)))
const badArtifact = 'malformed badArtifact'
const unsupported = 'unsupported artifactUnsupported'

const tricks: readonly { readonly name: string; readonly octets: Uint8Array; readonly verdict: string }[] = [
  { name: 'nothing', octets: new Uint8Array(), verdict: badArtifact },
  { name: 'one name twice', octets: zipOf(stored('a', 'one'), stored('a', 'two')), verdict: badArtifact },
  ...['../a', 'a/../../b', '/a', 'a//b', './a', 'a\\b', 'C:a', 'a\u0000b', 'a\nb', 'a/..', '/'].map((name) => ({
    name: `the name ${JSON.stringify(name)}`,
    octets: zipOf(stored(name, name.endsWith('/') ? '' : 'content')),
    verdict: badArtifact,
  })),
  { name: 'a folder with content', octets: zipOf(stored('a/')), verdict: badArtifact },
  {
    name: 'a name that is not UTF-8',
    octets: zipOf(patched(stored('aa'), (l, r) => (l.setUint8(30, 0xff), r.setUint8(46, 0xff)))),
    verdict: badArtifact,
  },
  {
    name: 'another name before the data',
    octets: zipOf(patched(stored('a'), (l) => l.setUint8(30, 0x62))),
    verdict: badArtifact,
  },
  {
    name: 'another size before the data',
    octets: zipOf(patched(stored('a'), (l) => l.setUint32(22, 5, true))),
    verdict: badArtifact,
  },
  {
    name: 'another method before the data',
    octets: zipOf(patched(stored('a'), (l) => l.setUint16(8, 8, true))),
    verdict: badArtifact,
  },
  {
    name: 'another checksum in both',
    octets: zipOf(patched(stored('a'), (l, r) => (l.setUint32(14, 1, true), r.setUint32(16, 1, true)))),
    verdict: badArtifact,
  },
  {
    name: 'encrypted',
    octets: zipOf(patched(stored('a'), (l, r) => (l.setUint16(6, 0x0801, true), r.setUint16(8, 0x0801, true)))),
    verdict: unsupported,
  },
  {
    name: 'another compression',
    octets: zipOf(patched(stored('a'), (l, r) => (l.setUint16(8, 12, true), r.setUint16(10, 12, true)))),
    verdict: unsupported,
  },
  { name: 'something before the first entry', octets: concat([utf8('#!/bin/sh\n'), usual]), verdict: badArtifact },
  { name: 'something behind the end', octets: concat([usual, Uint8Array.of(0)]), verdict: badArtifact },
  {
    name: 'a comment, which could be another end',
    octets: concat([patchedEnd(usual, (end) => end.setUint16(20, 22, true)), usual.subarray(-22)]),
    verdict: badArtifact,
  },
  {
    name: 'something between the entries',
    octets: zipOf(stored('a'), (offset) => ({
      ...newEntry('b', utf8('x'), offset + 3),
      local: concat([new Uint8Array(3), newEntry('b', utf8('x'), 0).local]),
    })),
    verdict: badArtifact,
  },
  {
    name: 'an entry that is in no directory',
    octets: zipOf(stored('a'), (offset) => ({ local: newEntry('b', utf8('x'), offset).local, record: new Uint8Array() })),
    verdict: badArtifact,
  },
  {
    name: 'two records for one place',
    octets: zipOf(stored('a'), () => ({ local: new Uint8Array(), record: newEntry('b', utf8('content'), 0).record })),
    verdict: badArtifact,
  },
  {
    name: 'a directory that says ZIP64 without a record of it',
    octets: patchedEnd(usual, (end) => end.setUint32(16, 0xffffffff, true)),
    verdict: badArtifact,
  },
  {
    name: 'another number of entries',
    octets: patchedEnd(usual, (end) => (end.setUint16(8, 3, true), end.setUint16(10, 3, true))),
    verdict: badArtifact,
  },
  { name: 'a directory elsewhere', octets: patchedEnd(usual, (end) => end.setUint32(16, 1, true)), verdict: badArtifact },
  {
    name: 'a size of ZIP64 in an entry without a field of it',
    octets: zipOf(patched(stored('a'), (_l, r) => r.setUint32(24, 0xffffffff, true))),
    verdict: badArtifact,
  },
  {
    name: 'two sizes of what is not compressed',
    octets: zipOf(patched(stored('a'), (l, r) => (l.setUint32(22, 8, true), r.setUint32(24, 8, true)))),
    verdict: badArtifact,
  },
  { name: 'less content than it says', octets: zipOf(deflated('a', 'text', undefined, 5)), verdict: badArtifact },
  { name: 'more content than it says', octets: zipOf(deflated('a', 'a bomb '.repeat(9000), undefined, 4)), verdict: badArtifact },
  { name: 'another checksum of what is compressed', octets: zipOf(deflated('a', 'text', undefined, 4, 7)), verdict: badArtifact },
  {
    name: 'something behind compressed data',
    octets: zipOf(deflated('a', 'text', Uint8Array.of(1, 2, 3))),
    verdict: badArtifact,
  },
  {
    name: 'no compressed data',
    octets: zipOf(patched(stored('a', '\u00ff\u00ff'), (l, r) => (l.setUint16(8, 8, true), r.setUint16(10, 8, true)))),
    verdict: badArtifact,
  },
  { name: 'sums behind the data', octets: zipOf(described('a', 'text', sumsOf('text')), stored('b')), verdict: 'read' },
  {
    name: 'sums behind the data without their mark',
    octets: zipOf(described('a', 'text', sumsOf('text'), false)),
    verdict: 'read',
  },
  { name: 'other sums behind the data', octets: zipOf(described('a', 'text', [1, 4, 4])), verdict: badArtifact },
]

for (const { name, octets, verdict: expected } of tricks) {
  test(`R31: ${name}: ${expected}`, async () => assert.equal(await verdict(octets), expected))
}

test('what is usual is read', async () => {
  assert.deepEqual(
    [...(await read(usual))],
    [
      ['a', 'content'],
      ['b', 'content '.repeat(100)],
    ],
  )
  assert.equal(await isZip(bytesSource(usual)), true)
  assert.equal(await isZip(bytesSource(new Uint8Array(10))), false)
  assert.deepEqual(
    [...(await read(zipOf(stored('press/größe'), stored('press/folder/', '')))).keys()],
    ['press/größe', 'press/folder/'],
  )
})

test('what the JDK and Info-ZIP write is read', async () => {
  const octets = new Uint8Array(readFileSync(join(import.meta.dirname, '../formats/testdata/press.jar')))
  const found = await read(octets)
  assert.match(found.get('META-INF/MANIFEST.MF') ?? '', /Multi-Release: true/)
  assert.equal(found.size, 9)
})

test('large entries are unpacked in a stream, to the same end', async () => {
  const text = 'press 7 presses '.repeat(200_000)
  const right = zipOf(deflated('a', text))
  const source = bytesSource(right)
  const [entry] = (await parseZip(source)).entries as [ZipEntry]
  let size = 0
  for await (const piece of contentOf(source, entry)) size += piece.length
  assert.equal(size, text.length)
  for (const wrong of [
    zipOf(deflated('a', text, Uint8Array.of(1, 2, 3))),
    zipOf(deflated('a', text, undefined, text.length - 1)),
    zipOf(deflated('a', text, undefined, text.length + 1)),
    zipOf(deflated('a', text, undefined, text.length, 1)),
    right.with(2000, (right[2000] as number) ^ 0xff),
  ]) {
    const other = bytesSource(wrong)
    await assert.rejects(
      async () => {
        const [one] = (await parseZip(other)).entries as [ZipEntry]
        for await (const _ of contentOf(other, one));
      },
      { reason: 'badArtifact' },
    )
  }
})

test('an entry that must fit in memory is refused before it is unpacked', async () => {
  const source = bytesSource(zipOf(stored('a', 'x'.repeat(100))))
  const [entry] = (await parseZip(source)).entries as [ZipEntry]
  await assert.rejects(readEntry(source, entry, 99), { code: 'tooLarge' })
})
