/** The inside of a backup: what was written is read, and octets that are no records are refused. R22. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { concat } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import type { SqlValue } from '#store/database.ts'
import { type BackupRecord, encodeRecord, readRecords } from './records.ts'

async function* pieces(octets: Uint8Array, size: number) {
  for (let at = 0; at < octets.length; at += size) yield octets.subarray(at, at + size)
}

const value: fc.Arbitrary<SqlValue> = fc.oneof(
  fc.constant(null),
  fc.maxSafeInteger(),
  fc.string({ unit: 'grapheme' }),
  fc.constantFrom('', '\ufeffmark', '\u0000', Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER, 0, -1),
  fc.uint8Array({ maxLength: 300 }),
)

const manifest: BackupRecord = {
  type: 'manifest',
  manifest: {
    ...{ format: 1, id: 'a', createdAt: 5, version: '1', engine: 'sqlite', origin: 'o.example', logSize: 3 },
    migrations: [{ id: '0001-a', digest: 'ff' }],
  },
}

describe('records', () => {
  test('come back as they were, whatever the values and however they are cut', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc
          .integer({ min: 1, max: 5 })
          .chain((width) => fc.array(fc.array(value, { minLength: width, maxLength: width }), { minLength: 1 })),
        fc.integer({ min: 1, max: 50 }),
        async (rows, size) => {
          const width = rows[0]?.length ?? 0
          const records: readonly BackupRecord[] = [
            { type: 'signature', octets: Uint8Array.of(1, 2) },
            manifest,
            { type: 'file', file: { name: 'wrapping.key', octets: Uint8Array.of(9) } },
            { type: 'table', name: 'some_table', columns: Array.from({ length: width }, (_, n) => `c${n}`) },
            { type: 'rows', rows },
            { type: 'tableEnd', rows: rows.length },
            { type: 'end', rows: rows.length, tables: 1 },
          ]
          const octets = concat(records.map(encodeRecord))
          assert.deepEqual(await Array.fromAsync(readRecords(pieces(octets, size))), records)
        },
      ),
      { numRuns: 200 },
    )
  })

  const text = (type: number, body: string): Uint8Array => {
    const octets = new TextEncoder().encode(body)
    return concat([Uint8Array.of(type, 0, 0, 0, octets.length), octets])
  }
  const table = encodeRecord({ type: 'table', name: 't', columns: ['a', 'b'] })
  const rows = (...octets: readonly number[]) => concat([table, Uint8Array.of(5, 0, 0, 0, octets.length, ...octets)])
  const cases = [
    { name: 'of no known type', octets: Uint8Array.of(8, 0, 0, 0, 0) },
    { name: 'that end early', octets: Uint8Array.of(1, 0, 0, 0, 9, 1) },
    { name: 'whose header ends early', octets: Uint8Array.of(1, 0) },
    { name: 'that are too long', octets: Uint8Array.of(1, 0xff, 0, 0, 0) },
    { name: 'that are not JSON', octets: text(2, '{') },
    { name: 'whose JSON is no object', octets: text(4, '[]') },
    { name: 'with a table name that is SQL', octets: text(4, '{"name":"a; DROP TABLE b","columns":["a"]}') },
    { name: 'with a column name that is SQL', octets: text(4, '{"name":"a","columns":["a)--"]}') },
    { name: 'with a table of no columns', octets: text(4, '{"name":"a","columns":[]}') },
    { name: 'with a file that is not ours', octets: text(3, '{"name":"../evil","octets":""}') },
    { name: 'with a count below zero', octets: text(7, '{"rows":-1,"tables":1}') },
    { name: 'with rows before a table', octets: Uint8Array.of(5, 0, 0, 0, 1, 0) },
    { name: 'with half a row', octets: rows(0) },
    { name: 'with a value of no type', octets: rows(0, 7) },
    { name: 'with a text that ends early', octets: rows(0, 2, 0, 0, 0, 9, 65) },
    { name: 'with a text that is not UTF-8', octets: rows(0, 2, 0, 0, 0, 1, 0xff) },
    { name: 'with a number that is too large', octets: rows(0, 1, 0x7f, 0, 0, 0, 0, 0, 0, 0) },
  ]
  for (const { name, octets } of cases) {
    test(`${name} are refused`, () => assert.rejects(Array.fromAsync(readRecords(pieces(octets, 7))), { code: 'malformed' }))
  }

  test('of a newer format are named so', async () => {
    const octets = text(2, '{"format":2}')
    await assert.rejects(Array.fromAsync(readRecords(pieces(octets, 7))), { code: 'unsupported', reason: 'backupNewer' })
  })

  test('are not what any octets are', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 100 }), async (octets) => {
        const outcome = await Array.fromAsync(readRecords(pieces(octets, 11))).catch((error: unknown) => error)
        if (outcome instanceof Error) assert.ok(outcome instanceof TrustError, outcome.message)
      }),
      { numRuns: 2000 },
    )
  })
})
