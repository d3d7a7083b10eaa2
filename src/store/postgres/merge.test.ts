import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { BatchOutcome, Statement } from '../batch.ts'
import { isDuplicate } from '../duplicate.ts'
import { postgres } from './index.ts'
import { kindOf, merge } from './merge.ts'
import { postgresMissing, startPostgres } from './testing.ts'

const add = (id: string, n: number): Statement => ({ sql: 'INSERT INTO item (id, n) VALUES (?, ?)', parameters: [id, n] })
const claim = (key: string, by: string): readonly Statement[] => [
  {
    sql: `INSERT INTO claim (key, owner, tries) VALUES (?, ?, 1)
      ON CONFLICT (key) DO UPDATE SET tries = claim.tries + ?, owner = CASE WHEN claim.tries > ? THEN claim.owner ELSE excluded.owner END`,
    parameters: [key, by, 1, 0],
  },
  { sql: 'SELECT owner FROM claim WHERE key = ?', parameters: [key], expects: { owner: by } },
]
const shared = (id: string, state: string): Statement => ({
  sql: 'SELECT state FROM lock WHERE id = ? FOR SHARE',
  parameters: [id],
  expects: { state },
})
const note = (text: string): Statement => ({ sql: 'INSERT INTO line (text) VALUES (?)', parameters: [text] })
const shut = (id: string): Statement => ({ sql: "UPDATE lock SET state = 'shut' WHERE id = ?", parameters: [id] })

describe('batches of one kind', () => {
  test('become a statement for each of theirs, and a question that all of them ask is asked once', () => {
    const batches = Array.from({ length: 8 }, (_, i) => [...claim(`k${i}`, `o${i}`), shared('one', 'open'), add(`i${i}`, i)])
    assert.equal(new Set(batches.map((batch) => kindOf(batch))).size, 1)
    assert.equal(merge(batches).length, 4)
    assert.equal(
      merge(batches.slice(1)).length,
      3 * 3 + 1,
      'of four, of two and of one: few numbers of rows, so few statements to prepare',
    )
  })

  test('stay by themselves where a neighbor could change what one has looked at, or where it is not plain what they do', () => {
    const apart: readonly (readonly Statement[])[] = [
      [shared('one', 'open'), shut('one')],
      [{ sql: 'SELECT count(*) AS n FROM item WHERE n = ?', parameters: [1], expects: { n: 1 } }],
      [{ sql: 'DELETE FROM item WHERE id = ?', parameters: ['a'] }],
      [{ sql: 'INSERT INTO item (id, n) SELECT id, n FROM item WHERE id = ?', parameters: ['a'] }],
      [{ sql: "SELECT n FROM item WHERE id = '?;--' AND n = ?", parameters: [1] }],
      [{ sql: 'UPDATE item SET n = other.n FROM other WHERE other.id = ?', parameters: ['a'] }],
    ]
    for (const batch of apart) assert.ok(kindOf(batch) === undefined, JSON.stringify(batch))
    assert.ok(kindOf([shut('one'), shared('one', 'shut')]) !== undefined)
    assert.ok(kindOf([shared('one', 'open'), ...claim('a', 'b')]) !== undefined)
  })
})

describe('on PostgreSQL', { skip: postgresMissing() }, () => {
  test('a group keeps what its batches one after the other would keep', async (t) => {
    const server = await startPostgres({ durable: false })
    t.after(server.stop)
    const db = postgres({ url: server.url })
    t.after(() => db.close())
    await db.transaction(async (tx) => {
      await tx.query('CREATE TABLE item (id TEXT PRIMARY KEY, n INTEGER NOT NULL)')
      await tx.query('CREATE TABLE claim (key TEXT PRIMARY KEY, owner TEXT NOT NULL, tries INTEGER NOT NULL)')
      await tx.query('CREATE TABLE lock (id TEXT PRIMARY KEY, state TEXT NOT NULL)')
      await tx.query('CREATE TABLE line (sequence INTEGER PRIMARY KEY, text TEXT NOT NULL)')
    })
    const asked = fc.record({
      key: fc.integer({ min: 0, max: 60 }),
      item: fc.integer({ min: 0, max: 200 }),
      lock: fc.constantFrom('open', 'open', 'open', 'open', 'open', 'shut', 'none'),
      short: fc.boolean(),
    })
    let [whole, apart] = [0, 0]
    await fc.assert(
      fc.asyncProperty(fc.array(asked, { minLength: 1, maxLength: 90 }), async (members) => {
        await db.transaction(async (tx) => {
          for (const table of ['item', 'claim', 'lock', 'line']) await tx.query(`DELETE FROM ${table}`)
          await tx.insertMany(
            'lock',
            ['id', 'state'],
            [
              ['open', 'open'],
              ['shut', 'shut'],
            ],
          )
        })
        const outcomes = await Promise.all(
          members.map(({ key, item, lock, short }, i) =>
            db.batch([...claim(`k${key}`, `o${i}`), shared(lock, 'open'), add(`i${item}`, i), ...(short ? [] : [note(`o${i}`)])]),
          ),
        )
        const kept = members.filter((_, i) => outcomes[i]?.kept)
        if (kept.length === members.length) whole++
        else apart++
        // each that was kept is there whole, and nothing of the others is
        const owners = await db.query<{ owner: string }>('SELECT owner FROM claim ORDER BY owner')
        const items = await db.query<{ n: number }>('SELECT n FROM item ORDER BY n')
        const lines = await db.query<{ text: string }>('SELECT text FROM line ORDER BY text')
        const numbers = members.flatMap((_, i) => (outcomes[i]?.kept ? [i] : []))
        const names = numbers.map((i) => `o${i}`).toSorted()
        assert.deepEqual(
          owners.map(({ owner }) => owner),
          names,
        )
        assert.deepEqual(
          items.map(({ n }) => n),
          numbers,
        )
        assert.deepEqual(
          lines.map(({ text }) => text),
          names.filter((name) => members[Number(name.slice(1))]?.short === false),
        )
        // and each that was not has a reason that holds
        const taken = (of: (member: (typeof members)[number]) => number, value: number) => kept.some((one) => of(one) === value)
        for (const [i, outcome] of outcomes.entries()) {
          if (outcome.kept) continue
          const { key, item, lock } = members[i] as (typeof members)[number]
          assert.ok(
            reasonHolds(
              outcome,
              lock,
              taken(({ key: other }) => other, key),
              taken(({ item: other }) => other, item),
            ),
          )
        }
        assert.ok(kept.length > 0 || members.every(({ lock }) => lock !== 'open'))
      }),
      { numRuns: 60 },
    )
    assert.ok(whole > 0 && apart > 0, `${whole} groups were kept whole and ${apart} were not`)
  })
})

function reasonHolds(
  { at, row, duplicate }: BatchOutcome & { readonly kept: false },
  lock: string,
  keyTaken: boolean,
  itemTaken: boolean,
): boolean {
  switch (at) {
    case 1:
      return keyTaken && row?.['owner'] !== undefined
    case 2:
      return lock === 'shut' ? row?.['state'] === 'shut' : lock === 'none' && row === undefined
    case 3:
      return itemTaken && duplicate !== undefined && isDuplicate(duplicate, 'item', 'id')
    default:
      return false
  }
}
