/**
 * Time, chance and planned faults: what a program cannot compute, handed in so that a test can own it.
 *
 * @module
 */
import { randomFillSync, type UUID } from 'node:crypto'

export interface World {
  readonly clock: Clock
  readonly random: Random
  readonly faults: Faults
}

export interface Clock {
  /** Milliseconds since the Unix epoch, UTC. */
  now(): number
}

export interface Random {
  /** @returns `count` fresh octets from a cryptographically secure source */
  octets(count: number): Uint8Array
}

/** Named places where a kill test may stop the process. Does nothing outside tests. */
export interface Faults {
  reach(point: string): void
}

const POOL_OCTETS = 4096

/** The operating system's clock and randomness. Small draws come from a pool: a system call each costs more than a serial number. */
export function systemWorld(): World {
  let pool = new Uint8Array(0)
  let at = 0
  return {
    clock: { now: () => Date.now() },
    random: {
      octets(count) {
        if (count > POOL_OCTETS / 4) return randomFillSync(new Uint8Array(count))
        if (at + count > pool.length) {
          pool = randomFillSync(new Uint8Array(POOL_OCTETS)) // a new array: earlier draws are views of the old one
          at = 0
        }
        return pool.subarray(at, (at += count))
      },
    },
    faults: { reach: () => {} },
  }
}

/**
 * A time-ordered identifier for rows (UUID version 7, RFC 9562, 5.7).
 *
 * Rows made within one millisecond are ordered by chance, which is enough for an index to stay local.
 */
export function uuidv7({ clock, random }: Pick<World, 'clock' | 'random'>): UUID {
  const time = Math.trunc(clock.now()).toString(16).padStart(12, '0')
  const octets = new Uint8Array(random.octets(10))
  octets[0] = ((octets[0] ?? 0) & 0x0f) | 0x70
  octets[2] = ((octets[2] ?? 0) & 0x3f) | 0x80
  const rest = octets.toHex()
  return `${time.slice(0, 8)}-${time.slice(8)}-${rest.slice(0, 4)}-${rest.slice(4, 8)}-${rest.slice(8)}`
}

/** Whole seconds since the epoch: X.509, OCSP and CRL times have no fractions. */
export const toWholeSeconds = (milliseconds: number): number => Math.floor(milliseconds / 1000) * 1000
