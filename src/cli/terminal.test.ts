import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { fields, printable, progressBar, table, words } from './terminal.ts'

interface Row {
  readonly name: string
  readonly what?: string
}

const shape = [
  { title: 'NAME', cell: ({ name }: Row) => name },
  { title: 'WHAT', cell: ({ what }: Row) => what },
]
const rows: readonly Row[] = [{ name: 'press', what: 'presses things until they are flat' }, { name: 'a longer name' }]

test('columns are aligned, and a value that is not there is a dash', () => {
  assert.equal(
    table(rows, shape, undefined),
    'NAME           WHAT\npress          presses things until they are flat\na longer name  –\n',
  )
})

test('on a terminal the widest column is cut, and each line fits', () => {
  assert.equal(table(rows, shape, 30), 'NAME           WHAT\npress          presses things…\na longer name  –\n')
})

test('no rows say so', () => assert.equal(table([], shape, 80), 'none\n'))

test('lines never pass the width that there is, and nothing a stranger chose reaches the terminal raw', () => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ name: fc.string({ unit: 'binary' }), what: fc.string({ unit: 'binary' }) })),
      fc.integer({ min: 24, max: 200 }),
      (rows, columns) => {
        for (const line of table(rows, shape, columns).split('\n')) {
          assert.ok([...line].length <= columns)
          assert.equal(printable(line), line)
        }
      },
    ),
  )
})

test('a name cannot move the cursor, end a line, or turn its direction', () => {
  assert.equal(printable('CN=\u001b[2Jx\r\ny\u202ecod.exe\u2028'), 'CN=\u{fffd}[2Jx\u{fffd}\u{fffd}y\u{fffd}cod.exe\u{fffd}')
  assert.equal(fields({ subject: 'CN=a\nstate  active' }), 'subject  CN=a\u{fffd}state  active\n')
})

test('fields are listed with nested ones below, and what is null left out', () => {
  const value = {
    keyAlgorithm: 'rsa-2048',
    issuer: null,
    valid: true,
    names: ['a', 'b'],
    extensions: [{ id: 'x', critical: false }],
    rules: { open: true },
  }
  const lines = [
    'key algorithm  rsa-2048',
    'valid          yes',
    'names          a, b',
    'extensions',
    '  - id        x',
    '    critical  no',
    'rules',
    '  open  yes',
    '',
  ]
  assert.equal(fields(value), lines.join('\n'))
})

test('field names read as words', () => {
  assert.deepEqual(['keyAlgorithm', 'crlNumber', 'sha256', 'notAfter', 'publicKeySHA256'].map(words), [
    'key algorithm',
    'crl number',
    'sha256',
    'not after',
    'public keySHA256',
  ])
})

test('a progress bar draws seldom, and always its end', () => {
  let now = 0
  const written: string[] = []
  const bar = progressBar('issuing', 3, { now: () => now }, (text) => written.push(text))
  bar.at(1)
  now = 50
  bar.at(2)
  bar.at(3)
  bar.end()
  assert.deepEqual(
    written.map((text) => text.replaceAll('\u001b[2K', '').trim()),
    ['issuing [========                ] 1 of 3', 'issuing [========================] 3 of 3', ''],
  )
})
