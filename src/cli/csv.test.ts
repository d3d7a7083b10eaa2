import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { encodeCSVLine, parseCSV, plainField } from './csv.ts'

const cases = [
  {
    name: 'plain',
    text: 'a,b\nc,d\n',
    rows: [
      ['a', 'b'],
      ['c', 'd'],
    ],
  },
  {
    name: 'CRLF, no end of the last line',
    text: 'a,b\r\nc,d',
    rows: [
      ['a', 'b'],
      ['c', 'd'],
    ],
  },
  { name: 'byte order mark', text: '\u{feff}a\n', rows: [['a']] },
  { name: 'quoted comma, quotation mark and line break', text: '"a,1","say ""x""\nthere"\n', rows: [['a,1', 'say "x"\nthere']] },
  {
    name: 'empty fields stay, empty lines go',
    text: 'a,,c\n\n,,\nd,e,\n',
    rows: [
      ['a', '', 'c'],
      ['d', 'e', ''],
    ],
  },
  { name: 'nothing', text: '', rows: [] },
]
for (const { name, text, rows } of cases)
  test(`RFC 4180: ${name}`, () =>
    assert.deepEqual(
      parseCSV(text).map(({ fields }) => fields),
      rows,
    ))

test('lines are counted as an editor does', () => {
  assert.deepEqual(
    parseCSV('a\n"b\nb"\n\nc\n').map(({ line }) => line),
    [1, 2, 5],
  )
})

for (const text of ['"a', 'a"b', 'x\n"a"b,c', 'a\rb']) {
  test(`refuses ${JSON.stringify(text)}`, () => {
    const outcome = () => parseCSV(text)
    if (text === 'a"b') assert.deepEqual(outcome()[0]?.fields, ['a"b']) // a mark inside a field that does not begin with one
    else assert.throws(outcome, { code: 'malformed', reason: 'notCSV' })
  })
}

test('what is written is read again', () => {
  const line = fc
    .array(fc.string(), { minLength: 1 })
    .filter((fields) => fields.some((field) => field !== '') && !fields[0]?.startsWith('\u{feff}'))
  fc.assert(
    fc.property(fc.array(line), (lines) => {
      assert.deepEqual(
        parseCSV(lines.map(encodeCSVLine).join('')).map(({ fields }) => fields),
        lines,
      )
    }),
  )
})

test('what others named is no formula to whoever opens the list', () => {
  for (const text of ['=1+1', '+1', '-1', '@SUM(A1)']) assert.equal(plainField(text), `'${text}`)
  for (const text of ['', 'P-1', 'carworks', "'=1", '7']) assert.equal(plainField(text), text)
})
