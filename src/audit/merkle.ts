/**
 * The Merkle tree over the log's entries, kept as the roots of its full subtrees so that growing it needs no older entry.
 *
 * Source: RFC 9162, 2.1.1 (same hashes as RFC 6962).
 *
 * @module
 */
import { hash } from 'node:crypto'
import { concat } from '#base/bytes.ts'

export const HASH_OCTETS = 32
const NODE = 0x01

/** A tree of `size` leaves. Never changed in place. */
export interface Tree {
  readonly size: number
  /** Roots of the full subtrees, the largest first: one per set bit of `size`. */
  readonly peaks: readonly Uint8Array[]
}

export const emptyTree: Tree = { size: 0, peaks: [] }

/** @param entry hashed in UTF-8 behind the octet 0x00; as a string, because encoding it first would take longer than its hash */
export const hashLeaf = (entry: string): Uint8Array => sha256(`\0${entry}`)

/** A subtree that is full: `2 ** height` leaves, the `index`-th of that height. */
export interface Subtree {
  readonly height: number
  readonly index: number
  readonly hash: Uint8Array
}

/** @param leaves hashes, in order @param onFull told of each subtree of two leaves and more that these leaves completed */
export function grow({ size, peaks }: Tree, leaves: readonly Uint8Array[], onFull?: (subtree: Subtree) => void): Tree {
  const grown = [...peaks]
  let count = size
  for (const leaf of leaves) {
    let node = leaf
    let height = 0
    // each set bit at the low end is a full subtree of the new node's size
    for (let bits = count; bits % 2 === 1;) {
      bits = (bits - 1) / 2
      node = hashNode(grown.pop() as Uint8Array, node)
      height++
      onFull?.({ height, index: bits, hash: node })
    }
    grown.push(node)
    count++
  }
  return { size: count, peaks: grown }
}

export function rootOf({ peaks }: Tree): Uint8Array {
  if (peaks.length === 0) return sha256(new Uint8Array(0))
  return peaks.reduceRight((right, left) => hashNode(left, right))
}

/** The peaks one after the other. With the size they are the whole state of the tree. */
export const encodePeaks = ({ peaks }: Tree): Uint8Array => concat(peaks)

/** @param octets what {@link encodePeaks} made; undefined when it cannot be a tree of that size */
export function decodePeaks(size: number, octets: Uint8Array): Tree | undefined {
  if (!Number.isSafeInteger(size) || size < 0) return undefined
  const count = [...size.toString(2)].filter((bit) => bit === '1').length
  if (octets.length !== count * HASH_OCTETS) return undefined
  return { size, peaks: Array.from({ length: count }, (_, n) => octets.subarray(n * HASH_OCTETS, (n + 1) * HASH_OCTETS)) }
}

export function hashNode(left: Uint8Array, right: Uint8Array): Uint8Array {
  const octets = new Uint8Array(1 + 2 * HASH_OCTETS)
  octets[0] = NODE
  octets.set(left, 1)
  octets.set(right, 1 + HASH_OCTETS)
  return sha256(octets)
}

/** By way of hex, the fastest there is: other forms make a Buffer. */
const sha256 = (octets: Uint8Array | string): Uint8Array => Uint8Array.fromHex(hash('sha256', octets, 'hex'))
