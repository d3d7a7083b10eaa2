/** Takes something away from a server under load, and gives it back. @module */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { installFor, type Interruption, simulateAt, type Simulation } from './server-kill.ts'
import type { Plant } from './server-load.ts'

const PATIENCE_MILLISECONDS = 30_000
/** Of either kind, before the fault, under it and after it. */
const ANSWERS_LEAST = 20

export const IDLE: Simulation = { seconds: 0, seed: 0, lines: 0, stop: 'never' }

export interface Fault {
  readonly simulation: Pick<Simulation, 'database' | 'workers' | 'answerWithinSeconds'>
  /** How long the first refusals may take. */
  readonly refusedWithinMilliseconds?: number
  /** Clients that give up waiting themselves. */
  readonly lostMax?: number
  readonly dataDirectory: string
  begin(): Promise<void> | void
  end(): Promise<void> | void
}

/** Nobody is left without an answer, everyone is told when to ask again, nothing is half done, and the service returns by itself. */
export async function suffer({
  simulation,
  dataDirectory,
  begin,
  end,
  refusedWithinMilliseconds = PATIENCE_MILLISECONDS,
  lostMax = 0,
}: Fault): Promise<void> {
  let plant: Plant | undefined
  const waitFor = async (count: () => number, what: string, mostMilliseconds = PATIENCE_MILLISECONDS): Promise<void> => {
    const due = count() + ANSWERS_LEAST
    for (const began = performance.now(); count() < due; await delay(10)) {
      const problems = plant?.told.problems.join('\n')
      assert.ok(
        performance.now() - began < mostMilliseconds,
        `${what}: ${count()} of ${due}, ${plant?.told.lost} without an answer\n${problems}`,
      )
    }
  }
  const issued = (): number => plant?.told.received.length ?? 0
  const stop: Interruption = {
    times: 1,
    prepare: (opened) => Promise.resolve(void (plant = opened)),
    async next(server) {
      await waitFor(issued, 'certificates before the fault')
      await begin()
      await waitFor(() => plant?.told.unavailable ?? 0, 'refusals under the fault', refusedWithinMilliseconds)
      await end()
      await waitFor(issued, 'certificates after the fault')
      return server // which nobody started again
    },
  }
  const whole: Simulation = { ...IDLE, ...simulation, seed: 71, lines: 12, stop }
  const outcome = await simulateAt(await installFor(whole, dataDirectory), whole)
  assert.deepEqual(outcome.problems, [])
  assert.ok(outcome.lost <= lostMax, `${outcome.lost} got no answer`)
}

/** Gone with the test. */
export async function folder(t: { after(done: () => Promise<void>): void }): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'sealworks-fault-'))
  t.after(() => rm(directory, { recursive: true }))
  return directory
}
