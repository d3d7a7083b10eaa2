/** A package of 4 GB, most of it nowhere on disk. @module */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { answer } from '../artifact/answer.ts'
import { fileSource } from '../artifact/blob.ts'
import { encodeCompoundFile, type StorageEntry } from '../artifact/cfb.ts'
import { AT, choicesOf, root, trialSigner } from '../artifact/testing.ts'
import { verifyArtifact } from '../artifact/verify.ts'
import type { Piece } from '../format.ts'
import { authenticodeMSI } from './authenticode-msi.ts'

const folder = mkdtempSync(join(tmpdir(), 'sealworks-large-'))
after(() => rmSync(folder, { recursive: true, force: true }))

/** Ranges become holes, which are zeros as they are in the package. */
async function writeWithHoles(path: string, pieces: readonly Piece[]): Promise<void> {
  await using file = await open(path, 'w')
  let at = 0
  for (const piece of pieces) {
    if (piece instanceof Uint8Array) await file.write(piece, 0, piece.length, at)
    at += piece.length
  }
  await file.truncate(at)
}

const fields = { clsid: new Uint8Array(16), stateBits: new Uint8Array(4), times: new Uint8Array(16) }
const utf16 = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'utf16le'))
const size = 2 ** 32 - 4096
const tree: StorageEntry = {
  ...fields,
  type: 'storage',
  name: utf16('Root Entry'),
  clsid: Uint8Array.fromHex('84100c0000000000c000000000000046'),
  children: [{ ...fields, type: 'stream', name: utf16('large'), size, content: [{ offset: 0, length: size }] }],
}
const MEMORY_MAX_KILOBYTES = 300 << 10

test('R31: a package of 4 GB is signed and verified with less than 300 MB of memory', async () => {
  const [unsigned, signed] = [join(folder, 'unsigned.msi'), join(folder, 'signed.msi')]
  await writeWithHoles(unsigned, encodeCompoundFile(tree, 4096))
  const signer = await trialSigner('rsa-2048')
  {
    await using file = await open(unsigned)
    const source = fileSource(file, (await file.stat()).size)
    assert.ok(source.size > 2 ** 32)
    const { requests, attach } = await authenticodeMSI.toBeSigned(source, choicesOf(signer))
    await writeWithHoles(signed, attach(await Promise.all(requests.map((request) => answer(request, signer.answering)))).pieces)
  }
  await using file = await open(signed)
  const source = fileSource(file, (await file.stat()).size)
  const { valid, uncovered } = await verifyArtifact(authenticodeMSI, source, { at: AT, anchors: [root] })
  assert.deepEqual([valid, uncovered], [true, []])
  const { maxRSS } = process.resourceUsage()
  assert.ok(maxRSS < MEMORY_MAX_KILOBYTES, `${maxRSS} KB`)
})
