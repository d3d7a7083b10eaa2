/** Manifests as programs and people write them. @module */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { concat, utf8 } from '#base/bytes.ts'
import { encodeSection, parseManifest } from './manifest.ts'

const text = (octets: Uint8Array): string => Buffer.from(octets).toString()

test('lines have 72 octets and go on in the next, also within a character', () => {
  const name = `${'ü'.repeat(40)}/${'x'.repeat(100)}`
  const octets = encodeSection([
    { name: 'Name', value: name },
    { name: 'X-Note', value: 'y' },
  ])
  for (const line of text(octets).split('\r\n')) assert.ok(Buffer.from(line, 'latin1').length <= 144)
  assert.ok(octets.length > 200)
  const { names, section } = parseManifest(concat([utf8('Manifest-Version: 1.0\r\n\r\n'), octets]))
  assert.deepEqual([...names], [name])
  assert.equal(section(name)?.attributes.get('x-note')?.value, 'y')
  assert.deepEqual(section(name)?.octets, octets)
})

test('a section is its lines with the empty one, whatever ends them', () => {
  for (const end of ['\r\n', '\n', '\r']) {
    const written = ['Manifest-Version: 1.0', 'Main-Class: a.B', '', 'Name: a', 'X: 1', '', '', 'Name: b', 'X: 2'].join(end)
    const { main, section } = parseManifest(utf8(written))
    assert.equal(text(main.octets), ['Manifest-Version: 1.0', 'Main-Class: a.B', '', ''].join(end))
    assert.equal(text(section('a')?.octets ?? utf8('')), ['Name: a', 'X: 1', '', ''].join(end))
    assert.equal(text(section('b')?.octets ?? utf8('')), ['Name: b', 'X: 2'].join(end))
  }
})

test('the first section may be empty, as new java.util.jar.Manifest() has it', () => {
  const { main, names } = parseManifest(utf8('\r\nName: a\r\nX: 1\r\n\r\n'))
  assert.deepEqual([text(main.octets), main.attributes.size, [...names]], ['\r\n', 0, ['a']])
})

for (const [name, written] of [
  ['nothing', ''],
  ['a section that begins within an attribute', ' x\n'],
  ['a line that is no attribute', 'Manifest-Version 1.0\n'],
  ['an attribute that is there twice', 'A: 1\na: 2\n'],
  ['a section without a name', 'A: 1\n\nB: 2\n'],
  ['a section without a name behind an empty one', '\nA: 1\n'],
  ['a section that is there twice', 'A: 1\n\nName: b\nX: 1\n\nName: b\nX: 2\n'],
  ['a NUL', 'A: 1\0\n'],
  ['an attribute without end', `A: ${'x'.repeat(70_000)}\n`],
] as const) {
  test(`R31: ${name} is refused`, () =>
    assert.throws(() => parseManifest(utf8(written)), { code: 'malformed', reason: 'badArtifact' }))
}

test('R31: what is not UTF-8 is refused', () => {
  assert.throws(() => parseManifest(Uint8Array.of(0x41, 0x3a, 0x20, 0xff, 0x0a)), { reason: 'badArtifact' })
})
