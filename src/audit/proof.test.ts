/** Proofs against the RFC's own definition, written out naively here. @module */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { concat } from '#base/bytes.ts'
import { consistencyPath, inclusionPath, isConsistent, isIncluded, rootAt, type SubtreeHash } from './proof.ts'

const sha256 = (...parts: Uint8Array[]) => new Uint8Array(createHash('sha256').update(concat(parts)).digest())
const leaves = Array.from({ length: 301 }, (_, n) => sha256(Uint8Array.of(0, n >> 8, n & 0xff)))

/** MTH, PATH and PROOF as RFC 9162, 2.1.1, 2.1.3.1 and 2.1.4.1 write them. */
const k = (n: number): number => 2 ** Math.floor(Math.log2(n - 1))
function mth(d: readonly Uint8Array[]): Uint8Array {
  if (d.length === 0) return sha256()
  if (d.length === 1) return d[0] as Uint8Array
  return sha256(Uint8Array.of(1), mth(d.slice(0, k(d.length))), mth(d.slice(k(d.length))))
}
function path(m: number, d: readonly Uint8Array[]): readonly Uint8Array[] {
  if (d.length === 1) return []
  const [left, right] = [d.slice(0, k(d.length)), d.slice(k(d.length))]
  return m < left.length ? [...path(m, left), mth(right)] : [...path(m - left.length, right), mth(left)]
}
function subproof(m: number, d: readonly Uint8Array[], whole: boolean): readonly Uint8Array[] {
  if (m === d.length) return whole ? [] : [mth(d)]
  const [left, right] = [d.slice(0, k(d.length)), d.slice(k(d.length))]
  return m <= left.length ? [...subproof(m, left, whole), mth(right)] : [...subproof(m - left.length, right, false), mth(left)]
}

/** Refuses what is not a full subtree of the tree: tiles hold no other. */
const hashesOf =
  (size: number): SubtreeHash =>
  (height, index) => {
    const [start, end] = [index * 2 ** height, (index + 1) * 2 ** height]
    assert.ok(Number.isInteger(index) && end <= size, `${height}/${index} of ${size}`)
    return Promise.resolve(mth(leaves.slice(start, end)))
  }

const roots = Array.from({ length: 301 }, (_, size) => mth(leaves.slice(0, size)))
const root = (size: number): Uint8Array => roots[size] ?? assert.fail()
const leaf = (index: number): Uint8Array => leaves[index] ?? assert.fail()
const flip = (octets: Uint8Array): Uint8Array => octets.map((octet, n) => (n === 31 ? octet ^ 1 : octet))

test('RFC 9162, 2.1.1 and 2.1.3: the root and an inclusion proof of every size to 300', async () => {
  for (let size = 1; size <= 300; size++) {
    const hashOf = hashesOf(size)
    assert.deepEqual(await rootAt(size, hashOf), root(size))
    // the ends, the middle, and one that moves through
    for (const index of new Set([0, size - 1, Math.floor(size / 2), (size * 7) % size, (size * 131) % size])) {
      const made = await inclusionPath(index, size, hashOf)
      if (size <= 130) assert.deepEqual(made, path(index, leaves.slice(0, size)), `${index} of ${size}`)
      const claim = { index, size, leafHash: leaf(index), path: made, rootHash: root(size) }
      assert.ok(isIncluded(claim), `${index} of ${size}`)
      assert.ok(!isIncluded({ ...claim, leafHash: flip(leaf(index)) }))
      assert.ok(!isIncluded({ ...claim, rootHash: flip(root(size)) }))
      assert.ok(!isIncluded({ ...claim, path: [...made, root(size)] }), 'longer')
      if (size > 1) assert.ok(!isIncluded({ ...claim, path: made.slice(0, -1) }), 'shorter')
      if (size > 1) assert.ok(!isIncluded({ ...claim, index: (index + 1) % size }), 'elsewhere')
    }
  }
})

test('RFC 9162, 2.1.3: every entry of every size to 40', async () => {
  for (let size = 1; size <= 40; size++) {
    for (let index = 0; index < size; index++) {
      const made = await inclusionPath(index, size, hashesOf(size))
      assert.deepEqual(made, path(index, leaves.slice(0, size)))
      assert.ok(isIncluded({ index, size, leafHash: leaf(index), path: made, rootHash: root(size) }))
    }
  }
})

test('RFC 9162, 2.1.4: a consistency proof to every size to 300', async () => {
  for (let second = 0; second <= 300; second++) {
    const hashOf = hashesOf(second)
    const firsts =
      second <= 34
        ? Array.from({ length: second + 1 }, (_, n) => n)
        : [0, 1, 2 ** Math.floor(Math.log2(second)), second >> 1, second - 1, second, (second * 131) % second]
    for (const first of firsts) {
      const made = await consistencyPath(first, second, hashOf)
      if (first > 0 && second <= 130)
        assert.deepEqual(made, subproof(first, leaves.slice(0, second), true), `${first}, ${second}`)
      const claim = { first, second, firstRoot: root(first), secondRoot: root(second), path: made }
      assert.ok(isConsistent(claim), `${first} to ${second}`)
      assert.ok(!isConsistent({ ...claim, path: [...made, root(second)] }), 'longer')
      if (first === 0) continue
      assert.ok(!isConsistent({ ...claim, firstRoot: flip(root(first)) }), `another beginning: ${first} to ${second}`)
      assert.ok(!isConsistent({ ...claim, secondRoot: flip(root(second)) }), `another end: ${first} to ${second}`)
      if (first < second) assert.ok(!isConsistent({ ...claim, path: made.slice(0, -1) }), 'shorter')
    }
  }
})

test('a proof with any octet changed, or for other numbers, proves nothing', () => {
  const sizes = fc
    .integer({ min: 2, max: 300 })
    .chain((second) => fc.tuple(fc.integer({ min: 1, max: second - 1 }), fc.constant(second)))
  return fc.assert(
    fc.asyncProperty(sizes, fc.nat(), fc.nat(255), async ([first, second], at, bit) => {
      const change = (hashes: readonly Uint8Array[]) =>
        hashes.map((hash, n) =>
          n === at % hashes.length ? hash.map((octet, i) => (i === bit % 32 ? octet ^ (1 << (bit % 8)) : octet)) : hash,
        )
      const hashOf = hashesOf(second)
      const inclusion = await inclusionPath(first, second, hashOf)
      const included = { index: first, size: second, leafHash: leaf(first), rootHash: root(second) }
      assert.ok(isIncluded({ ...included, path: inclusion }))
      assert.ok(!isIncluded({ ...included, path: change(inclusion) }))
      const consistency = await consistencyPath(first, second, hashOf)
      const consistent = { first, second, firstRoot: root(first), secondRoot: root(second) }
      assert.ok(isConsistent({ ...consistent, path: consistency }))
      assert.ok(!isConsistent({ ...consistent, path: change(consistency) }))
      assert.ok(!isConsistent({ ...consistent, firstRoot: root(first - 1), path: consistency }))
      assert.ok(!isConsistent({ ...consistent, first: second, second: first, path: consistency }))
    }),
    { numRuns: 200 },
  )
})

test('numbers that are no sizes, and paths that no tree has, are answered and not followed', () => {
  const hash = root(1)
  const long = Array.from({ length: 64 }, () => hash)
  for (const size of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53]) {
    assert.ok(!isIncluded({ index: 0, size, leafHash: hash, path: [], rootHash: hash }), String(size))
    assert.ok(!isIncluded({ index: size, size: 3, leafHash: hash, path: [hash, hash], rootHash: hash }), String(size))
    if (size !== 0) assert.ok(!isConsistent({ first: size, second: 5, firstRoot: hash, secondRoot: hash, path: [] }))
    assert.ok(!isConsistent({ first: 1, second: size, firstRoot: hash, secondRoot: hash, path: [hash] }))
  }
  const huge = Number.MAX_SAFE_INTEGER
  assert.ok(!isIncluded({ index: huge - 1, size: huge, leafHash: hash, path: long, rootHash: hash }))
  assert.ok(!isConsistent({ first: huge - 1, second: huge, firstRoot: hash, secondRoot: hash, path: long.slice(0, 53) }))
  assert.ok(
    !isConsistent({ first: 0, second: 0, firstRoot: root(0), secondRoot: root(1), path: [] }),
    'the empty tree has one root',
  )
})

test('the last entry of a tree of 2^52 is proven by 52 hashes', async () => {
  const size = 2 ** 52
  const same: SubtreeHash = (height) => Promise.resolve(powers[height] ?? assert.fail())
  const powers = [root(1)]
  for (let height = 1; height <= 52; height++) {
    const below = powers.at(-1) ?? assert.fail()
    powers.push(sha256(Uint8Array.of(1), below, below))
  }
  const made = await inclusionPath(size - 1, size, same)
  assert.equal(made.length, 52)
  assert.ok(isIncluded({ index: size - 1, size, leafHash: root(1), path: made, rootHash: powers[52] ?? assert.fail() }))
})
