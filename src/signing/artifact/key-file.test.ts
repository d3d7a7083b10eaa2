/** Key files, right and wrong. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseKeyFile } from './key-file.ts'

test('groups, keys with spaces around their sign, comments and empty lines are read', () => {
  const file = parseKeyFile('# one\n[update]\ncompatible = press-7\nversion=\n\n[image.rootfs]\nhooks=a;b\n', 'RAUC')
  assert.deepEqual(
    [...file].map(([group, keys]) => [group, Object.fromEntries(keys)]),
    [
      ['update', { compatible: 'press-7', version: '' }],
      ['image.rootfs', { hooks: 'a;b' }],
    ],
  )
})

for (const text of [
  'a=1\n',
  '[a]\n[b]\n[a]\n',
  '[a]\nb=1\nb=2\n',
  '[a]\nb\n',
  '[a]\r\nb=1\r\n',
  '[a\n',
  '[a]\nb[de]=1\n',
  '[a]\nb=\0\n',
])
  test(`R31: refused: ${JSON.stringify(text)}`, () => {
    assert.throws(() => parseKeyFile(text, 'RAUC'), { code: 'malformed', reason: 'badArtifact' })
  })
