import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import * as fc from 'fast-check'
import { encodePEM, parseOnePEM, parsePEM } from './pem.ts'

const notPEM = (message: RegExp) => ({ name: 'TrustError', code: 'malformed', reason: 'notPEM', message })
const block = (label: string, body: string, closing = label) => `-----BEGIN ${label}-----\n${body}\n-----END ${closing}-----\n`

test('decode inverts encode, several blocks at once', () => {
  const blocks = fc.array(
    fc.record(
      {
        label: fc.constantFrom('CERTIFICATE', 'CERTIFICATE REQUEST', 'X509 CRL', 'PUBLIC KEY'),
        der: fc.uint8Array({ maxLength: 200 }),
      },
      { noNullPrototype: true },
    ),
    { maxLength: 4 },
  )
  fc.assert(
    fc.property(blocks, (value) => {
      assert.deepEqual(parsePEM(value.map(({ label, der }) => encodePEM(label, der)).join('')), value)
    }),
    { numRuns: 300 },
  )
})

test('RFC 7468, 2: lines have 64 characters, the last fewer', () => {
  const [first, ...rest] = encodePEM('CERTIFICATE', new Uint8Array(100)).split('\n')
  assert.equal(first, '-----BEGIN CERTIFICATE-----')
  assert.deepEqual(
    rest.map((line) => line.length),
    [64, 64, 8, '-----END CERTIFICATE-----'.length, 0],
  )
  assert.equal(encodePEM('CERTIFICATE', new Uint8Array(48)).split('\n').length, 4)
})

describe('what stands around and between blocks', () => {
  const cases: readonly (readonly [name: string, text: string, labels: readonly string[]])[] = [
    ['no text', '', []],
    ['text without a block', 'hello -----\n', []],
    ['text before and after', `Subject: CN=a\n${block('A', 'AAAA')}\nbye`, ['A']],
    ['two blocks and text between', `${block('A', 'AAAA')}---\n${block('B C', 'AAAA')}`, ['A', 'B C']],
    ['carriage returns', block('A', 'AA\r\nAA').replaceAll('\n', '\r\n'), ['A']],
    ['one long line', block('A', 'AAAA'.repeat(50)), ['A']],
    ['short lines, spaces and tabs', block('A', 'AA \n\tAA\n\n'), ['A']],
    ['a block of nothing', block('A', ''), ['A']],
    ['the longest label', block('A'.repeat(64), 'AAAA'), ['A'.repeat(64)]],
  ]
  for (const [name, text, labels] of cases)
    test(name, () =>
      assert.deepEqual(
        parsePEM(text).map(({ label }) => label),
        labels,
      ),
    )
})

describe('refused', () => {
  const cases: readonly (readonly [name: string, text: string, message: RegExp])[] = [
    ['another label at the end', block('A', 'AAAA', 'B'), /the A block ends as another/],
    ['a longer label at the end', block('A', 'AAAA', 'AB'), /the A block ends as another/],
    ['no end', '-----BEGIN A-----\nAAAA\n', /the A block does not end/],
    ['an end without hyphens', '-----BEGIN A-----\nAAAA\n-----END A', /the A block ends as another/],
    ['no label', block('', 'AAAA'), /a block has no label/],
    ['a label of small letters', block('Certificate', 'AAAA'), /a block has no label/],
    ['a label of 65 characters', block('A'.repeat(65), 'AAAA'), /a block has no label/],
    ['headers, as encrypted keys have', block('A', 'Proc-Type: 4,ENCRYPTED\n\nAAAA'), /the A block is not base64/],
    ['a block in a block', `-----BEGIN A-----\n${block('A', 'AAAA')}`, /the A block is not base64/],
    ['characters that are not base64', block('A', 'AA*A'), /not base64/],
    ['URL base64', block('A', '-_-_'), /not base64/],
    ['no padding', block('A', 'AAA'), /not base64/],
    ['too much padding', block('A', 'AAAA===='), /not base64/],
    ['text after the padding', block('A', 'AA==AAAA'), /not base64/],
    ['padding bits that are set', block('A', 'AB=='), /not base64/],
  ]
  for (const [name, text, message] of cases) test(name, () => assert.throws(() => parsePEM(text), notPEM(message)))

  test('more than four million characters', () => {
    const text = ' '.repeat(4 << 20)
    assert.deepEqual(parsePEM(text), [])
    assert.throws(() => parsePEM(`${text} `), { code: 'tooLarge', message: /4194304/ })
  })
})

test('four megabytes of beginnings are refused at once', () => {
  assert.throws(() => parsePEM('-----BEGIN A-----\n'.repeat(200_000)), notPEM(/the A block does not end/))
})

describe('one block by its label', () => {
  const both = block('A', 'AQ==') + block('B', 'Ag==')
  test('is found among others', () => assert.equal(parseOnePEM(both, 'B').toHex(), '02'))
  test('missing', () => assert.throws(() => parseOnePEM(both, 'C'), notPEM(/it has no C block/)))
  test('twice', () => assert.throws(() => parseOnePEM(both + block('A', 'AQ=='), 'A'), notPEM(/it has more than one A block/)))
})
