/**
 * What a story is made of: chapters of steps, and the facts that one step leaves for those after it.
 *
 * A step shows something by doing it and checking it; one that merely prints does not belong here.
 *
 * @module
 */
import type { World } from '#base/world.ts'

export interface Chapter {
  readonly title: string
  /** A sentence for those who have not seen this before. */
  readonly about: string
  readonly steps: readonly Step[]
}

export interface Step {
  readonly title: string
  /** @throws anything at all when what happened is not what the title says */
  run(scene: Scene): Promise<Outcome>
}

/** What came of a step, in a few words, once it was checked. */
export interface Outcome {
  readonly said: string
  /** What there is to count: a line of the summary. */
  readonly tally?: Tally
  /** Why the step could not be played here; nothing is claimed then. */
  readonly skipped?: true
}

export interface Tally {
  /** Plural, such as `birth certificates`. Steps that count the same share a line. */
  readonly what: string
  readonly count: number
  /** Whether the step's time is the time of these, so that a rate says something. */
  readonly timed: boolean
}

/** Where a story plays, and what is known so far. */
export interface Scene {
  readonly world: World
  /** The trial's own directory. */
  readonly directory: string
  /** Leaves a fact for later steps. */
  note<T>(fact: Fact<T>, value: T): void
  /** @throws TypeError when no step before has left it */
  known<T>(fact: Fact<T>): T
  /** Something to be ended when the trial ends, however it ends; the last first. */
  atEnd(work: () => unknown): void
  /** How far a long step has come. */
  progress(done: number, total: number): void
}

/** The name under which a step leaves something for those after it, and the type of it. */
export interface Fact<T> {
  readonly name: string
  /** Never there: it only carries the type. */
  readonly value?: T
}

export const fact = <T>(name: string): Fact<T> => ({ name })

/** What happened is not what should have happened. */
export class NotAsExpected extends Error {
  override readonly name = 'NotAsExpected'
}

/** @param sentence what is wrong when the condition does not hold */
export function must(condition: boolean, sentence: string): asserts condition {
  if (!condition) throw new NotAsExpected(sentence)
}

/** For what `noUncheckedIndexedAccess` and searches leave open. */
export function present<T>(value: T | undefined, sentence: string): T {
  must(value !== undefined, sentence)
  return value
}
