/** Two thousand births asked for at once, and the server killed amid them. @module */
import assert from 'node:assert/strict'
import { startPostgres } from '#store/postgres/testing.ts'
import { killAmid, simulate } from './server-kill.ts'

export const BIRTHS = 2000

export interface Burst {
  /** Threads of the server that take connections. */
  readonly workers: number
  /** Of the station, so how many births are on the wire at a time. */
  readonly connections: number
  readonly kills: number
  /** URL of a PostgreSQL database; a file of its own unless told. */
  readonly database?: string
}

export async function killedBurst({ workers, connections, kills, database }: Burst): Promise<void> {
  const outcome = await simulate({
    seconds: 0,
    seed: 30 + workers,
    lines: 0,
    burst: { births: BIRTHS, connections },
    stop: killAmid(BIRTHS, kills),
    workers,
    ...(database !== undefined && { database }),
  })
  assert.deepEqual(outcome.problems, [])
  assert.equal(outcome.certificates, BIRTHS)
  assert.equal(outcome.kills, kills)
  assert.ok(outcome.lost > 0, 'nobody was disturbed')
}

export async function killedBurstOnPostgres(burst: Omit<Burst, 'database'>): Promise<void> {
  const postgres = await startPostgres()
  try {
    await killedBurst({ ...burst, database: await postgres.createDatabase() })
  } finally {
    await postgres.stop()
  }
}
