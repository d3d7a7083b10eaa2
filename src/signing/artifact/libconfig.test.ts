/** Texts of libconfig, right and wrong. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseLibconfig, type Setting } from './libconfig.ts'

/** As plain values. */
const plain = (setting: Setting): unknown => {
  if (typeof setting === 'string') return setting
  if (Array.isArray(setting)) return setting.map(plain)
  if ('scalar' in setting) return `<${setting.scalar}>`
  if ('group' in setting) return Object.fromEntries([...setting.group].map(([name, value]) => [name, plain(value)]))
  return setting
}

test('groups, lists, arrays, texts in parts, numbers, comments and both signs between them are read', () => {
  const text = `# one
    a = "x" // two
        "\\x41\\n\\"";
    b : { c = [1, -2L, 0x3fLL]; d = (1.5e3, TRUE, { }), }
    /* three; */ e = ( );`
  assert.deepEqual(plain(parseLibconfig(text)), {
    a: 'xA\n"',
    b: { c: ['<1>', '<-2L>', '<0x3fLL>'], d: ['<1.5e3>', '<TRUE>', {}] },
    e: [],
  })
})

const refused: readonly string[] = [
  'a = 1; a = 2;',
  'a = "x',
  'a = "\\q";',
  'a 1;',
  'a = ;',
  'a = { b = 1; ',
  'a = ( 1, ',
  'a = 1; }',
  '@include "other"',
  '"a" = 1;',
  'a = 1x;',
  '/* a = 1;',
  '{"software": {}}',
  `a = ${'('.repeat(40)}${')'.repeat(40)};`,
]
for (const text of refused) {
  test(`R31: refused: ${text.slice(0, 30)}`, () => {
    assert.throws(() => parseLibconfig(text), { code: 'malformed', reason: 'badArtifact' })
  })
}
