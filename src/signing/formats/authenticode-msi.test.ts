/** Packages that were changed where not everybody looks, and signatures that say something else than they seem to. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { concat } from '#base/bytes.ts'
import { bytesSource } from '../artifact/blob.ts'
import { encodeCompoundFile, parseCompoundFile, type StorageEntry, type StreamEntry } from '../artifact/cfb.ts'
import { judged, octetsIn, signedWith, trialSigner, verified } from '../artifact/testing.ts'
import { authenticodeMSI } from './authenticode-msi.ts'
import { authenticodeScript } from './authenticode-script.ts'
import { sampleOf } from './samples.ts'

const installer = sampleOf('authenticode-msi')
const signer = await trialSigner('rsa-2048')
const other = await trialSigner('ecdsa-p256')
const longer = await trialSigner('ecdsa-p384')
const { octets: signed } = await signedWith(authenticodeMSI, bytesSource(installer), signer)
const { root } = await parseCompoundFile(bytesSource(signed))

type Entry = StreamEntry | StorageEntry
const nameOf = ({ name }: Entry): string => Buffer.from(name).toString('utf16le')
const fields = { clsid: new Uint8Array(16), stateBits: new Uint8Array(4), times: new Uint8Array(16) }
const utf16 = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'utf16le'))
const newStream = (name: string, content: Uint8Array): StreamEntry => ({
  ...fields,
  type: 'stream',
  name: utf16(name),
  size: content.length,
  content: [content],
})
const newStorage = (name: string, children: readonly Entry[], clsid = new Uint8Array(16)): StorageEntry => ({
  ...fields,
  type: 'storage',
  clsid,
  name: utf16(name),
  children,
})

/** The package, laid out anew with other children of its root. */
const withChildren = (
  children: (before: readonly Entry[]) => readonly Entry[],
  more: Partial<StorageEntry> = {},
): Promise<Uint8Array> =>
  octetsIn(bytesSource(signed), encodeCompoundFile({ ...root, ...more, children: children(root.children) }, 512))
const contentOf = (entry: Entry | undefined): Promise<Uint8Array> =>
  entry?.type === 'stream' ? octetsIn(bytesSource(signed), entry.content) : assert.fail('no stream')
const SIGNATURE = '\u0005DigitalSignature'
const METADATA = '\u0005MsiDigitalSignatureEx'
const named = (name: string): Entry | undefined => root.children.find((entry) => nameOf(entry) === name)

const tables = root.children
  .filter((entry) => entry.type === 'stream')
  .filter((entry) => nameOf(entry).startsWith('\u4840') && entry.size > 0)
const [one, another] = tables as [StreamEntry, StreamEntry]

test('laid out anew in another order and in other sectors, it is as valid', async () => {
  assert.equal(await judged(authenticodeMSI, await withChildren((all) => all.toReversed())), 'valid')
  const wide = await octetsIn(bytesSource(signed), encodeCompoundFile(root, 4096))
  assert.equal(await judged(authenticodeMSI, wide), 'valid')
})

const changes: readonly (readonly [what: string, verdict: string, octets: () => Promise<Uint8Array>])[] = [
  [
    'two tables that change their names',
    'invalid artifactChanged',
    () =>
      withChildren((all) =>
        all.map((entry) =>
          entry === one ? { ...one, name: another.name } : entry === another ? { ...another, name: one.name } : entry,
        ),
      ),
  ],
  [
    'a table that ends where the next began',
    'invalid artifactChanged',
    async () => {
      const inOrder = tables.toSorted((a, b) => Buffer.compare(a.name, b.name))
      const [first, second] = inOrder as [StreamEntry, StreamEntry]
      const both = concat([await contentOf(first), await contentOf(second)])
      const [a, b] = [
        newStream(nameOf(first), both.subarray(0, first.size + 1)),
        newStream(nameOf(second), both.subarray(first.size + 1)),
      ]
      return withChildren((all) => all.map((entry) => (entry === first ? a : entry === second ? b : entry)))
    },
  ],
  ['an empty stream more', 'invalid artifactChanged', () => withChildren((all) => [...all, newStream('more', new Uint8Array())])],
  ['an empty storage more', 'invalid artifactChanged', () => withChildren((all) => [...all, newStorage('more', [])])],
  ['a table less', 'invalid artifactChanged', () => withChildren((all) => all.filter((entry) => entry !== one))],
  [
    'a table in a storage',
    'invalid artifactChanged',
    () => withChildren((all) => [...all.filter((entry) => entry !== one), newStorage('more', [one])]),
  ],
  [
    'another kind of package',
    'invalid artifactChanged',
    () => withChildren((all) => all, { clsid: Uint8Array.fromHex('86100c0000000000c000000000000046') }),
  ],
  [
    'a document',
    'unsupported artifactUnsupported',
    () => withChildren((all) => all, { clsid: Uint8Array.fromHex('0609020000000000c000000000000046') }),
  ],
  ['other state bits', 'invalid artifactChanged', () => withChildren((all) => all, { stateBits: Uint8Array.of(1, 0, 0, 0) })],
  [
    'the digest of names and sizes taken away',
    'invalid artifactChanged',
    () => withChildren((all) => all.filter((entry) => nameOf(entry) !== METADATA)),
  ],
  [
    'another digest of names and sizes',
    'invalid artifactChanged',
    () => withChildren((all) => [...all.filter((entry) => nameOf(entry) !== METADATA), newStream(METADATA, new Uint8Array(32))]),
  ],
  [
    'a digest of names and sizes that is longer',
    'invalid artifactChanged',
    async () => {
      const longerOne = concat([await contentOf(named(METADATA)), new Uint8Array(1)])
      return withChildren((all) => [...all.filter((entry) => nameOf(entry) !== METADATA), newStream(METADATA, longerOne)])
    },
  ],
  [
    'a signature in a storage',
    'malformed badArtifact',
    () => withChildren((all) => all.map((entry) => (nameOf(entry) === SIGNATURE ? newStorage(SIGNATURE, []) : entry))),
  ],
  [
    'no signature',
    'unauthenticated artifactUnsigned',
    () => withChildren((all) => all.filter((entry) => nameOf(entry) !== SIGNATURE)),
  ],
  [
    'something behind the signature',
    'malformed notDER',
    async () => {
      const stuffed = concat([await contentOf(named(SIGNATURE)), new Uint8Array(8)])
      return withChildren((all) => all.map((entry) => (nameOf(entry) === SIGNATURE ? newStream(SIGNATURE, stuffed) : entry)))
    },
  ],
  [
    'a signature within a storage',
    'unsupported artifactUnsupported',
    () => withChildren((all) => [...all, newStorage('more', [newStorage('less', [newStream(SIGNATURE, new Uint8Array(9))])])]),
  ],
  ['an archive behind it', 'valid ', async () => concat([signed, new Uint8Array(512).fill(0x50)])],
  ['zeros behind it', 'valid ', async () => concat([signed, new Uint8Array(3)])],
]
for (const [what, verdict, octets] of changes) {
  test(`R31: ${what}: ${verdict === 'valid ' ? 'not covered' : verdict}`, async () =>
    assert.equal(await judged(authenticodeMSI, await octets()), verdict))
}

test('R31: octets hidden between streams are named, and the package is not valid', async () => {
  const { strays } = await parseCompoundFile(bytesSource(signed))
  assert.ok(strays.length > 20)
  for (const { offset, length } of strays) {
    const hidden = signed.with(offset + length - 1, 1)
    const verdict = await judged(authenticodeMSI, hidden)
    assert.notEqual(verdict, 'valid')
    if (verdict !== 'valid ') continue
    assert.deepEqual((await verified(authenticodeMSI, hidden)).uncovered, ['octets between its streams'])
  }
  assert.deepEqual((await verified(authenticodeMSI, concat([signed, new Uint8Array(1)]))).uncovered, [
    'octets behind its last sector',
  ])
})

test('R31: whatever is changed in its tables, it is not valid with other content', async () => {
  const everything = async (octets: Uint8Array): Promise<string> => {
    const source = bytesSource(octets)
    const shown = async (entry: Entry): Promise<unknown> =>
      entry.type === 'stream'
        ? [nameOf(entry), (await octetsIn(source, entry.content)).toHex()]
        : [nameOf(entry), entry.clsid.toHex(), await Promise.all(entry.children.map(shown))]
    return JSON.stringify(await shown((await parseCompoundFile(source)).root))
  }
  const before = await everything(signed)
  const view = new DataView(signed.buffer, signed.byteOffset)
  const tablesAt = [48, 60, 76].map((at) => (view.getUint32(at, true) + 1) * 512)
  const words = [0, ...tablesAt].flatMap((from) => [...Array(128).keys()].map((i) => from + i * 4))
  let valid = 0
  for (const at of words) {
    for (const value of [0, 1, 7, 0x1000, 0xfffffffe, 0xffffffff]) {
      const copy = new Uint8Array(signed)
      new DataView(copy.buffer).setUint32(at, value, true)
      if ((await judged(authenticodeMSI, copy)) !== 'valid') continue
      valid++
      assert.equal(await everything(copy), before, `${value} at ${at}`)
    }
  }
  assert.ok(valid > 100) // some words are as they were, or mean nothing
})

test('a storage with a class and times is covered with all that is in it', async () => {
  const clsid = new Uint8Array(16).fill(0x11)
  const inner = {
    ...newStorage('Transform', [newStream('b', new Uint8Array(5000)), newStream('a', Uint8Array.of(1))], clsid),
    times: new Uint8Array(16).fill(5),
  }
  const unsigned = await withChildren((all) => [...all, inner])
  const { octets } = await signedWith(authenticodeMSI, bytesSource(unsigned), signer)
  assert.equal(await judged(authenticodeMSI, octets), 'valid')
  const [found] = (await authenticodeMSI.extract(bytesSource(octets))).signatures
  const covered = found?.covered ?? []
  assert.ok(
    covered.every(
      ({ offset, length }, i) =>
        offset >= (i === 0 ? 0 : (covered[i - 1]?.offset ?? 0) + (covered[i - 1]?.length ?? 0)) && length > 0,
    ),
  )
  for (const { offset, length } of covered)
    for (const at of [offset, offset + length - 1])
      assert.notEqual(await judged(authenticodeMSI, octets.with(at, (octets[at] as number) ^ 1)), 'valid')
})

test('signing again replaces or nests, and a nested one needs the same digest', async () => {
  const replaced = (await signedWith(authenticodeMSI, bytesSource(signed), other)).octets
  assert.deepEqual(
    (await verified(authenticodeMSI, replaced)).signatures.map(({ signer: by }) => by?.der),
    [other.answering.certificates[0]],
  )
  const nested = (await signedWith(authenticodeMSI, bytesSource(signed), other, { existing: 'nest' })).octets
  const report = await verified(authenticodeMSI, nested)
  assert.deepEqual(
    report.signatures.map(({ where, verdict }) => [where, verdict]),
    [
      ['stream DigitalSignature', 'valid'],
      ['stream DigitalSignature, nested signature 1', 'valid'],
    ],
  )
  const refused = signedWith(authenticodeMSI, bytesSource(signed), longer, { existing: 'nest' })
  await assert.rejects(refused, { code: 'unsupported', reason: 'artifactUnsupported' })
  const once = (await signedWith(authenticodeMSI, bytesSource(installer), other, { existing: 'nest' })).octets
  assert.equal((await verified(authenticodeMSI, once)).signatures.length, 1)
})

test('in a signature without names and sizes none can be nested', async () => {
  const old = await withChildren((all) => all.filter((entry) => nameOf(entry) !== METADATA))
  await assert.rejects(signedWith(authenticodeMSI, bytesSource(old), other, { existing: 'nest' }), { code: 'unsupported' })
  assert.deepEqual((await verified(authenticodeMSI, old)).uncovered, [
    'names and sizes of its streams: it has no MsiDigitalSignatureEx',
  ])
})

test('what was deleted from a package before it was signed is not in the signed one', async () => {
  const secret = new TextEncoder().encode('the key under the doormat')
  const { strays } = await parseCompoundFile(bytesSource(installer))
  const stray = strays.find(({ length }) => length > secret.length)
  assert.ok(stray !== undefined)
  const dirty = new Uint8Array(installer)
  dirty.set(secret, stray.offset + stray.length - secret.length)
  const { octets } = await signedWith(authenticodeMSI, bytesSource(dirty), signer)
  assert.equal(Buffer.from(octets).includes(secret), false)
  assert.deepEqual((await signedWith(authenticodeMSI, bytesSource(signed), signer)).octets, octets)
})

test('a signature of a script is none of a package', async () => {
  const script = sampleOf('authenticode-script')
  const { certificates, signatureAlgorithm } = signer.answering
  const { octets } = await signedWith(authenticodeScript, bytesSource(script), signer)
  const lines = Buffer.from(octets.subarray(script.length)).toString().split('\r\n').slice(2, -2)
  const message = Uint8Array.fromBase64(lines.map((line) => line.slice(2)).join(''))
  const { attach } = await authenticodeMSI.toBeSigned(bytesSource(installer), { certificates, signatureAlgorithm })
  const forged = await octetsIn(bytesSource(installer), attach([message]).pieces)
  assert.equal(await judged(authenticodeMSI, forged), 'invalid badArtifact')
})

test('R31: a package in fragments is read once, not once for each', async () => {
  const content = Uint8Array.from({ length: 4 << 20 }, (_, i) => (i >>> 9) & 0xff)
  const octets = await withChildren(() => [newStream('large', content)])
  const view = new DataView(octets.buffer)
  const { root: tree } = await parseCompoundFile(bytesSource(octets))
  const record = tree.children[0]?.record ?? assert.fail()
  const [first, count] = [view.getUint32(record + 116, true), content.length / 512]
  // its sectors in the opposite order: every 512 octets are a fragment
  const sectorAt = (sector: number): number => (view.getUint32(76 + (sector >>> 7) * 4, true) + 1) * 512 + (sector & 127) * 4
  for (let i = 0; i < count; i++) view.setUint32(sectorAt(first + i), i === 0 ? 0xfffffffe : first + i - 1, true)
  view.setUint32(record + 116, first + count - 1, true)
  let sum = 0
  const source = {
    size: octets.length,
    async read(offset: number, length: number) {
      sum += length
      return octets.subarray(offset, offset + length)
    },
  }
  const { octets: again } = await signedWith(authenticodeMSI, source, signer)
  assert.ok(sum < 3 * octets.length, `${sum} octets were read`) // hashed, then written
  assert.equal(await judged(authenticodeMSI, again), 'valid')
  const found = (await parseCompoundFile(bytesSource(again))).root.children.find((entry) => nameOf(entry) === 'large')
  assert.ok(found?.type === 'stream')
  const reversed = await octetsIn(bytesSource(again), found.content)
  assert.deepEqual(reversed.subarray(0, 512), content.subarray(-512))
  assert.equal(found.content.length, 1) // and is whole again
})
