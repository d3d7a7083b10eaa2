/**
 * Kills the whole server while a plant works with it, starts it again, and looks whether anything was lost or doubled.
 *
 * `node test/simulate/server-kill.ts --seconds 60 --seed 7 [--engine postgres] [--stop-at 'certificate kept']` runs it
 * for long. The seed decides when the server is killed and what the plant does next; which of many requests comes
 * first is up to the machine.
 *
 * @module
 */
import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { openAuditLog } from '#audit/log.ts'
import { auditSequencer } from '#audit/sequencer.ts'
import { systemWorld, type World } from '#base/world.ts'
import { parseConfig } from '#config/config.ts'
import { openFoundation } from '#server/compose.ts'
import type { Database } from '#store/database.ts'
import { startPostgres } from '#store/postgres/testing.ts'
import { check } from './server-check.ts'
import { openPlant, type Plant } from './server-load.ts'
import { install, type Installation, type ServerProcess, startServer } from './server-process.ts'
import { seeded } from './store-kill.ts'

export interface Simulation {
  readonly seconds: number
  readonly seed: number
  /** Products that are made at once. */
  readonly lines: number
  /** Instead of a plant at work: so many births asked for at once, over so many connections. */
  readonly burst?: { readonly births: number; readonly connections: number }
  /** `random` kills whenever, also while the server starts; at fault points it stops itself, once at each (`POINT#COUNT`) in turn. */
  readonly stop: 'never' | 'random' | { readonly at: readonly string[] } | Interruption
  /** URL of a PostgreSQL database; a file of its own unless told. */
  readonly database?: string
  /** Threads that take connections; none unless told. */
  readonly workers?: number
  /** Of several servers: how long another one may take to see a revocation. */
  readonly revokedWithinMilliseconds?: number
  /** How long clients wait for an answer. */
  readonly answerWithinSeconds?: number
}

/** Another way to take a server away. */
export interface Interruption {
  readonly times: number
  /** Once the plant stands, and before it works. */
  prepare(plant: Plant): Promise<void>
  /** @param isLast nothing may happen to the server that is returned @returns the next server, which answers */
  next(server: ServerProcess, installation: Installation, isLast: boolean): Promise<ServerProcess>
}

export interface Outcome {
  readonly certificatesPerSecond: number
  readonly certificates: number
  readonly revocations: number
  readonly kills: number
  /** Of the kills, those before the server answered. */
  readonly killsWhileStarting: number
  /** Requests that got no answer and were asked again. */
  readonly lost: number
  /** Requests that were refused for the moment and asked again. */
  readonly unavailable: number
  /** Clones, second keys and used secrets that were refused, as they had to be. */
  readonly refused: number
  /** Empty when nothing was lost or doubled. */
  readonly problems: readonly string[]
}

/** How long a server may take to start, or to stop itself at a point that it reaches at least every second. */
const PATIENCE_MILLISECONDS = 60_000

/** After many births at once: that all of them stand in OCSP is tried where a plant works. */
const OCSP_ASKED_MAX = 100

export async function simulate(simulation: Simulation): Promise<Outcome> {
  const directory = await mkdtemp(join(tmpdir(), 'sealworks-server-kill-'))
  try {
    return await simulateAt(await installFor(simulation, directory), simulation)
  } finally {
    await rm(directory, { recursive: true })
  }
}

/** Kills the server whenever so many more births were answered. */
export function killAmid(births: number, times: number): Interruption {
  const pause = births / (times + 1)
  let received: readonly unknown[] = []
  let due = pause
  return {
    times,
    prepare: async (plant) => void (received = plant.told.received),
    async next(server, installation) {
      const began = performance.now()
      while (received.length < due) {
        if (performance.now() - began > PATIENCE_MILLISECONDS) throw new Error(`${received.length} of ${births} answered in time`)
        await delay(5)
      }
      due += pause
      await kill(server)
      return startedServer(installation)
    },
  }
}

export const installFor = ({ database, workers }: Simulation, directory: string): Promise<Installation> =>
  install(directory, { database: database?.replace('@/', '@localhost/'), workers }) // the socket stands in the query

export async function simulateAt(installation: Installation, simulation: Simulation): Promise<Outcome> {
  const { seconds, seed, lines, stop, burst, revokedWithinMilliseconds, answerWithinSeconds } = simulation
  const random = seeded(seed)
  const disturbance = { kills: 0, killsWhileStarting: 0 }
  let server = await startedServer(installation)
  let plant: Plant | undefined
  try {
    plant = await openPlant(installation, seeded(seed + 1), {
      stationConnections: burst?.connections,
      revokedWithinMilliseconds,
      answerWithinSeconds,
    })
    const { told, admin } = plant
    const log = await admin.call('showAuditLog', {})
    if (typeof stop === 'object' && 'prepare' in stop) await stop.prepare(plant)

    const ending = new AbortController()
    const began = performance.now()
    const working = burst === undefined ? plant.work(lines, ending.signal) : plant.burst(burst.births)
    const left = (): number => seconds * 1000 - (performance.now() - began)
    if (stop === 'never') await delay(left())
    else if (stop === 'random') {
      while (left() > 0) {
        await delay(Math.max(0, Math.min(left(), 100 + random() * 800)))
        server = await killRandomly(installation, server, random, disturbance)
      }
    } else if ('next' in stop) {
      for (let time = 1; time <= stop.times; time++) {
        server = await stop.next(server, installation, time === stop.times)
        disturbance.kills++
      }
    } else {
      for (const point of stop.at) {
        await end(server)
        server = await stopAt(installation, point)
        disturbance.kills++
      }
      server = await startedServer(installation)
    }
    const elapsedSeconds = (performance.now() - began) / 1000
    const certificates = told.received.length
    ending.abort()
    await working
    await plant.checkStanding(burst === undefined ? undefined : OCSP_ASKED_MAX)
    const { verified, problems: found } = await admin.call('verifyAuditLog', { body: {} })
    if (!verified) told.problems.push(...found.map(({ sentence }) => `audit log over REST: ${sentence}`))

    await end(server)
    const db = await openWhatIsLeft(installation)
    try {
      const problems = await check(db, told, { auditKey: Uint8Array.fromBase64(log.publicKey) })
      return {
        certificatesPerSecond: Math.round(certificates / elapsedSeconds),
        certificates: told.received.length,
        revocations: told.revoked.size,
        ...disturbance,
        lost: told.lost,
        unavailable: told.unavailable,
        refused: told.refused,
        problems: [...told.problems, ...problems],
      }
    } finally {
      await db.close()
    }
  } finally {
    plant?.close()
    server.process.kill('SIGKILL')
    await server.ended
  }
}

/**
 * Opens the database as another node would a minute later: the lease of a killed one has run out, and what waits for its
 * place in the audit log gets it.
 */
async function openWhatIsLeft({ dataDirectory }: Installation): Promise<Database> {
  const config = parseConfig({
    file: readFileSync(join(dataDirectory, 'sealworks.toml'), 'utf8'),
    environment: {},
    dataDirectory,
  })
  const system = systemWorld()
  const world: World = { ...system, clock: { now: () => system.clock.now() + 60_000 } }
  const { db, keys, organizationId } = await openFoundation({ config, world, environment: {} })
  const log = await openAuditLog({ database: db, keys, organizationId })
  await auditSequencer({ database: db, world, log, holder: 'another node' }).runOnce()
  return db
}

export async function startedServer(
  installation: Installation,
  stopAt?: string,
  settings: Readonly<Record<string, string>> = {},
): Promise<ServerProcess> {
  const server = startServer(installation, stopAt, settings)
  await inTime(
    server,
    'start',
    Promise.race([
      server.ready,
      server.ended.then(({ complaint }) => Promise.reject(new Error(`the server ended: ${complaint}`))),
    ]),
  )
  return server
}

/** @returns the next server, which answers */
async function killRandomly(
  installation: Installation,
  victim: ServerProcess,
  random: () => number,
  disturbance: { kills: number; killsWhileStarting: number },
): Promise<ServerProcess> {
  await kill(victim)
  disturbance.kills++
  while (random() < 0.3) {
    const beginner = startServer(installation)
    const wasReady = await Promise.race([beginner.ready.then(() => true), delay(random() * 500, false)])
    await kill(beginner)
    disturbance.kills++
    if (!wasReady) disturbance.killsWhileStarting++
  }
  return startedServer(installation)
}

export async function kill({ process, ended }: ServerProcess): Promise<void> {
  process.kill('SIGKILL')
  const { signal, code, complaint } = await ended
  if (signal !== 'SIGKILL') throw new Error(`the server ended by itself with ${code}: ${complaint}`)
}

/** @returns a server that stopped itself at the point */
async function stopAt(installation: Installation, point: string): Promise<ServerProcess> {
  const server = startServer(installation, point)
  const { signal, code, complaint } = await inTime(server, `reach ${point}`, server.ended)
  if (signal !== 'SIGKILL') throw new Error(`the server ended with ${code} before ${point}: ${complaint}`)
  return server
}

/** In order, unless it has ended already: then it lets go of its leases. */
export async function end({ process, ended }: ServerProcess): Promise<void> {
  process.kill('SIGTERM')
  const { code, signal, complaint } = await ended
  if (code !== 0 && signal !== 'SIGKILL') throw new Error(`the server ended with ${code}: ${complaint}`)
}

async function inTime<T>(server: ServerProcess, what: string, work: Promise<T>): Promise<T> {
  const late = new AbortController()
  try {
    return await Promise.race([
      work,
      delay(PATIENCE_MILLISECONDS, undefined, { signal: late.signal }).then(() => {
        server.process.kill('SIGKILL')
        throw new Error(`the server did not ${what} in time`)
      }),
    ])
  } finally {
    late.abort()
  }
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: '20' },
      seed: { type: 'string', default: '1' },
      lines: { type: 'string', default: '24' },
      engine: { type: 'string', default: 'sqlite' },
      workers: { type: 'string', default: '0' },
      'stop-at': { type: 'string' },
    },
  })
  const postgres = values.engine === 'postgres' ? await startPostgres() : undefined
  const at = values['stop-at']
  let wrong = 0
  try {
    for (const stop of at === undefined ? (['never', 'random'] as const) : [{ at: Array.from({ length: 10 }, () => at) }]) {
      const database = await postgres?.createDatabase()
      const outcome = await simulate({
        seconds: Number(values.seconds),
        seed: Number(values.seed),
        lines: Number(values.lines),
        stop,
        workers: Number(values.workers),
        ...(database !== undefined && { database }),
      })
      wrong += outcome.problems.length
      process.stdout.write(`${JSON.stringify({ stop, ...outcome, problems: outcome.problems.slice(0, 10) })}\n`)
    }
  } finally {
    await postgres?.stop()
  }
  process.exitCode = wrong === 0 ? 0 : 1
}
