/** Plays every story of this folder against the real command line. @module */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { needs } from '../interop/programs.ts'
import { parseStory, playStory } from './story.ts'

const stories = readdirSync(import.meta.dirname).filter((file) => file.endsWith('.txt'))

suite('command-line stories', { concurrency: 2 }, () => {
  test('there are some', () => assert.ok(stories.length >= 5))

  for (const file of stories) {
    const story = parseStory(readFileSync(join(import.meta.dirname, file), 'utf8'))
    test(file, { skip: needs(...story.needs).skip }, () => playStory(story))
  }
})

suite('a story that is not true fails', () => {
  const cases = [
    { name: 'exit code', text: '$ sealworks version\nexit 4\n', error: /line 2: exit 4/ },
    { name: 'unexpected failure', text: '$ sealworks nonsense\n', error: /line 1: [\s\S]*ended with 2/ },
    { name: 'missing output', text: '$ sealworks version\n> Nonesuch\n', error: /no line matches Nonesuch/ },
    { name: 'forbidden output', text: '$ sealworks version\n! > Sealworks\n', error: /a line matches Sealworks/ },
    { name: 'another value', text: '$ sealworks version --json\njson .product = Other\n', error: /line 2: json/ },
    { name: 'more than one JSON value', text: '$ sealworks version\njson .product = Sealworks\n', error: /JSON/ },
    { name: 'mode', text: 'mode f 600\n-- f --\nx\n', error: /line 1: mode/ },
    { name: 'background that ends', text: '& one sealworks nonsense\n', error: /it ended/ },
  ]
  for (const { name, text, error } of cases) test(name, () => assert.rejects(playStory(parseStory(text)), { message: error }))
  test('a line that is no step', () => assert.throws(() => parseStory('sealworks version\n'), /line 1: .* is no step/))
})
