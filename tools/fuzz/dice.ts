/** Chance that a seed repeats exactly. Not for secrets. @module */

export interface Dice {
  /** A whole number from 0 to `end` - 1. */
  below(end: number): number
  /** @param list not empty */
  pick<T>(list: readonly T[]): T
}

/** Mulberry32: small, quick, and good enough to choose what to break. */
export function dice(seed: number): Dice {
  let state = seed >>> 0
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return (mixed ^ (mixed >>> 14)) >>> 0
  }
  const below = (end: number): number => Math.floor((next() / 2 ** 32) * end)
  return { below, pick: (list) => list[below(list.length)] as (typeof list)[number] }
}
