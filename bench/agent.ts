/**
 * The agent on a device: from the start of its process to enrolled, and what memory it has while it waits.
 *
 * @module
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { type Figure, median } from './figure.ts'
import { makePlant, type Plant } from './plant.ts'
import { startSealworks } from './server.ts'

const PROGRAM = fileURLToPath(new URL('../bin/sealworks', import.meta.url))
const ROUNDS = 5
/** By then a process that waits has given back what its start needed. */
const SETTLED_MILLISECONDS = 1500
/** What a device with 64 MB would say to Node. */
const SMALL = '--max-semi-space-size=1 --max-old-space-size=24'

export async function benchAgent(): Promise<readonly Figure[]> {
  using plant = await makePlant({ devices: ROUNDS + 1 })
  await using server = await startSealworks(plant.dataDirectory)
  const seconds: number[] = []
  for (let round = 0; round <= ROUNDS; round++) {
    const took = await enroll(plant, server.tlsPort, round)
    if (round > 0) seconds.push(took) // the first fills the cache of compiled code
  }
  const [bare, usual, small] = [
    await memoryOf(bareNode()),
    await memoryOf(running(plant, '')),
    await memoryOf(running(plant, SMALL)),
  ]
  const beside = `beside ${bare.resident} MB of a bare Node.js`
  return [
    {
      name: 'agent.enrolled',
      value: median(seconds),
      unit: 's',
      reach: { below: 3 },
      note: 'from the start of the process to its end, enrolled: a key made, EST over TLS, everything on the disk',
    },
    { name: 'agent.resident', value: usual.resident, unit: 'MB', note: `while it waits, ${beside}` },
    {
      name: 'agent.own',
      value: usual.own,
      unit: 'MB',
      note: `of that not backed by files, beside ${bare.own} MB of a bare Node.js`,
    },
    { name: 'agent.residentSmall', value: small.resident, unit: 'MB', note: `the same with NODE_OPTIONS="${SMALL}"` },
    { name: 'agent.ownSmall', value: small.own, unit: 'MB', note: `the same with NODE_OPTIONS="${SMALL}"` },
  ]
}

async function enroll(plant: Plant, port: number, device: number): Promise<number> {
  const file = (name: string, content: string): string => {
    const path = join(plant.directory, name)
    writeFileSync(path, content)
    return path
  }
  const born = plant.devices[device]
  if (born === undefined) throw new Error('too few devices')
  rmSync(join(plant.directory, 'agent'), { recursive: true, force: true })
  const begun = performance.now()
  const child = agent(plant, [
    ...['enroll', '--server', `https://localhost:${port}`, '--trust', file('root.pem', plant.tlsRoot)],
    ...['--certificate', file('born.pem', born.certificate), '--key', file('born.key', born.key)],
  ])
  const [code] = (await once(child, 'close')) as [number]
  if (code !== 0) throw new Error(`agent enroll ended with ${code}`)
  return (performance.now() - begun) / 1000
}

const agent = ({ directory }: Plant, words: readonly string[], options = '') =>
  spawn(PROGRAM, ['agent', ...words, '--directory', 'agent'], {
    cwd: directory,
    env: { ...process.env, NODE_OPTIONS: options },
    stdio: ['ignore', 'ignore', 'pipe'],
  })

const running = (plant: Plant, options: string): ChildProcess => agent(plant, ['run', '--poll', '3600'], options)
const bareNode = (): ChildProcess => spawn(process.execPath, ['-e', 'console.error(1); setTimeout(() => {}, 60_000)'])

interface Memory {
  readonly resident: number
  readonly own: number
}

/** Megabytes. Linux only. */
async function memoryOf(child: ChildProcess): Promise<Memory> {
  await once(child.stderr as Readable, 'data')
  await wait(SETTLED_MILLISECONDS)
  const status = readFileSync(`/proc/${child.pid}/status`, 'latin1')
  child.kill()
  await once(child, 'close')
  const megabytes = (line: string): number =>
    Math.round(Number(new RegExp(`^${line}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) / 1024)
  return { resident: megabytes('VmRSS'), own: megabytes('RssAnon') }
}
