import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { outdatedPages, referencePages } from './reference.ts'

const pages = await referencePages()

test('there are pages, each with rows', () => {
  assert.ok(pages.size >= 4)
  for (const [name, text] of pages) assert.ok(text.split('\n').length > 20, name)
})

for (const [name, text] of pages) test(`${name} has no holes`, () => assert.doesNotMatch(text, /undefined|\[object|NaN/))

test('a page that is missing or says something else is found', () => {
  const directory = mkdtempSync(join(tmpdir(), 'reference-'))
  try {
    const [first = '', second = '', ...others] = pages.keys()
    for (const name of [second, ...others]) writeFileSync(join(directory, name), pages.get(name) ?? '')
    assert.deepEqual(outdatedPages(pages, directory), [first])
    writeFileSync(join(directory, first), pages.get(first) ?? '')
    assert.deepEqual(outdatedPages(pages, directory), [])
    writeFileSync(join(directory, second), 'something else')
    assert.deepEqual(outdatedPages(pages, directory), [second])
  } finally {
    rmSync(directory, { recursive: true })
  }
})
