/** Trees that are written and read again, and tables that lie. @module */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { asTrustError } from '#base/errors.ts'
import type { BlobSource, Piece } from '../format.ts'
import { bytesSource, sizeOf } from './blob.ts'
import { classOf, encodeCompoundFile, parseCompoundFile, type SectorOctets, type StorageEntry, type StreamEntry } from './cfb.ts'
import { counted, octetsIn, READ_MAX_OCTETS } from './testing.ts'

const fields = { clsid: new Uint8Array(16), stateBits: new Uint8Array(4), times: new Uint8Array(16) }
const utf16 = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'utf16le'))
const stream = (name: string, content: Uint8Array): StreamEntry => ({
  ...fields,
  type: 'stream',
  name: utf16(name),
  size: content.length,
  content: [content],
})
const storage = (name: string, children: StorageEntry['children'], more: Partial<StorageEntry> = {}): StorageEntry => ({
  ...fields,
  ...more,
  type: 'storage',
  name: utf16(name),
  children,
})
const rootOf = (...children: StorageEntry['children']): StorageEntry =>
  storage('Root Entry', children, { clsid: new Uint8Array(16).fill(9), stateBits: Uint8Array.of(1, 2, 3, 4) })
const written = (root: StorageEntry, sectorOctets: SectorOctets = 512): Promise<Uint8Array> =>
  octetsIn(bytesSource(new Uint8Array()), encodeCompoundFile(root, sectorOctets))

/** Everything that a tree holds, with siblings in one order. */
async function shown(source: BlobSource, entry: StorageEntry | StreamEntry): Promise<unknown> {
  const { type, name, clsid, stateBits, times } = entry
  const what = [type, clsid, stateBits, times].map((part) => (typeof part === 'string' ? part : part.toHex()))
  if (entry.type === 'stream')
    return [Buffer.from(name).toString('utf16le'), ...what, (await octetsIn(source, entry.content)).toHex()]
  const children = await Promise.all(entry.children.map((child) => shown(source, child)))
  return [Buffer.from(name).toString('utf16le'), ...what, children.map((child) => JSON.stringify(child)).toSorted()]
}

const content = fc
  .tuple(fc.constantFrom(0, 1, 63, 64, 65, 511, 512, 4095, 4096, 4097, 9000), fc.nat(255))
  .map(([length, first]) => Uint8Array.from({ length }, (_, i) => (first + i) & 0xff))
const name = fc
  .string({ unit: 'grapheme', minLength: 1, maxLength: 12 })
  .filter((text) => text.length <= 31 && !/[\0!/:\\]/.test(text))
const byName = { selector: ([one]: readonly [string, unknown]) => one.toUpperCase(), maxLength: 12 }
const level = (deeper: fc.Arbitrary<StorageEntry['children']>) =>
  fc
    .uniqueArray(fc.tuple(name, fc.oneof({ weight: 4, arbitrary: content }, deeper)), byName)
    .map((entries) =>
      entries.map(([one, held]) =>
        held instanceof Uint8Array ? stream(one, held) : storage(one, held, { times: new Uint8Array(16).fill(7) }),
      ),
    )
const tree = level(level(level(fc.constant([])))).map((children) => rootOf(...children))

test('what is written is read again, whatever the tree and the size of sectors', async () => {
  await fc.assert(
    fc.asyncProperty(tree, fc.constantFrom<SectorOctets>(512, 4096), async (root, sectorOctets) => {
      const octets = await written(root, sectorOctets)
      const source = bytesSource(octets)
      const file = await parseCompoundFile(source)
      assert.deepEqual(await shown(source, file.root), await shown(source, root))
      assert.equal(file.sectorOctets, sectorOctets)
      assert.equal(file.trailingOctets, 0)
      assert.ok((await octetsIn(source, file.strays)).every((octet) => octet === 0))
      assert.deepEqual(await written(await loaded(source, file.root), sectorOctets), octets)
      assert.equal(await classOf(source), '09'.repeat(16))
    }),
    { numRuns: 60 },
  )
})

/** The same tree, with its content in memory. */
async function loaded<Entry extends StorageEntry | StreamEntry>(source: BlobSource, entry: Entry): Promise<Entry> {
  if (entry.type === 'stream') return { ...entry, content: [await octetsIn(source, entry.content)] }
  return { ...entry, children: await Promise.all(entry.children.map((child) => loaded(source, child))) }
}

test('a table of sectors too long for the header goes on in sectors of its own', async () => {
  const large = new Uint8Array(8 << 20).fill(3)
  const octets = await written(rootOf(stream('large', large), stream('small', Uint8Array.of(1))))
  const view = new DataView(octets.buffer)
  assert.equal(view.getUint32(72, true), 1) // of its sectors
  const source = counted(bytesSource(octets))
  const { root } = await parseCompoundFile(source)
  assert.equal((await octetsIn(source, root.children.find(isLarge)?.content ?? [])).length, large.length)
  assert.ok(source.largest() <= READ_MAX_OCTETS)
  for (const [at, value] of [
    [68, 0xfffffffe],
    [72, 2],
    [44, view.getUint32(44, true) + 2],
  ] as const)
    assert.equal(await refusal(changed(octets, at, value)), 'malformed badArtifact')
})
const isLarge = (entry: StorageEntry | StreamEntry): entry is StreamEntry => entry.type === 'stream' && entry.size > 4096

/** Octets that are nowhere: zeros where a piece is a range. */
function piecedSource(pieces: readonly Piece[]): BlobSource {
  const starts: number[] = []
  let size = 0
  for (const { length } of pieces) {
    starts.push(size)
    size += length
  }
  return {
    size,
    async read(offset, length) {
      assert.ok(length <= READ_MAX_OCTETS)
      const octets = new Uint8Array(length)
      for (const [i, piece] of pieces.entries()) {
        const start = starts[i] as number
        if (!(piece instanceof Uint8Array) || start >= offset + length || start + piece.length <= offset) continue
        const from = Math.max(0, offset - start)
        octets.set(piece.subarray(from, offset + length - start), Math.max(0, start - offset))
      }
      return octets
    },
  }
}

test('R31: a file of 4 GB leaves out the sector that programs lock, and is read without its content', async () => {
  const size = 2 ** 32 - 4096
  const huge: StreamEntry = { ...stream('huge', new Uint8Array()), size, content: [{ offset: 5, length: size }] }
  const source = piecedSource(encodeCompoundFile(rootOf(huge, stream('small', Uint8Array.of(7))), 4096))
  const { root, strays, trailingOctets } = await parseCompoundFile(source)
  const found = root.children.find(isLarge)
  assert.equal(sizeOf(found?.content ?? []), size)
  const lock = { offset: 0x7ffff000, length: 4096 }
  assert.ok(strays.some(({ offset, length }) => offset === lock.offset && length === lock.length))
  assert.deepEqual(
    found?.content.map((piece) => (piece instanceof Uint8Array ? 0 : piece.offset)),
    [4096, lock.offset + lock.length],
  )
  assert.equal(trailingOctets, 0)
})

test('R31: a file of more than 2 GB with small sectors is neither written nor read', async () => {
  const size = 2 ** 31
  const huge: StreamEntry = { ...stream('huge', new Uint8Array()), size, content: [{ offset: 0, length: size }] }
  assert.throws(() => encodeCompoundFile(rootOf(huge), 512), { code: 'tooLarge', reason: 'artifactTooMany' })
  const head = await written(rootOf())
  const endless: BlobSource = {
    size: 2 ** 45,
    read: async (offset, length) => head.slice(offset, offset + length),
  }
  await assert.rejects(parseCompoundFile(endless), { code: 'tooLarge', reason: 'artifactTooMany' })
})

const changed = (octets: Uint8Array, at: number, value: number): Uint8Array => {
  const copy = new Uint8Array(octets)
  new DataView(copy.buffer).setUint32(at, value, true)
  return copy
}

async function refusal(octets: Uint8Array): Promise<string> {
  try {
    await parseCompoundFile(bytesSource(octets))
  } catch (error) {
    const { code, reason } = asTrustError(error)
    return `${code} ${reason}`
  }
  return 'none'
}

describe('R31: tables that lie', async () => {
  const filled = (length: number): Uint8Array => new Uint8Array(length).fill(0xaa)
  const octets = await written(
    rootOf(
      stream('a', filled(5000)),
      stream('b', filled(6000)),
      stream('cc', filled(100)),
      stream('dd', filled(130)),
      storage('E', [stream('f', filled(70))]),
    ),
  )
  const view = new DataView(octets.buffer)
  const directory = (view.getUint32(48, true) + 1) * 512
  const fat = (view.getUint32(76, true) + 1) * 512
  const miniFAT = (view.getUint32(60, true) + 1) * 512
  const names = new Map<string, number>()
  for (let at = directory; at < directory + 7 * 128; at += 128)
    names.set(Buffer.from(octets.subarray(at, at + view.getUint16(at + 64, true) - 2)).toString('utf16le'), at)
  const at = (entry: string, field: 'left' | 'right' | 'child' | 'start' | 'size' | 'name'): number =>
    (names.get(entry) ?? assert.fail(entry)) + { left: 68, right: 72, child: 76, start: 116, size: 120, name: 0 }[field]
  const word = (entry: string, field: Parameters<typeof at>[1]): number => view.getUint32(at(entry, field), true)
  const fatOf = (sector: number): number => fat + sector * 4

  const lies: readonly (readonly [string, number, number])[] = [
    ['a chain that runs in a circle', fatOf(word('a', 'start') + 3), word('a', 'start')],
    ['a sector that follows itself', fatOf(word('a', 'start')), word('a', 'start')],
    ['two streams in the same sectors', at('a', 'start'), word('b', 'start')],
    ['a chain that goes on in that of another', fatOf(word('a', 'start') + 2), word('b', 'start') + 4],
    ['a chain that leads out', fatOf(word('a', 'start')), 10_000],
    ['a chain into a free sector', fatOf(word('a', 'start')), 0xffffffff],
    ['a stream in the table of sectors', at('a', 'start'), view.getUint32(76, true)],
    ['a stream in the directory', at('a', 'start'), view.getUint32(48, true)],
    ['a stream that is longer than its sectors', at('a', 'size'), 5121],
    ['a stream of four gigabytes', at('a', 'size'), 0xffffffff],
    ['a short stream that says it is long', at('cc', 'size'), 5000],
    ['a mini chain that runs in a circle', miniFAT + word('dd', 'start') * 4, word('dd', 'start')],
    ['two streams in the same mini sectors', at('cc', 'start'), word('dd', 'start')],
    ['a mini chain that leads out', miniFAT + word('dd', 'start') * 4, 100],
    ['a mini stream that is longer than its sectors', at('Root Entry', 'size'), 4096],
    ['a mini stream that ends within a sector', at('Root Entry', 'size'), word('Root Entry', 'size') - 1],
    ['a mini stream of four gigabytes', at('Root Entry', 'size'), 0xffffffc0],
    ['a table of sectors that is not marked', fatOf(view.getUint32(76, true)), 0xfffffffe],
    ['a table of sectors of no length', 44, 0],
    ['a table of sectors of any length', 44, 0xffffffff],
    ['a table of sectors in the header', 76, 0xffffffff],
    ['more sectors in the header than it counts', 80, 3],
    ['sectors for more of that table', 72, 1],
    ['a directory nowhere', 48, 0xfffffffe],
    ['a directory in the table of sectors', 48, view.getUint32(76, true)],
    ['a count of the directory where none is', 40, 1],
    ['a mini table of another length', 64, 2],
    ['a mini table that is not counted', 64, 0],
    ['another order of octets', 28, 0x0009feff],
    ['other sizes of sectors', 30, 0x0006000c],
    ['another bound of the mini stream', 56, 64],
    ['something in the class of the header', 8, 1],
    ['an entry that is its own sibling', at('cc', 'left'), 1],
    ['a child that is the root', at('Root Entry', 'child'), 0],
    ['a child outside', at('Root Entry', 'child'), 5000],
    ['a stream with children', at('a', 'child'), 3],
    ['a storage whose child is its parent', at('E', 'child'), 0],
    ['a name twice', at('b', 'name'), 0x61],
    ['a name twice but for its case', at('b', 'name'), 0x41],
    ['names out of order', at('cc', 'name'), 0x007a007a],
    ['a name that leads elsewhere', at('cc', 'name'), 0x002f0063],
    ['a name with zeros', at('cc', 'name'), 0x00000063],
    ['a name of no length', at('cc', 'name') + 64, 0x01020000],
    ['a name that is too long', at('cc', 'name') + 64, 0x01020042],
    ['a name that has no end', at('cc', 'name') + 4, 0x00640064],
    ['a free entry among the children', at('cc', 'name') + 64, 0x01000006],
    ['a root among the children', at('cc', 'name') + 64, 0x01050006],
    ['times of a stream', at('cc', 'name') + 100, 1],
    ['another name of the root', at('Root Entry', 'name'), 0x00720052],
  ]
  for (const [what, where, value] of lies) {
    test(what, async () => {
      assert.notEqual(view.getUint32(where, true), value)
      assert.match(await refusal(changed(octets, where, value)), /^(malformed badArtifact|tooLarge artifactTooMany)$/)
    })
  }

  test('none of them is told', async () => assert.equal(await refusal(octets), 'none'))

  test('octets that belong to nothing are found, wherever they are', async () => {
    const { strays, trailingOctets } = await parseCompoundFile(bytesSource(octets))
    assert.equal(trailingOctets, 0)
    const isStray = (where: number): boolean => strays.some(({ offset, length }) => where >= offset && where < offset + length)
    assert.ok(isStray((word('a', 'start') + 1) * 512 + 5000)) // behind the end of a stream, in its last sector
    assert.ok(isStray(directory + 7 * 128)) // in a free entry
    assert.ok(isStray(at('a', 'name') + 10)) // behind the end of a name
    const longer = new Uint8Array([...octets, ...new Uint8Array(1000)])
    assert.equal((await parseCompoundFile(bytesSource(longer))).trailingOctets, 1000)
  })

  test('a file that is cut is refused wherever it is cut', async () => {
    for (let length = 0; length < octets.length; length += 100)
      assert.equal(await refusal(octets.subarray(0, length)), 'malformed badArtifact')
  })
})
