/** What peers do again and again, and is worth a line once a minute. @module */
import type { Clock } from './world.ts'

/** Whoever is refused tries again, and says nothing new. */
const AGAIN_MILLISECONDS = 60_000
/** Remembered at once: beyond, less is said. */
const KEYS_MAX = 10_000

/** @returns whether this was not said within the last minute, in this process; from now on it was */
export function seldom(clock: Clock): (key: string) => boolean {
  const said = new Map<string, number>()
  return (key) => {
    const now = clock.now()
    const last = said.get(key)
    if (last !== undefined && now - last < AGAIN_MILLISECONDS) return false
    if (said.size >= KEYS_MAX) for (const [old, at] of said) if (now - at >= AGAIN_MILLISECONDS) said.delete(old)
    if (said.size >= KEYS_MAX) return false
    said.set(key, now)
    return true
  }
}
