/** Killed amid two thousand births that were asked for at once, on each store and with each kind of listener. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { postgresMissing, startPostgres } from '#store/postgres/testing.ts'
import { killAmid, simulate } from './server-kill.ts'

const BIRTHS = 2000
const CONNECTIONS = 64
const KILLS = 2

async function burst(workers: number, database?: string): Promise<void> {
  const outcome = await simulate({
    seconds: 0,
    seed: 30 + workers,
    lines: 0,
    burst: { births: BIRTHS, connections: CONNECTIONS },
    stop: killAmid(BIRTHS, KILLS),
    workers,
    ...(database !== undefined && { database }),
  })
  assert.deepEqual(outcome.problems, [])
  assert.equal(outcome.certificates, BIRTHS)
  assert.equal(outcome.kills, KILLS)
  assert.ok(outcome.lost > 0, 'nobody was disturbed')
}

for (const workers of [0, 2]) {
  test(`R8: a kill amid ${BIRTHS} enrollments at once on SQLite, ${workers} threads`, () => burst(workers))

  test(`R8: the same on PostgreSQL, ${workers} threads`, { skip: postgresMissing() }, async (t) => {
    const postgres = await startPostgres()
    t.after(postgres.stop)
    await burst(workers, await postgres.createDatabase())
  })
}
