/**
 * Cuts the power while a plant works with the server, again and again, and looks whether anything was lost or doubled.
 *
 * `node test/power/power-cut.ts --cuts 50 --seed 7 [--waits no-syncs]` runs it for long. The server's directory lies on a
 * disk that loses what was not flushed (`disk.ts`); the power fails in the middle of a write, at random.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { mkdirSync, statSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { installFor, type Interruption, type Outcome, simulateAt, type Simulation } from '../simulate/server-kill.ts'
import { startServer } from '../simulate/server-process.ts'
import { seeded } from '../simulate/store-kill.ts'
import { type Disk, makeDisk } from './disk.ts'

export interface PowerCuts {
  readonly cuts: number
  readonly seed: number
  /** Products that are made at once. */
  readonly lines: number
  readonly workers?: number
  /** How the server waits for the disk (`weakened.ts`): `often` is as it does, with more checkpoints. */
  readonly waits: 'often' | 'no-syncs' | 'no-log-syncs'
}

export interface PowerOutcome extends Outcome {
  /** Of the cuts, those before the server answered. */
  readonly cutsWhileStarting: number
  /** How often the write-ahead log was seen copied into the database. */
  readonly checkpoints: number
}

/** Writes of 4 kB and more; a group of enrollments takes about ten. */
const WRITES_MAX = 1500
/** The power fails by then, however little is written. */
const CUT_MAX_MILLISECONDS = 2500
/** SQLite writes the database itself only when it copies the log into it. */
const DATABASE_FILE = 'sealworks.db'
const LOOK_MILLISECONDS = 20

export async function powerCuts({ cuts, seed, lines, workers, waits }: PowerCuts): Promise<PowerOutcome> {
  const directory = await mkdtemp(join(tmpdir(), 'sealworks-power-'))
  const disk = await makeDisk(directory, seed)
  try {
    const dataDirectory = join(disk.folder, 'data')
    mkdirSync(dataDirectory)
    const interruption = powerFailures(disk, cuts, seeded(seed))
    const simulation: Simulation = { seconds: 0, seed, lines, stop: interruption, ...(workers !== undefined && { workers }) }
    const installation = await installFor(simulation, dataDirectory)
    const environment = {
      NODE_OPTIONS: `--import ${join(import.meta.dirname, 'weakened.ts')}`,
      SEALWORKS_TEST_DISK: waits,
    }
    const outcome = await simulateAt({ ...installation, environment }, simulation)
    return { ...outcome, cutsWhileStarting: interruption.whileStarting, checkpoints: interruption.copies.size }
  } finally {
    await disk.remove()
    await rm(directory, { recursive: true })
  }
}

/** Shows that the simulation sees losses: certificates that were answered and are gone. */
export async function assertCaught(waits: 'no-syncs' | 'no-log-syncs'): Promise<void> {
  const { problems } = await powerCuts({ cuts: 1, seed: 42, lines: 16, waits })
  const isLoss = (problem: string): boolean => /^received certificate [0-9a-f]+ lost$/.test(problem)
  assert.ok(problems.some(isLoss), `nothing was lost: ${problems.join('; ')}`)
}

function powerFailures(disk: Disk, times: number, random: () => number) {
  const copies = new Set<number>()
  const interruption: Interruption & { whileStarting: number; readonly copies: ReadonlySet<number> } = {
    times,
    whileStarting: 0,
    copies,
    // what was set up is no part of what is tried
    prepare: () => disk.settle(),
    async next(server, installation, isLast) {
      const began = performance.now()
      const most = random() * CUT_MAX_MILLISECONDS
      const isOver = (): boolean => performance.now() - began > most
      while (!isOver() && !(await Promise.race([disk.gone.then(() => true), delay(LOOK_MILLISECONDS, false)]))) {
        const copied = changedAt(join(installation.dataDirectory, DATABASE_FILE))
        if (copied !== undefined) copies.add(copied)
      }
      disk.cut()
      await disk.gone
      server.process.kill('SIGKILL') // without a disk it answers nothing that it did not answer before
      await server.ended
      for (;;) {
        // few writes as often as many: in the first of them the server starts
        if (!(await disk.restore(isLast ? 0 : Math.ceil(random() * random() * WRITES_MAX)))) {
          interruption.whileStarting++
          continue
        }
        const next = startServer(installation)
        const state = await Promise.race([
          next.ready.then(() => 'ready' as const),
          next.ended.then(() => 'ended' as const),
          disk.gone.then(() => 'cut' as const),
        ])
        if (state === 'ready') return next
        const isCut = state === 'cut' || (await Promise.race([disk.gone.then(() => true), delay(500, false)]))
        next.process.kill('SIGKILL')
        const { complaint } = await next.ended
        if (!isCut) throw new Error(`the server does not start after a power cut: ${complaint}`)
        interruption.whileStarting++
      }
    },
  }
  return interruption
}

/** Undefined also where the disk has just gone. */
function changedAt(path: string): number | undefined {
  try {
    return statSync(path).mtimeMs
  } catch {
    return undefined
  }
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      cuts: { type: 'string', default: '50' },
      seed: { type: 'string', default: '1' },
      lines: { type: 'string', default: '24' },
      workers: { type: 'string', default: '0' },
      waits: { type: 'string', default: 'often' },
    },
  })
  const outcome = await powerCuts({
    cuts: Number(values.cuts),
    seed: Number(values.seed),
    lines: Number(values.lines),
    workers: Number(values.workers),
    waits: values.waits as PowerCuts['waits'],
  })
  process.stdout.write(`${JSON.stringify({ ...outcome, problems: outcome.problems.slice(0, 10) })}\n`)
  process.exitCode = outcome.problems.length === 0 ? 0 : 1
}
