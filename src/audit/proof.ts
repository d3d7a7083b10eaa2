/**
 * Proofs that an entry is in a tree, and that one tree is the beginning of another.
 *
 * Making one reads the hashes of full subtrees only, a few for each level; checking one reads nothing.
 *
 * Source: RFC 9162, 2.1.3 and 2.1.4 (the same proofs as RFC 6962, 2.1.1 and 2.1.2).
 *
 * @module
 */
import { equal } from '#base/bytes.ts'
import { hashNode } from './merkle.ts'

/** The hash of the `index`-th full subtree of `2 ** height` leaves. */
export type SubtreeHash = (height: number, index: number) => Promise<Uint8Array>

/** A tree of 2^53 entries, more than can be counted here, has no longer path. C2SP tlog-witness allows 63. */
export const PATH_MAX_HASHES = 63

/** RFC 9162, 2.1.3.1: from the leaf's sibling up to the root's child. @param index below `size` */
export async function inclusionPath(index: number, size: number, hashOf: SubtreeHash): Promise<readonly Uint8Array[]> {
  const path: Uint8Array[] = []
  let start = 0
  let end = size
  while (end - start > 1) {
    const middle = start + splitOf(end - start)
    if (index < middle) {
      path.push(await hashOfRange(middle, end, hashOf))
      end = middle
    } else {
      path.push(await hashOfRange(start, middle, hashOf))
      start = middle
    }
  }
  return path.toReversed()
}

/** RFC 9162, 2.1.4.1; empty from nothing and to the same size. @param first at most `second` */
export async function consistencyPath(first: number, second: number, hashOf: SubtreeHash): Promise<readonly Uint8Array[]> {
  if (first === 0 || first === second) return []
  const path: Uint8Array[] = []
  let start = 0
  let end = second
  // until the first tree's last subtree is reached
  while (first !== end) {
    const middle = start + splitOf(end - start)
    if (first <= middle) {
      path.push(await hashOfRange(middle, end, hashOf))
      end = middle
    } else {
      path.push(await hashOfRange(start, middle, hashOf))
      start = middle
    }
  }
  // where it is the whole first tree, the one who checks has its hash
  if (start > 0) path.push(await hashOfRange(start, end, hashOf))
  return path.toReversed()
}

export interface InclusionClaim {
  readonly index: number
  readonly size: number
  readonly leafHash: Uint8Array
  readonly path: readonly Uint8Array[]
  readonly rootHash: Uint8Array
}

/** RFC 9162, 2.1.3.2 */
export function isIncluded({ index, size, leafHash, path, rootHash }: InclusionClaim): boolean {
  if (!isSize(size) || !isSize(index) || index >= size || path.length > PATH_MAX_HASHES) return false
  let fn = index
  let sn = size - 1
  let root = leafHash
  for (const hash of path) {
    if (sn === 0) return false
    if (isOdd(fn) || fn === sn) {
      root = hashNode(hash, root)
      while (!isOdd(fn) && fn !== 0) [fn, sn] = [half(fn), half(sn)]
    } else {
      root = hashNode(root, hash)
    }
    ;[fn, sn] = [half(fn), half(sn)]
  }
  return sn === 0 && equal(root, rootHash)
}

export interface ConsistencyClaim {
  readonly first: number
  readonly second: number
  readonly firstRoot: Uint8Array
  readonly secondRoot: Uint8Array
  readonly path: readonly Uint8Array[]
}

/** RFC 9162, 2.1.4.2. Everything begins with the empty tree, whose proof is empty. */
export function isConsistent({ first, second, firstRoot, secondRoot, path }: ConsistencyClaim): boolean {
  if (!isSize(first) || !isSize(second) || first > second || path.length > PATH_MAX_HASHES) return false
  if (first === 0 && second > 0) return path.length === 0
  if (first === second) return path.length === 0 && equal(firstRoot, secondRoot)
  const [seed, ...rest] = splitOf(first + 1) === first ? [firstRoot, ...path] : path
  if (seed === undefined) return false
  let fn = first - 1
  let sn = second - 1
  while (isOdd(fn)) [fn, sn] = [half(fn), half(sn)]
  let fr = seed
  let sr = seed
  for (const hash of rest) {
    if (sn === 0) return false
    if (isOdd(fn) || fn === sn) {
      fr = hashNode(hash, fr)
      sr = hashNode(hash, sr)
      while (!isOdd(fn) && fn !== 0) [fn, sn] = [half(fn), half(sn)]
    } else {
      sr = hashNode(sr, hash)
    }
    ;[fn, sn] = [half(fn), half(sn)]
  }
  return sn === 0 && equal(fr, firstRoot) && equal(sr, secondRoot)
}

/** The root of the tree as it was at `size` entries, at least one. */
export const rootAt = (size: number, hashOf: SubtreeHash): Promise<Uint8Array> => hashOfRange(0, size, hashOf)

/** MTH of the leaves from `start` on, which is a multiple of the largest power of two that they fill. */
async function hashOfRange(start: number, end: number, hashOf: SubtreeHash): Promise<Uint8Array> {
  const count = end - start
  const split = splitOf(count + 1)
  const left = await hashOf(heightOf(split), start / split)
  return split === count ? left : hashNode(left, await hashOfRange(start + split, end, hashOf))
}

/** The largest power of two below `count` (RFC 9162, 2.1.1: k). @param count at least 2 */
function splitOf(count: number): number {
  let split = 1
  while (split * 2 < count) split *= 2
  return split
}

const heightOf = (powerOfTwo: number): number => Math.log2(powerOfTwo)
// sizes pass 32 bits, where the operators on bits end
const isOdd = (n: number): boolean => n % 2 === 1
const half = (n: number): number => Math.floor(n / 2)
const isSize = (n: number): boolean => Number.isSafeInteger(n) && n >= 0
