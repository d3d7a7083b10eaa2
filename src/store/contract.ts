/**
 * What every database engine must keep: one suite, run against each.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { TrustError } from '#base/errors.ts'
import { systemWorld } from '#base/world.ts'
import type { Database, Migration, Transaction } from './database.ts'
import { isDuplicate } from './duplicate.ts'
import { acquireLease, checkLease, releaseLease, renewLease } from './lease.ts'
import { migrate } from './migrate.ts'
import { storeMigrations } from './migrations.ts'
import { pruneOutbox, publish, readAfter, sequenceOutbox } from './outbox.ts'

export interface DatabaseFixture {
  /** A new, empty database. */
  create(): Promise<TestDatabase>
  /** Ends the server or removes the files. */
  remove(): Promise<void>
}

export interface TestDatabase {
  /** Opens one more process's view of it. @param workMaxMilliseconds when a stuck work is given up */
  open(workMaxMilliseconds?: number): Database
}

const schema: readonly Migration[] = [
  {
    id: '0001-test-tables',
    statements: [
      'CREATE TABLE item (id TEXT PRIMARY KEY, n INTEGER NOT NULL, der BLOB, state TEXT)',
      'CREATE TABLE part (item_id TEXT NOT NULL REFERENCES item (id), name TEXT NOT NULL, UNIQUE (item_id, name))',
      "CREATE UNIQUE INDEX item_active ON item (n) WHERE state = 'active'",
      'CREATE TABLE line (sequence INTEGER PRIMARY KEY, text TEXT NOT NULL)',
    ],
  },
]

/** A clock that stands still until told. */
function worldAt(milliseconds: number) {
  const clock = { time: milliseconds, now: () => clock.time }
  return { ...systemWorld(), clock }
}

const settled = (turns = 3): Promise<void> =>
  turns === 0 ? Promise.resolve() : new Promise<void>((resolve) => setImmediate(resolve)).then(() => settled(turns - 1))

const refusal = (code: string, reason: string) => (error: unknown) =>
  error instanceof TrustError && error.code === code && error.reason === reason

const put = (tx: Transaction, id: string, n: number, state: string | null = null) =>
  tx.query('INSERT INTO item (id, n, state) VALUES (?, ?, ?)', id, n, state)

export function databaseContract(name: string, fixture: () => Promise<DatabaseFixture>, skip: string | false = false): void {
  describe(`${name} keeps the database contract`, { skip }, () => {
    let made: DatabaseFixture
    before(async () => {
      made = await fixture()
    })
    after(() => made.remove())

    /** Runs `body` on a fresh database with the schema above. */
    const on = (title: string, body: (db: Database, again: TestDatabase['open']) => Promise<void>): void => {
      test(title, async () => {
        const database = await made.create()
        const opened: Database[] = []
        const open = (workMaxMilliseconds?: number): Database => {
          const db = database.open(workMaxMilliseconds)
          opened.push(db)
          return db
        }
        const db = open()
        try {
          await migrate(db, schema, systemWorld())
          await body(db, open)
        } finally {
          await Promise.all(opened.map((each) => each.close()))
        }
      })
    }
    const ids = async (db: Database) => (await db.query<{ id: string }>('SELECT id FROM item ORDER BY id')).map(({ id }) => id)

    on('what a transaction did is there when it resolves', async (db) => {
      const result = await db.transaction(async (tx) => {
        await put(tx, 'a', 1)
        return (await tx.query('SELECT n FROM item')).length
      })
      assert.equal(result, 1)
      assert.deepEqual(await db.query('SELECT id, n, der, state FROM item'), [{ id: 'a', n: 1, der: null, state: null }])
    })

    on('a transaction that throws leaves nothing behind, and throws what its work threw', async (db) => {
      const stop = new Error('stop')
      const failing = db.transaction(async (tx) => {
        await put(tx, 'a', 1)
        throw stop
      })
      await assert.rejects(failing, (error) => error === stop)
      assert.deepEqual(await ids(db), [])
    })

    const putting = (id: string, n: number) => ({ sql: 'INSERT INTO item (id, n) VALUES (?, ?)', parameters: [id, n] })
    const counting = (n: number, expected: number) => ({
      sql: 'SELECT count(*) AS found FROM item WHERE n = ?',
      parameters: [n],
      expects: { found: expected },
    })

    on('a batch is kept whole when every row is as expected', async (db) => {
      assert.deepEqual(await db.batch([putting('a', 1), counting(1, 1), putting('b', 1), counting(1, 2)]), { kept: true })
      assert.deepEqual(await ids(db), ['a', 'b'])
    })

    on('a batch ends at its first row that is not as expected, and keeps nothing', async (db) => {
      const outcome = await db.batch([putting('a', 1), counting(1, 5), putting('a', 2)])
      assert.deepEqual(outcome, { kept: false, at: 1, row: { found: 1 }, duplicate: undefined })
      const missing = { sql: 'SELECT n FROM item WHERE id = ?', parameters: ['none'], expects: { n: 1 } }
      assert.deepEqual(await db.batch([missing]), { kept: false, at: 0, row: undefined, duplicate: undefined })
      assert.deepEqual(await ids(db), [])
    })

    on('a batch ends at a unique key that is taken, and says which', async (db) => {
      await db.batch([putting('a', 1)])
      const outcome = await db.batch([putting('b', 2), putting('a', 3), counting(3, 1)])
      assert.ok(!outcome.kept && outcome.at === 1 && isDuplicate(outcome.duplicate, 'item', 'id'))
      assert.deepEqual(await ids(db), ['a'])
    })

    on('what a batch reads for share is not changed until it is kept', async (db, again) => {
      const other = again()
      await db.batch([putting('lock', -1)])
      for (let round = 0; round < 30; round++) {
        await db.transaction((tx) => tx.query("UPDATE item SET state = 'open' WHERE id = 'lock'"))
        const reads = { sql: "SELECT state FROM item WHERE id = 'lock' FOR SHARE", parameters: [], expects: { state: 'open' } }
        const [kept, seen] = await Promise.all([
          db.batch([reads, putting(`r${round}`, round)]),
          other
            .transaction((tx) => tx.query("UPDATE item SET state = 'shut' WHERE id = 'lock'"))
            .then(() => other.query('SELECT id FROM item WHERE id = ?', `r${round}`)),
        ])
        const [row] = await db.query('SELECT id FROM item WHERE id = ?', `r${round}`)
        assert.equal(row !== undefined, kept.kept)
        assert.equal(seen.length === 1, kept.kept, 'once it is shut nothing more appears')
      }
    })

    on('batches that fail leave their neighbors alone', async (db) => {
      const outcomes = await Promise.all(
        Array.from({ length: 300 }, (_, i) => db.batch([putting(`k${i}`, i), counting(i, i % 3 === 0 ? 2 : 1)])),
      )
      outcomes.forEach(({ kept }, i) => assert.equal(kept, i % 3 !== 0))
      assert.equal((await ids(db)).length, 200)
    })

    on('a statement that cannot run refuses its batch', async (db) => {
      await assert.rejects(db.batch([putting('a', 1), { sql: 'INSERT INTO nowhere (id) VALUES (?)', parameters: ['a'] }]))
      assert.deepEqual(await ids(db), [])
    })

    on('members of one group fail and succeed each for itself', async (db) => {
      const results = await Promise.allSettled(
        Array.from({ length: 600 }, (_, i) =>
          db.transaction(async (tx) => {
            await put(tx, `k${String(i).padStart(3, '0')}`, i)
            if (i % 3 === 0) throw new Error('every third')
            if (i % 3 === 1) await settled(1)
            return i
          }),
        ),
      )
      results.forEach((result, i) => assert.equal(result.status, i % 3 === 0 ? 'rejected' : 'fulfilled'))
      const kept = Array.from({ length: 600 }, (_, i) => i).filter((i) => i % 3 !== 0)
      assert.deepEqual(
        await ids(db),
        kept.map((i) => `k${String(i).padStart(3, '0')}`),
      )
    })

    on('transactions act as if one ran after the other', async (db) => {
      await db.transaction((tx) => put(tx, 'counter', 0))
      const increment = () =>
        db.transaction(async (tx) => {
          const [row] = await tx.query<{ n: number }>("SELECT n FROM item WHERE id = 'counter'")
          await settled(1)
          await tx.query("UPDATE item SET n = ? WHERE id = 'counter'", (row?.n ?? 0) + 1)
        })
      await Promise.all(Array.from({ length: 50 }, increment))
      assert.deepEqual(await db.query('SELECT n FROM item'), [{ n: 50 }])
    })

    on('they do so across connections and for what was not there yet', async (one, open) => {
      const two = open()
      // A quota: each counts what is there, then adds. Neither row blocks the other, only the count does.
      const take = (db: Database, id: string) =>
        db.transaction(async (tx) => {
          const [row] = await tx.query<{ taken: number }>('SELECT count(*) AS taken FROM item')
          await settled(1)
          if ((row?.taken ?? 0) < 5) await put(tx, id, 0)
        })
      const both = Array.from({ length: 20 }, (_, i) => [take(one, `one${i}`), take(two, `two${i}`)])
      await Promise.all(both.flat())
      assert.equal((await ids(one)).length, 5)
    })

    on('a query sees committed rows only, and cannot write', async (db) => {
      let seen: readonly string[] | undefined
      await db.transaction(async (tx) => {
        await put(tx, 'a', 1)
        seen = await ids(db)
      })
      assert.deepEqual(seen, [])
      assert.deepEqual(await ids(db), ['a'])
      await assert.rejects(db.query("DELETE FROM item WHERE id = 'a'"), TypeError)
      assert.deepEqual(await ids(db), ['a'])
    })

    on('octets, text, integers and nothing come back as they went in', async (db) => {
      const der = Uint8Array.from({ length: 256 }, (_, i) => i)
      const state = "? ' \\ \u0000 ü 🔏".replace('\u0000', '')
      await db.transaction((tx) =>
        tx.query('INSERT INTO item (id, n, der, state) VALUES (?, ?, ?, ?)', 'a', Number.MAX_SAFE_INTEGER, der, state),
      )
      await db.transaction((tx) => tx.query('INSERT INTO item (id, n, der) VALUES (?, ?, ?)', 'b', -1n, new Uint8Array(0)))
      // A view into a larger buffer: only its own octets count.
      await db.transaction((tx) => tx.query('INSERT INTO item (id, n, der) VALUES (?, ?, ?)', 'c', 0, der.subarray(3, 5)))
      assert.deepEqual(await db.query('SELECT id, n, der, state FROM item ORDER BY id'), [
        { id: 'a', n: Number.MAX_SAFE_INTEGER, der, state },
        { id: 'b', n: -1, der: new Uint8Array(0), state: null },
        { id: 'c', n: 0, der: Uint8Array.of(3, 4), state: null },
      ])
      const [spelled] = await db.query<{ spelled: string }>("SELECT hex(der) AS spelled FROM item WHERE id = 'c'")
      assert.equal(spelled?.spelled.toLowerCase(), '0304')
      assert.deepEqual(await db.query('SELECT count(*) AS all_of_them, SUM(n) AS total FROM item WHERE n < ?', 1), [
        { all_of_them: 2, total: -1 },
      ])
    })

    on('question marks in quotes and comments are not parameters', async (db) => {
      const rows = await db.query(`SELECT '?''?' AS "what?", CAST(? AS INTEGER) AS n -- and ?\n /* ? */`, 2 ** 40)
      assert.deepEqual(rows, [{ 'what?': "?'?", n: 2 ** 40 }])
    })

    on('ON CONFLICT and RETURNING work', async (db) => {
      const upsert = (n: number) =>
        db.transaction((tx) =>
          tx.query("INSERT INTO item (id, n) VALUES ('a', ?) ON CONFLICT (id) DO UPDATE SET n = excluded.n RETURNING n", n),
        )
      assert.deepEqual(await upsert(1), [{ n: 1 }])
      assert.deepEqual(await upsert(2), [{ n: 2 }])
    })

    on('a number that the engine gives grows and is never given again', async (db) => {
      const add = (text: string) =>
        db.transaction(async (tx) => {
          const [row] = await tx.query<{ sequence: number }>('INSERT INTO line (text) VALUES (?) RETURNING sequence', text)
          return row?.sequence ?? 0
        })
      const first = await add('one')
      const second = await add('two')
      assert.ok(second > first)
      await db.transaction((tx) => tx.query('DELETE FROM line'))
      assert.ok((await add('three')) > second)
    })

    on('a second row with the same key is a conflict that names table and columns', async (db) => {
      await db.transaction((tx) => put(tx, 'a', 1, 'active'))
      await db.transaction((tx) => tx.query("INSERT INTO part (item_id, name) VALUES ('a', 'lid')"))
      const duplicate = db.transaction((tx) => put(tx, 'a', 2))
      await assert.rejects(duplicate, (error) => isDuplicate(error, 'item', 'id') && !isDuplicate(error, 'part'))
      const pair = db.transaction((tx) => tx.query("INSERT INTO part (item_id, name) VALUES ('a', 'lid')"))
      await assert.rejects(pair, (error) => isDuplicate(error, 'part', 'item_id, name') && error.code === 'conflict')
      const partial = db.transaction((tx) => put(tx, 'b', 1, 'active'))
      await assert.rejects(partial, (error) => isDuplicate(error, 'item', 'n'))
      await db.transaction((tx) => put(tx, 'c', 1, 'retired')) // outside the partial index
      assert.deepEqual(await ids(db), ['a', 'c'])
    })

    on('a reference to nothing is a conflict', async (db) => {
      const orphan = db.transaction((tx) => tx.query("INSERT INTO part (item_id, name) VALUES ('none', 'lid')"))
      await assert.rejects(orphan, refusal('conflict', 'missingReference'))
    })

    on('after a failed statement a transaction can only be undone, even if its work goes on', async (db) => {
      await db.transaction((tx) => put(tx, 'a', 1))
      const stubborn = db.transaction(async (tx) => {
        await put(tx, 'b', 2)
        await assert.rejects(put(tx, 'a', 3))
        await assert.rejects(put(tx, 'c', 4))
      })
      await assert.rejects(stubborn, (error) => isDuplicate(error, 'item'))
      const silent = db.transaction(async (tx) => {
        await put(tx, 'd', 5)
        await put(tx, 'a', 6).catch(() => {})
      })
      await assert.rejects(silent, (error) => isDuplicate(error, 'item'))
      assert.deepEqual(await ids(db), ['a'])
    })

    on('a transaction inside a transaction is refused, not waited for', async (db) => {
      const nested = db.transaction(async (tx) => {
        await put(tx, 'a', 1)
        await db.transaction((inner) => put(inner, 'b', 2))
      })
      await assert.rejects(nested, TypeError)
      assert.deepEqual(await ids(db), [])
    })

    on('a transaction object is dead when its work is over', async (db) => {
      let kept: Transaction | undefined
      await db.transaction(async (tx) => {
        kept = tx
      })
      await assert.rejects(async () => kept?.query('SELECT 1'), TypeError)
    })

    on('a work that waits for something else is given up, and those behind it get through', async (_, open) => {
      const db = open(50)
      const stuck = db.transaction(async (tx) => {
        await put(tx, 'stuck', 1)
        await new Promise(() => {})
      })
      const behind = db.transaction((tx) => put(tx, 'behind', 2))
      await assert.rejects(stuck, refusal('unavailable', 'transactionTooLong'))
      await behind
      assert.deepEqual(await ids(db), ['behind'])
    })

    on('a work that goes on running statements is not given up', async (_, open) => {
      const db = open(20)
      await db.transaction(async (tx) => {
        for (let i = 0; i < 20; i++) {
          await put(tx, `k${i}`, i)
          await new Promise((resolve) => setTimeout(resolve, 5))
        }
      })
      assert.equal((await ids(db)).length, 20)
    })

    on('many rows at once are all kept, or none', async (db) => {
      const rows = Array.from({ length: 1237 }, (_, i) => [`r${i}`, i, Uint8Array.of(i & 255)])
      await db.transaction((tx) => tx.insertMany('item', ['id', 'n', 'der'], rows))
      await db.transaction((tx) => tx.insertMany('item', ['id', 'n', 'der'], []))
      assert.deepEqual(await db.query('SELECT count(*) AS rows, SUM(n) AS total FROM item'), [
        { rows: 1237, total: (1236 * 1237) / 2 },
      ])
      assert.deepEqual(await db.query("SELECT n, der FROM item WHERE id = 'r300'"), [{ n: 300, der: Uint8Array.of(44) }])
      const half = [...rows.map(([id, n, der]) => [`x${String(id)}`, n ?? 0, der ?? null]), ['r7', 0, null]]
      await assert.rejects(
        db.transaction((tx) => tx.insertMany('item', ['id', 'n', 'der'], half)),
        (error) => isDuplicate(error, 'item'),
      )
      assert.equal((await ids(db)).length, 1237)
    })

    on('a stream gives all rows as they were at its start, and others go on meanwhile', async (db) => {
      const rows = Array.from({ length: 3000 }, (_, i) => [`r${String(i).padStart(4, '0')}`, i])
      await db.transaction((tx) => tx.insertMany('item', ['id', 'n'], rows))
      let next = 0
      for await (const row of db.iterate<{ n: number }>('SELECT n FROM item WHERE n >= ? ORDER BY id', 0)) {
        assert.equal(row.n, next++)
        if (next === 10) {
          await db.transaction((tx) => tx.query('DELETE FROM item WHERE n > 100'))
          assert.equal((await ids(db)).length, 101)
        }
      }
      assert.equal(next, 3000)
    })

    on('a stream that is left early frees what it held', async (db) => {
      const rows = Array.from({ length: 1000 }, (_, i) => [`r${i}`, i])
      await db.transaction((tx) => tx.insertMany('item', ['id', 'n'], rows))
      for (let i = 0; i < 40; i++) {
        for await (const row of db.iterate('SELECT n FROM item')) {
          assert.ok(row)
          break
        }
      }
      await assert.rejects(async () => {
        for await (const row of db.iterate('SELECT nothing FROM item')) assert.fail(`a row: ${JSON.stringify(row)}`)
      })
      assert.equal((await ids(db)).length, 1000)
    })

    on('a snapshot shows one state of all tables, and others go on meanwhile', async (db) => {
      const rows = Array.from({ length: 2500 }, (_, i) => [`r${String(i).padStart(4, '0')}`, i])
      await db.transaction((tx) => tx.insertMany('item', ['id', 'n'], rows))
      const seen = await db.snapshot(async (snapshot) => {
        const tables = await snapshot.tables()
        await db.transaction((tx) => tx.query('DELETE FROM item WHERE n >= 7'))
        let count = 0
        for await (const { n } of snapshot.iterate<{ n: number }>('SELECT n FROM item WHERE n >= ? ORDER BY id', 0)) {
          assert.equal(n, count++)
          if (count === 1000) await db.transaction((tx) => tx.query('DELETE FROM item WHERE n > 3'))
        }
        const again = await Array.fromAsync(snapshot.iterate('SELECT n FROM item'))
        return { tables, count, again: again.length }
      })
      assert.deepEqual([seen.count, seen.again], [2500, 2500])
      const item = seen.tables.find(({ name }) => name === 'item')
      assert.deepEqual(item?.columns, ['id', 'n', 'der', 'state'])
      assert.ok(seen.tables.every(({ name }) => !/^(sqlite|pg)_/.test(name)))
      assert.equal((await ids(db)).length, 4)
      const failure = new Error('the reader failed')
      await assert.rejects(
        db.snapshot(() => Promise.reject(failure)),
        failure,
      )
    })

    on('closing lets accepted work finish and refuses what comes after', async (db, open) => {
      const closing = open()
      const accepted = Promise.all(Array.from({ length: 20 }, (_, i) => closing.transaction((tx) => put(tx, `k${i}`, i))))
      const closed = closing.close()
      await assert.rejects(
        closing.transaction((tx) => put(tx, 'late', 0)),
        refusal('unavailable', 'databaseClosed'),
      )
      await assert.rejects(closing.query('SELECT 1'), refusal('unavailable', 'databaseClosed'))
      await Promise.all([accepted, closed, closing.close()])
      assert.equal((await ids(db)).length, 20)
    })

    on('migrations run once, though several processes start at once', async (_, open) => {
      const more: Migration = {
        id: '0002-test-more',
        statements: ['ALTER TABLE item ADD COLUMN extra INTEGER', 'CREATE TABLE more (id TEXT PRIMARY KEY)'],
      }
      const starting = [open(), open(), open()]
      const ran = await Promise.all(starting.map((db) => migrate(db, [more, ...schema], systemWorld())))
      assert.deepEqual(ran.flat(), [more.id])
    })

    on('a migration that fails leaves nothing behind and may be mended', async (db) => {
      const broken = { id: '0002-test-broken', statements: ['CREATE TABLE half (id TEXT)', 'CREATE TABLE half (id TEXT)'] }
      await assert.rejects(migrate(db, [...schema, broken], systemWorld()))
      const mended = { id: broken.id, statements: ['CREATE TABLE half (id TEXT)'] }
      assert.deepEqual(await migrate(db, [...schema, mended], systemWorld()), [broken.id])
    })

    on('a database of a newer build, or an edited migration, is refused', async (db) => {
      await assert.rejects(migrate(db, [], systemWorld()), refusal('conflict', 'databaseNewer'))
      const edited = schema.map((each) => ({ ...each, statements: [...each.statements, 'SELECT 1'] }))
      await assert.rejects(migrate(db, edited, systemWorld()), refusal('conflict', 'migrationEdited'))
    })

    on('text sorts by its octets', async (db) => {
      const rows = ['b', 'B', 'ä', 'a', 'Z', '-', 'a-b', 'aa'].map((id, n) => [id, n])
      await db.transaction((tx) => tx.insertMany('item', ['id', 'n'], rows))
      assert.deepEqual(await ids(db), ['-', 'B', 'Z', 'a', 'a-b', 'aa', 'b', 'ä'])
    })

    on('a lease has one holder until it ends, and a new token with each takeover', async (db, open) => {
      await migrate(db, [...schema, ...storeMigrations], systemWorld())
      const other = open()
      const world = worldAt(1000)
      const lease = await acquireLease(db, world, { name: 'work', holder: 'one', seconds: 10 })
      assert.deepEqual(lease, { name: 'work', token: 1, expiresAt: 11_000 })
      assert.equal(await acquireLease(other, world, { name: 'work', holder: 'two', seconds: 10 }), undefined)
      assert.ok(await acquireLease(other, world, { name: 'other work', holder: 'two', seconds: 10 }))

      world.clock.time = 9000
      const renewed = await renewLease(db, world, lease, 10)
      assert.equal(renewed?.expiresAt, 19_000)
      world.clock.time = 11_000
      assert.equal(await acquireLease(other, world, { name: 'work', holder: 'two', seconds: 10 }), undefined)

      world.clock.time = 19_000
      const taken = await acquireLease(other, world, { name: 'work', holder: 'two', seconds: 10 })
      assert.equal(taken?.token, 2)
      assert.equal(await renewLease(db, world, renewed, 10), undefined)
      await releaseLease(db, renewed) // no longer its to release
      assert.equal(await acquireLease(db, world, { name: 'work', holder: 'one', seconds: 10 }), undefined)
      await releaseLease(other, taken)
      assert.equal((await acquireLease(db, world, { name: 'work', holder: 'one', seconds: 10 }))?.token, 3)
    })

    on('a holder that was paused cannot write after its successor began', async (db, open) => {
      await migrate(db, [...schema, ...storeMigrations], systemWorld())
      const other = open()
      const world = worldAt(0)
      const lease = await acquireLease(db, world, { name: 'work', holder: 'one', seconds: 1 })
      assert.ok(lease)
      await db.transaction(async (tx) => {
        await checkLease(tx, lease)
        await put(tx, 'one', 1)
      })
      world.clock.time = 1000
      assert.ok(await acquireLease(other, world, { name: 'work', holder: 'two', seconds: 1 }))
      const late = db.transaction(async (tx) => {
        await checkLease(tx, lease)
        await put(tx, 'late', 2)
      })
      await assert.rejects(late, refusal('conflict', 'leaseLost'))
      assert.deepEqual(await ids(db), ['one'])
    })

    on('several that want a lease at once: one gets it', async (db, open) => {
      await migrate(db, [...schema, ...storeMigrations], systemWorld())
      const other = open()
      const world = worldAt(0)
      const all = await Promise.all(
        Array.from({ length: 20 }, (_, i) =>
          acquireLease(i % 2 === 0 ? db : other, world, { name: 'work', holder: `h${i}`, seconds: 1 }),
        ),
      )
      assert.equal(all.filter((lease) => lease !== undefined).length, 1)
    })

    on('a follower of the outbox reads every committed message once and in order', async (db, open) => {
      await migrate(db, [...schema, ...storeMigrations], systemWorld())
      const other = open()
      const world = systemWorld()
      const seen: number[] = []
      let cursor = 0
      const follow = async (): Promise<void> => {
        await Promise.all([sequenceOutbox(db, 37), sequenceOutbox(other, 37)])
        for (const message of await readAfter(db, cursor, 50)) {
          assert.equal(message.sequence, cursor + 1)
          cursor = message.sequence
          seen.push((message.payload as { n: number }).n)
          assert.deepEqual([message.topic, message.organization], ['item.put', 'default'])
        }
      }
      const send = (at: Database, n: number) =>
        at.transaction(async (tx) => {
          await publish(tx, world, { topic: 'item.put', organization: 'default', payload: { n } })
          if (n % 5 === 0) throw new Error('not sent')
        })
      const sending = Promise.allSettled(Array.from({ length: 300 }, (_, n) => send(n % 2 === 0 ? db : other, n)))
      for (let i = 0; i < 5; i++) await follow()
      await sending
      while (seen.length < 240) await follow()
      const sent = Array.from({ length: 300 }, (_, n) => n).filter((n) => n % 5 !== 0)
      assert.deepEqual(
        seen.toSorted((a, b) => a - b),
        sent,
      )
      await pruneOutbox(db, world)
      assert.equal((await readAfter(db, 0)).length, 240, 'none is a week old')
      await send(db, 301) // has no number yet, so nobody has read it
      await pruneOutbox(db, { clock: { now: () => world.clock.now() + 8 * 86_400_000 } })
      assert.deepEqual(await readAfter(db, 0), [])
      await follow()
      assert.equal(cursor, 241)
    })
  })
}
