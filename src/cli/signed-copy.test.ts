/** Signed files made from a copy: octet for octet what the pieces say, or nothing. @module */
import assert from 'node:assert/strict'
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { concat, utf8 } from '#base/bytes.ts'
import { systemWorld } from '#base/world.ts'
import { bytesSource, octetsOf } from '#signing/artifact/blob.ts'
import type { Piece } from '#signing/format.ts'
import { beginSignedCopy } from './signed-copy.ts'

const world = systemWorld()

async function inFolder(body: (directory: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-copy-'))
  try {
    await body(directory)
  } finally {
    rmSync(directory, { recursive: true })
  }
}

const artifact = Uint8Array.from({ length: 300 }, (_, i) => i & 0xff)

async function made(directory: string, pieces: readonly Piece[], force = true): Promise<Uint8Array> {
  writeFileSync(join(directory, 'artifact'), artifact)
  const copy = beginSignedCopy({ directory, world }, { file: 'artifact', out: 'signed', force })
  try {
    await copy.finish(bytesSource(artifact), pieces)
  } finally {
    await copy.close()
  }
  return new Uint8Array(readFileSync(join(directory, 'signed')))
}

test('R9: whatever stays, moves, grows or goes, the file is what its pieces say', () =>
  inFolder(async (directory) => {
    const range = fc
      .tuple(fc.nat(artifact.length), fc.nat(artifact.length))
      .map(([a, b]) => ({ offset: Math.min(a, b), length: Math.abs(a - b) }))
    const pieces = fc.array(fc.oneof(range, fc.uint8Array({ maxLength: 40 })), { maxLength: 6 })
    await fc.assert(
      fc.asyncProperty(pieces, async (wanted) => {
        const expected = concat(await Array.fromAsync(octetsOf(bytesSource(artifact), wanted)))
        assert.deepEqual(await made(directory, wanted), expected)
      }),
      { numRuns: 40 },
    )
    assert.deepEqual(readdirSync(directory).toSorted(), ['artifact', 'signed'])
  }))

test('a file that is there stays, unless told, and nothing else is left', () =>
  inFolder(async (directory) => {
    const pieces = [{ offset: 0, length: 300 }, utf8('signature')]
    await made(directory, pieces, false)
    await assert.rejects(made(directory, [utf8('other')], false), { code: 'conflict', reason: 'fileExists' })
    assert.equal(readFileSync(join(directory, 'signed')).length, 309)
    assert.equal((await made(directory, [utf8('other')], true)).length, 5)
    assert.deepEqual(readdirSync(directory).toSorted(), ['artifact', 'signed'])
  }))

test('an artifact that became shorter or longer meanwhile is not signed', () =>
  inFolder(async (directory) => {
    writeFileSync(join(directory, 'artifact'), artifact)
    const copy = beginSignedCopy({ directory, world }, { file: 'artifact', out: 'signed', force: false })
    const read = bytesSource(artifact.subarray(1))
    await assert.rejects(copy.finish(read, [{ offset: 0, length: 299 }]), { code: 'conflict', reason: 'artifactCut' })
    await copy.close()
    assert.deepEqual(readdirSync(directory), ['artifact'])
  }))

test('what was begun and not finished leaves nothing, and a folder that is not there is said', () =>
  inFolder(async (directory) => {
    writeFileSync(join(directory, 'artifact'), artifact)
    const copy = beginSignedCopy({ directory, world }, { file: 'artifact', out: 'signed', force: false })
    await copy.close()
    assert.deepEqual(readdirSync(directory), ['artifact'])
    const nowhere = beginSignedCopy({ directory, world }, { file: 'artifact', out: 'nonesuch/signed', force: false })
    await assert.rejects(nowhere.finish(bytesSource(artifact), []), { code: 'unavailable', reason: 'fileUnwritable' })
    await nowhere.close()
  }))

test('a program stays one that may be run, and what nobody may write can be signed', () =>
  inFolder(async (directory) => {
    writeFileSync(join(directory, 'artifact'), artifact)
    chmodSync(join(directory, 'artifact'), 0o555)
    const copy = beginSignedCopy({ directory, world }, { file: 'artifact', out: 'signed', force: false })
    await copy.finish(bytesSource(artifact), [{ offset: 0, length: 300 }])
    await copy.close()
    assert.equal(statSync(join(directory, 'signed')).mode & 0o777, 0o755)
  }))
