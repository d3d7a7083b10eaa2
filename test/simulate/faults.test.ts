/** What a server needs goes away under load and comes back: everyone is told when to ask again, and nothing is half done. */
import assert from 'node:assert/strict'
import { closeSync, mkdirSync, openSync, rmSync, writeSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { postgresMissing, startPostgres } from '#store/postgres/testing.ts'
import { diskMissing, makeDisk } from '../power/disk.ts'
import { folder, IDLE, suffer } from './faults.ts'
import { installFor } from './server-kill.ts'
import { runProduct } from './server-process.ts'
import { openSocketLine } from './socket-line.ts'

test('R22: a full disk refuses, and room brings the service back', { skip: diskMissing() }, async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'sealworks-fault-'))
  const disk = await makeDisk(directory, 72, 64 << 20)
  t.after(async () => {
    await disk.remove()
    await rm(directory, { recursive: true })
  })
  const dataDirectory = join(disk.folder, 'data')
  mkdirSync(dataDirectory)
  const filler = join(disk.folder, 'filler')
  await suffer({ simulation: {}, dataDirectory, begin: () => fill(filler), end: () => rmSync(filler) })
})

/** To the last octet. */
function fill(path: string): void {
  const file = openSync(path, 'w')
  try {
    for (let octets = 1 << 20; octets >= 1;) {
      try {
        writeSync(file, Buffer.alloc(octets))
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
        octets >>= 1
      }
    }
  } finally {
    closeSync(file)
  }
}

test('R22: a database that crashes refuses, and its return brings the service back', { skip: postgresMissing() }, async (t) => {
  const postgres = await startPostgres()
  t.after(postgres.stop)
  const database = await postgres.createDatabase()
  await suffer({
    simulation: { database, workers: 2 },
    dataDirectory: await folder(t),
    begin: postgres.halt,
    end: postgres.restart,
  })
})

test('R22: a line to the database that stands still and breaks', { skip: postgresMissing() }, async (t) => {
  const postgres = await startPostgres()
  t.after(postgres.stop)
  const line = await openSocketLine(await postgres.createDatabase())
  t.after(line.close)
  await suffer({
    simulation: { database: line.url },
    dataDirectory: await folder(t),
    async begin() {
      line.stall()
      await delay(1500)
      line.mend()
      await delay(200)
      line.stall()
      await delay(500)
      line.cut()
    },
    end: line.mend,
  })
})

test('R22: doctor finds a PostgreSQL that does not wait for the disk', { skip: postgresMissing() }, async (t) => {
  for (const durable of [false, true]) {
    const postgres = await startPostgres({ durable })
    t.after(postgres.stop)
    const directory = await folder(t)
    await installFor({ ...IDLE, database: await postgres.createDatabase() }, directory)
    const { stdout } = await runProduct(['doctor', '--json', '--data', directory]).catch(
      (error: unknown) => error as { stdout: string },
    )
    const { findings } = JSON.parse(stdout) as { findings: readonly { check: string; state: string; detail: string }[] }
    const found = findings.find(({ check }) => check === 'durability')
    assert.deepEqual([found?.state, found?.detail.includes('fsync')], durable ? ['good', false] : ['bad', true])
  }
})
