/**
 * Feeds a target what is almost right, and watches for anything but an answer.
 *
 * @module
 */
import { asTrustError, TrustError } from '#base/errors.ts'
import { dice } from './dice.ts'
import { mutant } from './mutation.ts'
import type { Target } from './targets.ts'

export interface Fault {
  readonly input: Uint8Array
  readonly steps: readonly string[]
  readonly thrown: unknown
}

export interface Slow {
  readonly input: Uint8Array
  readonly milliseconds: number
}

export interface Outcome {
  readonly runs: number
  /** How many passed the outer layer: a fuzz that never gets in proves nothing. */
  readonly entered: number
  /** How many were taken in the end. */
  readonly accepted: number
  /** How often each reason was given. */
  readonly refusals: ReadonlyMap<string, number>
  readonly faults: readonly Fault[]
  /** The slowest of those above the bound. */
  readonly slow?: Slow
}

/** Inputs are of a few kilobytes at most, which any reader here goes through in less. */
const SLOW_MILLISECONDS = 100
const FAULTS_MAX = 20

/**
 * @param again whether to go on after so many runs
 * @param now   milliseconds
 */
export async function fuzz(
  target: Target,
  { seed, again, now }: { readonly seed: number; readonly again: (runs: number) => boolean; readonly now: () => number },
): Promise<Outcome> {
  const chance = dice(seed)
  const refusals = new Map<string, number>()
  const faults: Fault[] = []
  let [runs, entered, accepted] = [0, 0, 0]
  let slow: Slow | undefined
  while (again(runs) && faults.length < FAULTS_MAX) {
    const { bytes: input, steps } = mutant(target.seeds, chance)
    runs++
    if (passesOuter(target, input)) entered++
    const { thrown, milliseconds } = await timed(target, input, now)
    if (thrown === undefined) accepted++
    else {
      if (!(thrown instanceof TrustError) || thrown.code === 'internal') faults.push({ input, steps, thrown })
      const { code, reason } = asTrustError(thrown)
      refusals.set(`${code} ${reason}`, (refusals.get(`${code} ${reason}`) ?? 0) + 1)
    }
    if (milliseconds > SLOW_MILLISECONDS) {
      // once more, for the machine may have been busy
      const least = Math.min(milliseconds, (await timed(target, input, now)).milliseconds)
      if (least > SLOW_MILLISECONDS && least > (slow?.milliseconds ?? 0)) slow = { input, milliseconds: least }
    }
  }
  return { runs, entered, accepted, refusals, faults, ...(slow !== undefined && { slow }) }
}

async function timed(
  target: Target,
  input: Uint8Array,
  now: () => number,
): Promise<{ readonly thrown?: unknown; readonly milliseconds: number }> {
  const started = now()
  try {
    await target.run(input)
  } catch (thrown) {
    return { thrown: thrown ?? 'nothing', milliseconds: now() - started }
  }
  return { milliseconds: now() - started }
}

function passesOuter({ outer }: Target, input: Uint8Array): boolean {
  try {
    outer(input)
    return true
  } catch {
    return false
  }
}

/** Below this share of inputs past the outer layer, the mutations are what wants work. */
export const ENTERED_FLOOR = 0.5
/** And some must be right to the end, or the reader refuses everything. */
export const ACCEPTED_FLOOR = 0.02
