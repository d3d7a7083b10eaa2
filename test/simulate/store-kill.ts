/**
 * Kills and pauses processes that issue under load, starts them again, and looks whether anything was lost or doubled.
 *
 * `node test/simulate/store-kill.ts --seconds 60 --seed 7` runs it for long: SQLite with one process, PostgreSQL with
 * two, each undisturbed and killed, with and without a row that all writers change.
 *
 * @module
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { systemWorld } from '#base/world.ts'
import type { Database } from '#store/database.ts'
import { migrate } from '#store/migrate.ts'
import { storeMigrations } from '#store/migrations.ts'
import { sequenceOutbox } from '#store/outbox.ts'
import { startPostgres } from '#store/postgres/testing.ts'
import { openDatabase } from '#store/registry.ts'
import { ORDER, simulationMigrations } from './schema.ts'

export interface Simulation {
  readonly url: string
  readonly processes: number
  readonly seconds: number
  readonly seed: number
  /** Whether processes are killed and paused, or left alone. */
  readonly disturbed: boolean
  /** Whether an order's row counts each certificate. */
  readonly counted: boolean
}

export interface Outcome {
  readonly perSecond: number
  readonly acknowledged: number
  readonly refused: number
  readonly unavailable: number
  readonly kills: number
  readonly pauses: number
  /** Works of a paused sequencer that its successor's lease kept from writing. */
  readonly fenced: number
  /** Kept, though the process was killed before it could say so. */
  readonly unacknowledged: number
  /** Empty when nothing was lost or doubled. */
  readonly problems: readonly string[]
}

interface Spoken {
  readonly kept: Set<string>
  readonly refused: Set<string>
  unavailable: number
  fenced: number
}

/** Longer than the sequencer's lease, so that another process takes over meanwhile. */
const PAUSE_MILLISECONDS = 1500

export async function simulate(simulation: Simulation): Promise<Outcome> {
  const { url, seconds, disturbed, counted } = simulation
  const random = seeded(simulation.seed)
  const setUp = openDatabase(url)
  await migrate(setUp, [...storeMigrations, ...simulationMigrations], systemWorld())
  await setUp.transaction((tx) => tx.query('INSERT INTO sim_order (id, used, allowed) VALUES (?, 0, ?)', ORDER, 1e9))
  await setUp.close()

  const spoken: Spoken = { kept: new Set(), refused: new Set(), unavailable: 0, fenced: 0 }
  const failures: string[] = []
  const start = (i: number): Promise<Worker> => startWorker(`worker${i}`, simulation, spoken, failures)
  const workers = await Promise.all(Array.from({ length: simulation.processes }, (_, i) => start(i)))

  const began = performance.now()
  const left = (): number => seconds * 1000 - (performance.now() - began)
  let kills = 0
  let pauses = 0
  while (left() > 0) {
    await delay(Math.max(0, Math.min(left(), disturbed ? 100 + random() * 500 : seconds * 1000)))
    if (!disturbed || left() <= 0) continue
    const victim = Math.floor(random() * workers.length)
    const worker = workers[victim]
    if (worker === undefined) continue
    if (simulation.processes > 1 && random() < 0.2 && left() > PAUSE_MILLISECONDS) {
      pauses++
      worker.process.kill('SIGSTOP')
      await delay(PAUSE_MILLISECONDS)
      worker.process.kill('SIGCONT')
    } else {
      kills++
      worker.process.kill('SIGKILL')
      await worker.ended
      workers[victim] = await start(victim)
    }
  }
  const elapsed = performance.now() - began
  const acknowledged = spoken.kept.size
  for (const worker of workers) worker.process.kill('SIGTERM')
  await Promise.all(workers.map(({ ended }) => ended))

  const db = openDatabase(url)
  try {
    const { problems, certificates } = await check(db, spoken, counted)
    return {
      perSecond: Math.round(acknowledged / (elapsed / 1000)),
      acknowledged: spoken.kept.size,
      refused: spoken.refused.size,
      unavailable: spoken.unavailable,
      kills,
      pauses,
      fenced: spoken.fenced,
      unacknowledged: certificates - spoken.kept.size,
      problems: [...failures, ...problems],
    }
  } finally {
    await db.close()
  }
}

/** What the same machine does at the same moment when nothing shares a commit: transactions one after the other, each 3 rows. */
async function oneByOnePerSecond(url: string): Promise<number> {
  const db = openDatabase(url)
  try {
    await db.transaction((tx) => tx.query('CREATE TABLE sim_bare (id TEXT PRIMARY KEY, der BLOB NOT NULL)'))
    const began = performance.now()
    let done = 0
    for (; performance.now() - began < 1000; done++) {
      await db.transaction(async (tx) => {
        for (const name of ['a', 'b', 'c']) {
          await tx.query('INSERT INTO sim_bare (id, der) VALUES (?, ?)', `${done}${name}`, new Uint8Array(300))
        }
      })
    }
    return Math.round(done / ((performance.now() - began) / 1000))
  } finally {
    await db.close()
  }
}

/** @returns what is wrong with the rows, given what the processes were told */
export async function check(
  db: Database,
  { kept, refused }: Pick<Spoken, 'kept' | 'refused'>,
  counted: boolean,
): Promise<{ readonly problems: readonly string[]; readonly certificates: number }> {
  const problems: string[] = []
  const ids = new Set<string>()
  const serials = new Set<string>()
  for await (const row of db.iterate<{ id: string; serial_number: string }>('SELECT id, serial_number FROM sim_certificate')) {
    ids.add(row.id)
    if (serials.has(row.serial_number)) problems.push(`serial number ${row.serial_number} twice`)
    serials.add(row.serial_number)
  }
  for (const serial of kept) if (!serials.has(serial)) problems.push(`acknowledged certificate ${serial} lost`)
  for (const serial of refused) if (serials.has(serial)) problems.push(`refused certificate ${serial} kept`)

  const audited = new Set<string>()
  const indexes: number[] = []
  for await (const row of db.iterate<{ object: string; log_index: number | null }>(
    'SELECT object, log_index FROM sim_audit_entry',
  )) {
    if (audited.has(row.object)) problems.push(`two audit entries for ${row.object}`)
    if (!ids.has(row.object)) problems.push(`audit entry without its certificate ${row.object}`)
    audited.add(row.object)
    if (row.log_index !== null) indexes.push(row.log_index)
  }
  for (const id of ids) if (!audited.has(id)) problems.push(`certificate ${id} without its audit entry`)
  contiguous(indexes, 0, 'log index', problems)

  while ((await sequenceOutbox(db)) > 0);
  const published = new Set<string>()
  const sequences: number[] = []
  for await (const row of db.iterate<{ sequence: number; payload: string }>('SELECT sequence, payload FROM outbox')) {
    const { id } = JSON.parse(row.payload) as { id: string }
    if (published.has(id)) problems.push(`certificate ${id} published twice`)
    published.add(id)
    sequences.push(row.sequence)
  }
  if (published.size !== ids.size || ids.difference(published).size > 0) problems.push('outbox and certificates differ')
  contiguous(sequences, 1, 'outbox sequence', problems)

  const [order] = await db.query<{ used: number }>('SELECT used FROM sim_order WHERE id = ?', ORDER)
  if (counted && order?.used !== ids.size) problems.push(`the order counts ${order?.used} of ${ids.size} certificates`)
  return { problems, certificates: ids.size }
}

function contiguous(numbers: readonly number[], first: number, what: string, problems: string[]): void {
  numbers
    .toSorted((a, b) => a - b)
    .forEach((number, i) => {
      if (number !== first + i && problems.length < 100) problems.push(`${what} ${number} where ${first + i} was due`)
    })
}

interface Worker {
  readonly process: ChildProcess
  readonly ended: Promise<void>
}

async function startWorker(name: string, { url, counted }: Simulation, spoken: Spoken, failures: string[]): Promise<Worker> {
  const program = join(import.meta.dirname, 'issue-worker.ts')
  const child = spawn(process.execPath, [program, url, name, '32', counted ? 'counted' : 'free'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let complaint = ''
  child.stderr.on('data', (chunk) => (complaint += String(chunk)))
  const lines = createInterface({ input: child.stdout })
  const exited = Promise.withResolvers<void>()
  child.once('exit', (code, signal) => {
    if (code !== 0 && signal !== 'SIGKILL') failures.push(`${name} ended with ${code ?? signal}: ${complaint}`)
    exited.resolve()
  })
  const read = new Promise<void>((resolve) => lines.once('close', resolve))
  const ready = Promise.withResolvers<void>()
  lines.on('line', (line) => {
    const [word, value = ''] = line.split(' ')
    if (word === 'ready') ready.resolve()
    else if (word === 'kept') spoken.kept.add(value)
    else if (word === 'refused') spoken.refused.add(value)
    else if (word === 'unavailable') spoken.unavailable++
    else if (word === 'fenced') spoken.fenced++
  })
  const ended = Promise.all([exited.promise, read]).then(() => {})
  await Promise.race([ready.promise, ended])
  return { process: child, ended }
}

/** A small seeded generator (mulberry32): the same seed kills the same processes after the same waits. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: { seconds: { type: 'string', default: '20' }, seed: { type: 'string', default: '1' }, engine: { type: 'string' } },
  })
  const directory = await mkdtemp(join(tmpdir(), 'sealworks-simulate-'))
  const server = values.engine === 'sqlite' ? undefined : await startPostgres()
  let wrong = 0
  try {
    for (const [engine, processes] of [
      ['sqlite', 1],
      ['postgres', 1],
      ['postgres', 2],
    ] as const) {
      if (values.engine !== undefined && values.engine !== engine) continue
      for (const counted of [false, true]) {
        for (const disturbed of [false, true]) {
          const name = `${engine}${processes}${counted}${disturbed}`
          const url =
            engine === 'sqlite' || server === undefined
              ? `sqlite:${join(await mkdtemp(join(directory, name)), 'a.db')}`
              : await server.createDatabase()
          const simulation = { url, processes, seconds: Number(values.seconds), seed: Number(values.seed), disturbed, counted }
          const oneByOne = await oneByOnePerSecond(url)
          const outcome = await simulate(simulation)
          wrong += outcome.problems.length
          console.log(
            JSON.stringify({
              engine,
              processes,
              counted,
              disturbed,
              oneByOne,
              ...outcome,
              problems: outcome.problems.slice(0, 5),
            }),
          )
        }
      }
    }
  } finally {
    await server?.stop()
    await rm(directory, { recursive: true })
  }
  process.exitCode = wrong === 0 ? 0 : 1
}
