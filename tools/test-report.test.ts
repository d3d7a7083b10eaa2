/**
 * What `npm test` says and how it ends, over files that pass, fail, skip or hold nothing.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { report } from './test-report.ts'

const PASSES = `import { test } from 'node:test'\ntest('adds', () => {})\n`
const cases = [
  {
    name: 'passes',
    files: { 'a.test.ts': PASSES },
    status: 0,
    says: [/✔ .*a\.test\.ts {2}1 tests/, /ℹ tests 1\n/, /ℹ fail 0\n/],
  },
  {
    name: 'a failed test is shown with what it compared',
    files: {
      'a.test.ts': PASSES,
      'b.test.ts': `import { test } from 'node:test'\nimport assert from 'node:assert/strict'\ntest('adds', () => assert.equal(1 + 1, 3))\n`,
    },
    status: 1,
    says: [/✖ .*b\.test\.ts:3 adds/, /2 !== 3/, /ℹ tests 2\n/, /ℹ fail 1\n/],
  },
  {
    name: 'a file that throws',
    files: { 'a.test.ts': `throw new Error('no port')\n` },
    status: 1,
    says: [/no port/, /ℹ fail 1\n/],
  },
  {
    name: 'a file without tests fails beside one that has some',
    files: { 'a.test.ts': PASSES, 'b.test.ts': 'export {}\n' },
    status: 1,
    says: [/b\.test\.ts: no test ran in it/, /ℹ fail 1\n/],
  },
  { name: 'no file at all', files: {}, status: 1, says: [/✖ no test ran/, /ℹ tests 0\n/] },
  {
    name: 'a skip is counted and its reason shown, and a run of skips alone is no success',
    files: { 'a.test.ts': `import { test } from 'node:test'\ntest('asks', { skip: 'needs pki' }, () => {})\n` },
    status: 1,
    says: [/﹣ 1 skipped: needs pki/, /✖ no test ran/],
  },
] as const

for (const { name, files, status, says } of cases) {
  test(`npm test: ${name}`, () => {
    const folder = mkdtempSync(join(tmpdir(), 'sealworks test '))
    try {
      for (const [file, text] of Object.entries(files)) writeFileSync(join(folder, file), text)
      // the runner refuses to run inside itself, and what the machine lacks is not this test's subject
      const env = { ...process.env, NODE_TEST_CONTEXT: undefined, CI: undefined, SEALWORKS_TEST_INSTALL: undefined }
      const ended = spawnSync(process.execPath, [join(import.meta.dirname, 'test.ts'), folder], { encoding: 'utf8', env })
      for (const pattern of says) assert.match(ended.stdout, pattern)
      assert.equal(ended.status, status)
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
}

test('a runner that breaks off is no success', async () => {
  const lines: string[] = []
  assert.equal(await report((async function* () {})(), (line) => lines.push(line)), false)
  assert.deepEqual(lines, ['✖ the runner ended without a result'])
})
