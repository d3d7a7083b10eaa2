/** R15: what a maker and a node say to each other has one meaning, or none. @module */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { importPublicKey } from '#algorithms/public-key.ts'
import { utf8 } from '#base/bytes.ts'
import { courseAfter, mayUse, newCourse, termsOf } from './course.ts'
import { emptyChain, follow, isInBlock, openStatement, parseBundle, parseEntry, positionOf, serialNumberAt } from './messages.ts'
import { sampleBundle, sampleKey, sampleLines, sampleStatements, sampleTicket } from './samples.ts'

describe('statements', () => {
  const key = importPublicKey(sampleKey)
  const forged = (change: (header: string, payload: string) => string): string => {
    const [header = '', payload = '', signature = ''] = sampleStatements.ticket.split('.')
    return `${change(header, payload)}.${signature}`
  }
  const encoded = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  const typ = 'sealworks-ticket+jws'
  const cases: [name: string, text: string, code: string][] = [
    ['no algorithm', forged((_, payload) => `${encoded({ alg: 'none', typ })}.${payload}`), 'unsupported'],
    ['an algorithm of secrets', forged((_, payload) => `${encoded({ alg: 'HS256', typ })}.${payload}`), 'unsupported'],
    ['an algorithm of another key', forged((_, payload) => `${encoded({ alg: 'ES384', typ })}.${payload}`), 'badProof'],
    ['another type', forged((_, payload) => `${encoded({ alg: 'ES256', typ: 'JWT' })}.${payload}`), 'malformed'],
    [
      'what must be understood',
      forged((_, payload) => `${encoded({ alg: 'ES256', typ, crit: ['x'], x: 1 })}.${payload}`),
      'unsupported',
    ],
    ['a member more', forged((header) => `${header}.${encoded({ ...sampleTicket, more: 1 })}`), 'malformed'],
    ['a quota that is too large', forged((header) => `${header}.${encoded({ ...sampleTicket, quota: 1e9 })}`), 'malformed'],
    [
      'a serial block that is too small',
      forged((header) => `${header}.${encoded({ ...sampleTicket, quota: 101 })}`),
      'malformed',
    ],
    ['an end before its beginning', forged((header) => `${header}.${encoded({ ...sampleTicket, notAfter: 1 })}`), 'malformed'],
    ['another text', forged((header) => `${header}.${encoded({ ...sampleTicket, model: 'Press 8' })}`), 'badProof'],
    ['no signature', sampleStatements.ticket.replace(/[^.]+$/, ''), 'malformed'],
    ['something behind it', `${sampleStatements.ticket}.x`, 'malformed'],
  ]
  for (const [name, text, code] of cases)
    test(`a ticket with ${name} is refused`, () => assert.rejects(openStatement('ticket', text, key), { code }))

  test('a ticket as it was signed is taken', async () => {
    assert.deepEqual(structuredClone(await openStatement('ticket', sampleStatements.ticket, key)), sampleTicket)
  })
})

describe('the log', () => {
  test('follows line by line, and in no other order or form', () => {
    let end = emptyChain
    for (const line of sampleLines) ({ end } = follow(end, line))
    assert.equal(end.size, sampleLines.length)
    assert.throws(() => follow(emptyChain, sampleLines[1] as string), { code: 'badProof', reason: 'logBroken' })
    const line = sampleLines[4] as string
    const others = [
      line.replace('{', '{ '),
      line.replace('"n":4', '"n":4.0'),
      line.replace('"n":4', '"n":4,"n":4'),
      line.replace('P7', '\\u0050\\u0037'),
      line.replace('"position":0', '"position":-1'),
      line.replace('"position":0', '"position":0,"more":0'),
      line.replace('"issue"', '"__proto__"'),
      `${line} `,
      `[${line}]`,
    ]
    for (const other of others) assert.throws(() => parseEntry(other), { code: 'malformed' }, other)
  })

  test('no line makes the reader do anything but refuse or give what it was', () => {
    fc.assert(
      fc.property(fc.oneof(fc.json(), fc.string()), (text) => {
        try {
          assert.equal(JSON.stringify(parseEntry(text)), text)
        } catch (error) {
          assert.equal((error as { code?: string }).code, 'malformed')
        }
      }),
      { numRuns: 2000 },
    )
  })

  test('bundles come back as they were, and cut ones do not', () => {
    const { lines, from } = parseBundle(utf8(sampleBundle))
    assert.deepEqual([lines, from], [sampleLines, 0])
    assert.throws(() => parseBundle(utf8(sampleBundle.slice(0, -1))), { code: 'malformed' })
    assert.throws(() => parseBundle(utf8(sampleBundle.replace('"from":0', '"from":-1'))), { code: 'malformed' })
  })
})

test('serial numbers of certificates carry positions', () => {
  fc.assert(
    fc.property(fc.nat({ max: 2 ** 31 }), fc.uint8Array({ minLength: 10, maxLength: 10 }), (position, random) => {
      assert.equal(positionOf(serialNumberAt(position * 256, random)), position * 256)
    }),
  )
  assert.equal(positionOf(new Uint8Array(16)), undefined)
})

test('a serial block holds its numbers and no other text', () => {
  const block = { prefix: 'P7-', digits: 4, from: 9, to: 11 }
  const inside = ['P7-0009', 'P7-0010', 'P7-0011']
  const outside = [
    'P7-0008',
    'P7-0012',
    'P7-009',
    'P7-00010',
    'P8-0010',
    '0010',
    'P7-00 9',
    'P7-+010',
    'p7-0010',
    'P7-0x0a',
    'P7-١٠١٠',
  ]
  assert.deepEqual(
    [...inside, ...outside].filter((serial) => isInBlock(block, serial)),
    inside,
  )
})

test('positions may be used only in the run that leased them, or the very next after a clean stop', () => {
  const terms = termsOf({ ...sampleTicket, blockSize: 4, quota: 10, scrapAllowance: 0 })
  const head = { n: 0, previous: '', at: 0 }
  const after = (
    ...entries: ({ type: 'start'; start: number } | { type: 'lease'; block: number } | { type: 'stop'; next: number })[]
  ) => entries.reduce((course, entry) => courseAfter(terms, course, { ...head, ...entry }), newCourse(terms))
  const usable = (course: ReturnType<typeof after>): number[] =>
    Array.from({ length: 12 }, (_, at) => at).filter((at) => mayUse(course, at))
  const first = [
    { type: 'start', start: 1 },
    { type: 'lease', block: 1 },
  ] as const
  assert.deepEqual(usable(after(...first)), [0, 1, 2, 3])
  assert.deepEqual(usable(after(...first, { type: 'start', start: 2 })), []) // after a crash
  assert.deepEqual(usable(after(...first, { type: 'stop', next: 2 }, { type: 'start', start: 2 })), [2, 3])
  assert.deepEqual(usable(after(...first, { type: 'stop', next: 2 }, { type: 'start', start: 3 })), [])
  assert.deepEqual(
    usable(after(...first, { type: 'lease', block: 2 }, { type: 'lease', block: 3 })),
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
  )
  assert.deepEqual(
    usable(after(...first, { type: 'stop', next: 3 }, { type: 'start', start: 2 }, { type: 'lease', block: 2 })),
    [3, 4, 5, 6, 7],
  )
})
