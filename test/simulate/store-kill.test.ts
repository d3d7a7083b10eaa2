/** Processes killed while they issue lose and double nothing: a few seconds of what `store-kill.ts` runs for long. */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { systemWorld } from '#base/world.ts'
import { migrate } from '#store/migrate.ts'
import { storeMigrations } from '#store/migrations.ts'
import { postgresMissing, startPostgres } from '#store/postgres/testing.ts'
import { sqlite } from '#store/sqlite/index.ts'
import { simulationMigrations } from './schema.ts'
import { check, type Outcome, simulate } from './store-kill.ts'

function assertWhole(outcome: Outcome): void {
  assert.deepEqual(outcome.problems, [])
  assert.ok(outcome.kills > 0, 'no process was killed')
  assert.ok(outcome.acknowledged > 0 && outcome.refused > 0, 'nothing was issued or refused')
}

test('SQLite: a killed and restarted process loses and doubles nothing', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'sealworks-kill-'))
  t.after(() => rm(directory, { recursive: true }))
  const url = `sqlite:${join(directory, 'a.db')}`
  assertWhole(await simulate({ url, processes: 1, seconds: 3, seed: 11, disturbed: true, counted: true }))
})

test('PostgreSQL: two processes, killed and paused, lose and double nothing', { skip: postgresMissing() }, async (t) => {
  const server = await startPostgres()
  t.after(server.stop)
  const disturbance = { processes: 2, seconds: 5, disturbed: true }
  assertWhole(await simulate({ ...disturbance, url: await server.createDatabase(), seed: 12, counted: false }))
  assertWhole(await simulate({ ...disturbance, url: await server.createDatabase(), seed: 13, counted: true }))
})

test('the check finds what is missing or there twice', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'sealworks-kill-'))
  const db = sqlite({ path: join(directory, 'a.db') })
  t.after(async () => {
    await db.close()
    await rm(directory, { recursive: true })
  })
  await migrate(db, [...storeMigrations, ...simulationMigrations], systemWorld())
  await db.transaction(async (tx) => {
    await tx.query("INSERT INTO sim_order (id, used, allowed) VALUES ('order', 2, 9)")
    for (const name of ['a', 'b', 'c']) {
      await tx.query('INSERT INTO sim_certificate (id, serial_number, der) VALUES (?, ?, ?)', name, `s${name}`, Uint8Array.of(1))
    }
    for (const [id, object, index] of [
      ['1', 'a', 0],
      ['2', 'a', 2],
      ['3', 'x', null],
    ] as const) {
      await tx.query('INSERT INTO sim_audit_entry (id, object, log_index) VALUES (?, ?, ?)', id, object, index)
    }
  })
  const { problems } = await check(db, { kept: new Set(['sa', 'lost']), refused: new Set(['sb']) }, true)
  assert.deepEqual(problems, [
    'acknowledged certificate lost lost',
    'refused certificate sb kept',
    'two audit entries for a',
    'audit entry without its certificate x',
    'certificate b without its audit entry',
    'certificate c without its audit entry',
    'log index 2 where 1 was due',
    'outbox and certificates differ',
    'the order counts 2 of 3 certificates',
  ])
})
