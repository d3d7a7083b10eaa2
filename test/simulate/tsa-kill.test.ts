/** R7: processes that are killed while they stamp leave no token without its audit entry, and no serial number or time twice. @module */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { systemWorld } from '#base/world.ts'
import { openTestSigning, testAuthority, tspMigrations } from '#signing/tsp/testing.ts'
import type { Database } from '#store/database.ts'
import { migrate } from '#store/migrate.ts'
import { postgresMissing, startPostgres } from '#store/postgres/testing.ts'
import { openDatabase } from '#store/registry.ts'
import { seeded } from './store-kill.ts'

const WORKER = join(import.meta.dirname, 'tsa-worker.ts')
const GIVEN_LEAST = 3

interface Given {
  readonly name: string
  readonly serial: string
  readonly time: number
  readonly entry: string
}

/** Each life of a process ends by SIGKILL some time after its first tokens. */
async function killed(url: string, lives: number, random: () => number): Promise<readonly Given[]> {
  const given: Given[] = []
  for (let life = 0; life < lives; life++) {
    const child = spawn(process.execPath, [WORKER, url], { stdio: ['ignore', 'pipe', 'inherit'] })
    const lines = createInterface({ input: child.stdout })
    const first = Promise.withResolvers<void>()
    let count = 0
    lines.on('line', (line) => {
      const [name = '', serial = '', time = '', entry = ''] = line.split(' ')
      if (entry.length < 36) return // cut off by the kill
      given.push({ name, serial, time: Number(time), entry })
      if (++count === GIVEN_LEAST) first.resolve()
    })
    const ended = once(child, 'exit')
    await Promise.race([first.promise, ended])
    assert.equal(child.exitCode, null, 'a worker ended by itself')
    await delay(random() * 150)
    child.kill('SIGKILL')
    await ended
    lines.close()
  }
  return given
}

async function play(url: string, processes: number, lives: number, seed: number): Promise<void> {
  const db = openDatabase(url)
  const world = systemWorld()
  await migrate(db, tspMigrations, world)
  const { signing, keys } = await openTestSigning(db, world)
  for (const ordering of [false, true]) {
    const terms = { ordering, accuracyMilliseconds: 5000 }
    await signing.signers.create((await testAuthority(keys, ordering ? 'ordered' : 'time', { terms })).terms, 'person:olga')
  }
  await db.close()
  const all = (await Promise.all(Array.from({ length: processes }, (_, at) => killed(url, lives, seeded(seed + at))))).flat()
  const after = openDatabase(url)
  try {
    await check(after, all)
  } finally {
    await after.close()
  }
}

async function check(db: Database, given: readonly Given[]): Promise<void> {
  const keyOf = ({ name, serial }: Given): string => `${name} ${serial}`
  assert.equal(new Set(given.map(keyOf)).size, given.length, 'a serial number was given out twice')
  const ordered = given.filter(({ name }) => name === 'ordered')
  assert.ok(ordered.length > 0 && ordered.length < given.length)
  assert.equal(new Set(ordered.map(({ time }) => time)).size, ordered.length, 'two ordered tokens have one time')
  const rows = await db.query<{ readonly id: string; readonly facts: string }>(
    "SELECT id, facts FROM audit_entry WHERE act = 'time-stamp.make'",
  )
  const facts = new Map(rows.map((row) => [row.id, row.facts]))
  for (const { entry, serial } of given) assert.ok(facts.get(entry)?.includes(serial), `the token ${serial} is not in the log`)
  // what was recorded and never given out has numbers of its own too
  const serials = rows.map((row) => (JSON.parse(row.facts) as { readonly serialNumber: string }).serialNumber)
  assert.equal(new Set(serials).size, rows.length)
  const [uses] = await db.query<{ readonly n: number }>('SELECT SUM(uses) AS n FROM signer_use')
  assert.equal(Number(uses?.n), rows.length)
}

test('SQLite: one process, killed again and again', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-tsa-kill-'))
  t.after(() => rmSync(directory, { recursive: true }))
  await play(`sqlite:${join(directory, 'a.db')}`, 1, 4, 21)
})

test('PostgreSQL: two processes at once, killed again and again', { skip: postgresMissing() }, async (t) => {
  const server = await startPostgres()
  t.after(server.stop)
  await play(await server.createDatabase(), 2, 2, 22)
})
