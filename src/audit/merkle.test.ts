/** The tree against published roots and against its own definition. @module */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { concat } from '#base/bytes.ts'
import { decodePeaks, emptyTree, encodePeaks, grow, hashLeaf, rootOf } from './merkle.ts'

// the leaves and roots of the certificate-transparency reference implementation (merkle_tree_test)
const leaves = ['', '00', '10', '2021', '3031', '40414243', '5051525354555657', '606162636465666768696a6b6c6d6e6f']
const roots = [
  'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
  '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
  'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
  'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
  '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
  'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
  '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
]

for (const [size, root] of roots.entries()) {
  test(`RFC 9162, 2.1.1: the root of ${size} reference leaves`, () => {
    const hashes = leaves.slice(0, size).map((hex) => hashLeaf(Buffer.from(hex, 'hex').toString()))
    assert.equal(rootOf(grow(emptyTree, hashes)).toHex(), root)
  })
}

const sha256 = (...parts: Uint8Array[]) => new Uint8Array(createHash('sha256').update(concat(parts)).digest())

/** MTH as the RFC writes it. */
function definition(hashes: readonly Uint8Array[]): Uint8Array {
  if (hashes.length === 0) return sha256()
  if (hashes.length === 1) return hashes[0] as Uint8Array
  let k = 1
  while (k * 2 < hashes.length) k *= 2
  return sha256(Uint8Array.of(1), definition(hashes.slice(0, k)), definition(hashes.slice(k)))
}

test('RFC 9162, 2.1.1: growing in any steps gives the root of the definition', () => {
  const hash = fc.uint8Array({ minLength: 32, maxLength: 32 })
  fc.assert(
    fc.property(fc.array(fc.array(hash, { maxLength: 40 }), { maxLength: 6 }), (steps) => {
      let tree = emptyTree
      for (const step of steps) {
        const grown = grow(tree, step)
        const back = decodePeaks(grown.size, encodePeaks(grown))
        assert.deepEqual(back, grown)
        tree = back ?? assert.fail()
      }
      assert.equal(rootOf(tree).toHex(), definition(steps.flat()).toHex())
    }),
    { numRuns: 100 },
  )
})

test('peaks of another size are no tree', () => {
  const octets = encodePeaks(grow(emptyTree, [hashLeaf('a')]))
  for (const size of [0, 3, -1, 1.5, Number.NaN]) assert.equal(decodePeaks(size, octets), undefined)
})
