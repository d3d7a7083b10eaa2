/** A line to the database that says nothing for longer than anything waits: `npm run test:long`. */
import { test } from 'node:test'
import { postgresMissing, startPostgres } from '#store/postgres/testing.ts'
import { folder, suffer } from './faults.ts'
import { openSocketLine } from './socket-line.ts'

for (const workers of [0, 2]) {
  test(`R22: a silent line to the database, ${workers} threads`, { skip: postgresMissing() }, async (t) => {
    const postgres = await startPostgres()
    t.after(postgres.stop)
    const line = await openSocketLine(await postgres.createDatabase())
    t.after(line.close)
    await suffer({
      simulation: { database: line.url, workers, answerWithinSeconds: 110 },
      refusedWithinMilliseconds: 100_000,
      lostMax: 12, // the REST client waits as long as a statement may take, one minute: who comes first is chance
      dataDirectory: await folder(t),
      begin: line.stall,
      end: line.mend,
    })
  })
}
