/** Hash trees against a plain computation, over one, two and three levels. @module */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import { concat } from '#base/bytes.ts'
import { bytesSource } from './blob.ts'
import { checkVerity, VERITY_BLOCK_OCTETS, verityLevels, verityTree, verityTreeOctets } from './verity.ts'

const salt = new Uint8Array(32).fill(7)
const hashed = (block: Uint8Array): Uint8Array => new Uint8Array(createHash('sha256').update(salt).update(block).digest())

/** As the kernel's documentation has it, all in memory. */
function plainly(data: Uint8Array): { readonly tree: Uint8Array; readonly root: Uint8Array } {
  const levels: Uint8Array[] = []
  let below = data
  while (below.length > VERITY_BLOCK_OCTETS) {
    const blocks = Array.from({ length: below.length / VERITY_BLOCK_OCTETS }, (_, i) => below.subarray(4096 * i, 4096 * (i + 1)))
    const hashes = concat(blocks.map(hashed))
    below = concat([hashes, new Uint8Array(-hashes.length & 4095)])
    levels.unshift(below)
  }
  return { tree: concat(levels), root: hashed(below) }
}

for (const blocks of [1, 2, 128, 129, 300, 128 * 128 + 1]) {
  test(`a tree over ${blocks} blocks is what the definition says, and any change of it or of the data is seen`, async () => {
    const data = Uint8Array.from({ length: blocks * VERITY_BLOCK_OCTETS }, (_, i) => (i * 31) >>> 7)
    const { tree, root } = await verityTree(bytesSource(data), { offset: 0, length: data.length }, salt)
    const expected = plainly(data)
    assert.deepEqual([root, tree.length], [expected.root, expected.tree.length])
    assert.deepEqual(tree, expected.tree)
    assert.equal(tree.length, verityTreeOctets(data.length))
    assert.equal(verityLevels(data.length).length, blocks === 1 ? 0 : blocks <= 128 ? 1 : blocks <= 128 * 128 ? 2 : 3)

    const both = concat([data, tree])
    const ranges = { data: { offset: 0, length: data.length }, tree: { offset: data.length, length: tree.length } }
    await checkVerity(bytesSource(both), { ...ranges, salt, root })
    const places = [0, data.length - 1, ...(tree.length > 0 ? [data.length, both.length - 1] : [])]
    for (const at of places) {
      const broken = both.with(at, (both[at] as number) ^ 0x01)
      const checked = checkVerity(bytesSource(broken), { ...ranges, salt, root })
      await assert.rejects(checked, { code: 'badProof', reason: 'artifactChanged' }, `octet ${at}`)
    }
    await assert.rejects(checkVerity(bytesSource(both), { ...ranges, salt, root: root.with(0, (root[0] as number) ^ 1) }))
  })
}
