/** Killed amid two thousand births that were asked for at once, on each store; `server-burst.long.test.ts` has more of it. */
import { test } from 'node:test'
import { postgresMissing } from '#store/postgres/testing.ts'
import { BIRTHS, killedBurst, killedBurstOnPostgres } from './server-burst.ts'

test(`R8: a kill amid ${BIRTHS} enrollments at once on SQLite`, () => killedBurst({ workers: 0, connections: 64, kills: 1 }))

test(`R8: the same on PostgreSQL, with two threads that take connections`, { skip: postgresMissing() }, () =>
  killedBurstOnPostgres({ workers: 2, connections: 64, kills: 1 }),
)
