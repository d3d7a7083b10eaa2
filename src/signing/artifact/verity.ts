/**
 * Hash trees over a block device (dm-verity): each block is hashed with a salt, the hashes fill blocks that are hashed in
 * turn, until one block is left, whose hash is the root. A root of 32 octets stands for any amount of data, and a device
 * can check a block when it reads it.
 *
 * Source: Linux, Documentation/admin-guide/device-mapper/verity.rst: hash type 1, SHA-256, blocks of 4,096 octets, without
 * a superblock, as RAUC has it.
 *
 * @module
 */
import { hash } from 'node:crypto'
import { equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import type { BlobSource, Range } from '../format.ts'
import { chunksOf, windowed } from './blob.ts'

export const VERITY_BLOCK_OCTETS = 4096
const DIGEST_OCTETS = 32
const HASHES_PER_BLOCK = VERITY_BLOCK_OCTETS / DIGEST_OCTETS

/** How many blocks each level has, the lowest first; none over a single block, whose hash is the root. */
export function verityLevels(dataOctets: number): readonly number[] {
  const levels: number[] = []
  for (let blocks = dataOctets / VERITY_BLOCK_OCTETS; blocks > 1;) {
    blocks = Math.ceil(blocks / HASHES_PER_BLOCK)
    levels.push(blocks)
  }
  return levels
}

/** Octets of the tree alone. */
export const verityTreeOctets = (dataOctets: number): number =>
  VERITY_BLOCK_OCTETS * verityLevels(dataOctets).reduce((sum, blocks) => sum + blocks, 0)

/** @param data of whole blocks @returns the tree, its top first, in memory: 1/127 of the data */
export async function verityTree(
  source: BlobSource,
  data: Range,
  salt: Uint8Array,
): Promise<{ readonly tree: Uint8Array; readonly root: Uint8Array }> {
  const tree = new Uint8Array(verityTreeOctets(data.length))
  let end = tree.length
  let below: AsyncIterable<Uint8Array> | readonly Uint8Array[] = chunksOf(source, data)
  for (const blocks of verityLevels(data.length)) {
    let at = (end -= blocks * VERITY_BLOCK_OCTETS)
    const start = at
    for await (const block of hashBlocks(below, salt)) {
      tree.set(block, at)
      at += VERITY_BLOCK_OCTETS
    }
    below = [tree.subarray(start, at)]
  }
  return { tree, root: await rootOver(below, salt) }
}

/**
 * Reads data and tree once, and keeps neither.
 *
 * @param tree as long as `verityTreeOctets` says
 * @throws TrustError `badProof` when anything differs
 */
export async function checkVerity(
  source: BlobSource,
  {
    data,
    tree,
    salt,
    root,
  }: { readonly data: Range; readonly tree: Range; readonly salt: Uint8Array; readonly root: Uint8Array },
): Promise<void> {
  const stored = windowed(source)
  let end = tree.offset + tree.length
  let below = data
  for (const blocks of verityLevels(data.length)) {
    const level = { offset: end - blocks * VERITY_BLOCK_OCTETS, length: blocks * VERITY_BLOCK_OCTETS }
    let at = level.offset
    for await (const block of hashBlocks(chunksOf(source, below), salt)) {
      if (!equal(block, await stored.read(at, VERITY_BLOCK_OCTETS))) throw changed()
      at += VERITY_BLOCK_OCTETS
    }
    end = level.offset
    below = level
  }
  if (!equal(await rootOver(chunksOf(source, below), salt), root)) throw changed()
}

/** @param below of whole blocks, in pieces of whole blocks @returns blocks of their hashes, the last one filled with zeros */
async function* hashBlocks(
  below: AsyncIterable<Uint8Array> | readonly Uint8Array[],
  salt: Uint8Array,
): AsyncGenerator<Uint8Array> {
  const hashOf = saltedHash(salt)
  let hashes = new Uint8Array(VERITY_BLOCK_OCTETS)
  let count = 0
  for await (const piece of below) {
    for (let at = 0; at < piece.length; at += VERITY_BLOCK_OCTETS) {
      const digest = hashOf(piece.subarray(at, at + VERITY_BLOCK_OCTETS))
      hashes.subarray(DIGEST_OCTETS * count, DIGEST_OCTETS * ++count).setFromHex(digest)
      if (count < HASHES_PER_BLOCK) continue
      yield hashes
      hashes = new Uint8Array(VERITY_BLOCK_OCTETS)
      count = 0
    }
  }
  if (count > 0) yield hashes
}

async function rootOver(top: AsyncIterable<Uint8Array> | readonly Uint8Array[], salt: Uint8Array): Promise<Uint8Array> {
  for await (const block of top) return Uint8Array.fromHex(saltedHash(salt)(block))
  throw new TypeError('a tree over nothing')
}

/** Salt and block hashed at one go, and told as text: a third quicker than a hash that is fed twice and gives octets. */
function saltedHash(salt: Uint8Array): (block: Uint8Array) => string {
  const salted = new Uint8Array(salt.length + VERITY_BLOCK_OCTETS)
  salted.set(salt)
  return (block) => {
    salted.set(block, salt.length)
    return hash('sha256', salted, 'hex')
  }
}

const changed = (): TrustError => new TrustError('badProof', 'artifactChanged', { facts: { what: 'its hash tree' } })
