/** Two thousand births over as many connections, killed again and again: `npm run test:long`. */
import { test } from 'node:test'
import { postgresMissing } from '#store/postgres/testing.ts'
import { BIRTHS, killedBurst, killedBurstOnPostgres } from './server-burst.ts'

for (const workers of [0, 2]) {
  const burst = { workers, connections: BIRTHS, kills: 4 }
  test(`R8: kills amid ${BIRTHS} connections on SQLite, ${workers} threads`, () => killedBurst(burst))
  test(`R8: the same on PostgreSQL, ${workers} threads`, { skip: postgresMissing() }, () => killedBurstOnPostgres(burst))
}
