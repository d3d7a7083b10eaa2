/** Ranges of octets and of files. @module */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { concat } from '#base/bytes.ts'
import { bytesSource, chunksOf, fileSource, octetsOf, readWhole, sizeOf } from './blob.ts'

const folder = mkdtempSync(join(tmpdir(), 'sealworks-blob-'))
after(() => rmSync(folder, { recursive: true, force: true }))
const octets = Uint8Array.from({ length: (2 << 20) + 5 }, (_, i) => (i * 7) & 0xff)
const path = join(folder, 'artifact')
writeFileSync(path, octets)

test('a file and octets read the same, in chunks and in ranges', async () => {
  const file = await open(path)
  try {
    const source = fileSource(file, octets.length)
    for (const one of [source, bytesSource(octets)]) {
      const chunks = await Array.fromAsync(chunksOf(one))
      assert.equal(chunks.length, 3)
      assert.deepEqual(concat(chunks), octets)
      assert.deepEqual(await one.read(1_000_000, 10), octets.subarray(1_000_000, 1_000_010))
      assert.deepEqual(await one.read(octets.length, 0), new Uint8Array())
      for (const [offset, length] of [
        [octets.length, 1],
        [-1, 1],
        [0, -1],
        [0.5, 1],
        [Number.MAX_SAFE_INTEGER, 2],
      ] as const)
        await assert.rejects(one.read(offset, length), RangeError)
    }
  } finally {
    await file.close()
  }
})

test('a file that becomes shorter is said so', async () => {
  const short = join(folder, 'short')
  writeFileSync(short, octets.subarray(0, 100))
  const file = await open(short)
  try {
    const source = fileSource(file, 100)
    truncateSync(short, 50)
    await assert.rejects(source.read(0, 100), { code: 'conflict', reason: 'artifactCut' })
  } finally {
    await file.close()
  }
})

test('pieces are new octets and ranges of the old', async () => {
  const source = bytesSource(octets)
  const pieces = [Uint8Array.of(1, 2), { offset: 5, length: 3 }, new Uint8Array(), { offset: 0, length: 0 }]
  assert.deepEqual(concat(await Array.fromAsync(octetsOf(source, pieces))), Uint8Array.of(1, 2, ...octets.subarray(5, 8)))
  assert.equal(sizeOf(pieces), 5)
  await assert.rejects(Array.fromAsync(octetsOf(source, [{ offset: 0, length: octets.length + 1 }])), RangeError)
})

test('a part that is too large is refused before it is read', async () => {
  const never = { size: 11, read: () => assert.fail('it was read') }
  await assert.rejects(readWhole(never, 'the part', 10), { code: 'tooLarge', message: /the part is larger than 10 bytes/ })
})

test('who stops reading leaves nothing unanswered', async () => {
  for await (const chunk of chunksOf(bytesSource(octets))) {
    assert.equal(chunk.length, 1 << 20)
    break
  }
})
