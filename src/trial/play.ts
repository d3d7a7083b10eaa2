/**
 * Plays a story: step by step, each timed and told, until the end or the first that fails.
 *
 * @module
 */
import type { Clock, World } from '#base/world.ts'
import type { Teller } from './teller.ts'
import { type Chapter, type Fact, NotAsExpected, type Scene, type Tally } from './story.ts'

export interface PlayOptions {
  readonly chapters: readonly Chapter[]
  readonly world: World
  readonly directory: string
  readonly teller: Teller
  /** Aborted when the person has seen enough. */
  readonly signal: AbortSignal
}

export interface Played {
  readonly ending: 'asExpected' | 'failed' | 'interrupted'
  readonly seconds: number
  readonly steps: number
  readonly skipped: number
  readonly tallies: readonly TimedTally[]
  /** Undefined when no step has left it. */
  found<T>(fact: Fact<T>): T | undefined
  /** Ends what the steps left running. Steps after a failure are not played, but this always is. */
  end(): Promise<void>
}

export interface TimedTally {
  readonly what: string
  readonly count: number
  /** Undefined where the time was not that of the counted things. */
  readonly seconds: number | undefined
}

export async function play({ chapters, world, directory, teller, signal }: PlayOptions): Promise<Played> {
  const facts = new Map<Fact<unknown>, unknown>()
  const endings: (() => unknown)[] = []
  let hasEnded = false
  const known = <T>(fact: Fact<T>): T => {
    if (!facts.has(fact)) throw new TypeError(`no step before has left "${fact.name}"`)
    return facts.get(fact) as T
  }
  const scene: Scene = {
    world,
    directory,
    note: (fact, value) => void facts.set(fact, value),
    known,
    atEnd(work) {
      if (hasEnded) void work() // what an interrupted step still brings up
      else endings.push(work)
    },
    progress: (done, total) => teller.progress(done, total),
  }
  const begun = world.clock.now()
  const tallies = new Map<string, TimedTally>()
  let [steps, skipped] = [0, 0]
  const played = (ending: Played['ending']): Played => ({
    ending,
    seconds: secondsSince(begun, world.clock),
    steps,
    skipped,
    tallies: [...tallies.values()],
    found: <T>(fact: Fact<T>) => facts.get(fact) as T | undefined,
    async end() {
      hasEnded = true
      for (const work of endings.splice(0).toReversed()) await work()
    },
  })

  for (const chapter of chapters) {
    teller.chapter(chapter)
    for (const step of chapter.steps) {
      if (signal.aborted) return played('interrupted')
      teller.step(step.title)
      const stepBegun = world.clock.now()
      try {
        const outcome = await orAborted(step.run(scene), signal)
        const seconds = secondsSince(stepBegun, world.clock)
        steps += 1
        if (outcome.skipped === true) skipped += 1
        if (outcome.tally !== undefined) count(tallies, outcome.tally, seconds)
        teller.outcome(step.title, outcome, seconds)
      } catch (thrown) {
        if (signal.aborted) return played('interrupted')
        teller.failure(step.title, reasonOf(thrown))
        return played('failed')
      }
    }
  }
  return played('asExpected')
}

const secondsSince = (begun: number, { now }: Clock): number => (now() - begun) / 1000

/** What the step began goes on by itself; its server is stopped at the end, which ends it. */
function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = (): void => reject(new Error('interrupted'))
    if (signal.aborted) stop() // it was, while the step began
    signal.addEventListener('abort', stop, { once: true })
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop))
  })
}

function count(tallies: Map<string, TimedTally>, { what, count, timed }: Tally, seconds: number): void {
  const before = tallies.get(what)
  const total = timed ? (before?.seconds ?? 0) + seconds : before?.seconds
  tallies.set(what, { what, count: (before?.count ?? 0) + count, seconds: total })
}

/** A fault of the story itself shows where it is; a refusal or a broken expectation says what it is. */
function reasonOf(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown)
  const isFault = thrown instanceof TypeError || thrown instanceof RangeError || thrown instanceof ReferenceError
  return thrown instanceof NotAsExpected || !isFault ? thrown.message : (thrown.stack ?? thrown.message)
}
