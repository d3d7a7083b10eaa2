/**
 * Whether the clock of this machine may be stated to others: held to time servers, and to a clock that nobody can set.
 *
 * It corrects nothing. It knows how far the clock may be wrong, and whoever states a time asks whether that is within what
 * is promised. Without time servers it only notices steps, and says that it knows no more.
 *
 * @module
 */
import { asTrustError, TrustError } from '#base/errors.ts'
import type { Log } from '#base/log.ts'
import type { Random } from '#base/world.ts'
import { askTime, type TimeReading, type TimeServer, type TwoClocks } from './ntp.ts'

export interface ClockWatch {
  /**
   * @returns the time, in milliseconds
   * @throws TrustError `unavailable` (`clockDoubtful`) when it may be further from UTC than that
   */
  now(errorMaxMilliseconds: number): number
  state(): ClockState
  /** Looks at the clock, and asks the servers when it is time to. For a background task, each second. */
  runOnce(): Promise<void>
}

export interface ClockState {
  /** `unchecked`: there are no time servers to hold it to. */
  readonly standing: 'good' | 'unchecked' | 'doubtful'
  /** Why it is in doubt. */
  readonly doubt?: string
  /** How far the servers are ahead of this clock; absent before they have agreed once. */
  readonly offsetMilliseconds?: number
  /** How far the clock may be from UTC now. */
  readonly errorMilliseconds?: number
  readonly leap: TimeReading['leap']
  readonly servers: readonly { readonly server: TimeServer; readonly problem?: string }[]
}

export interface ClockWatchParts {
  readonly servers: readonly TimeServer[]
  readonly clocks: TwoClocks
  readonly random: Random
  readonly log: Log
  readonly checkSeconds: number
  /** Instead of UDP, in tests. */
  readonly ask?: (server: TimeServer) => Promise<TimeReading>
}

const TIMEOUT_MILLISECONDS = 3000
/** What a crystal without any discipline does at worst (RFC 5905: 15 ppm is usual), in parts of one. */
const DRIFT = 100e-6
/** The fastest that an operating system slews its clock; what is more is a step (RFC 5905, 11.3). */
const SLEW = 500e-6
/** RFC 5905's step threshold: below it clocks are slewed. */
const STEP_MILLISECONDS = 128
/** Checks that may fail in a row before what was known is too old. */
const CHECKS_KEPT = 8
/** After a doubt is found, or while there is one, it is looked at again after this. */
const HURRY_SECONDS = 16
/** Around the midnight that has the leap second: what a clock shows then depends on who made it. */
const LEAP_SLACK_MILLISECONDS = 1000
const DAY_MILLISECONDS = 86_400_000

interface Checked {
  readonly offset: number
  readonly distance: number
  readonly leap: TimeReading['leap']
  readonly monotonic: number
}

/** How far the wall clock is ahead of the other, and when that was looked at. */
interface Look {
  readonly ahead: number
  readonly monotonic: number
}

export function openClockWatch(parts: ClockWatchParts): ClockWatch {
  const { servers, clocks, random, log, checkSeconds } = parts
  const ask =
    parts.ask ?? ((server: TimeServer) => askTime(server, { clocks, random, timeoutMilliseconds: TIMEOUT_MILLISECONDS }))
  const look = (): Look => {
    const monotonic = clocks.monotonic()
    return { ahead: clocks.wall() - monotonic, monotonic }
  }
  let checked: Checked | undefined
  let atCheck = look()
  let last = atCheck
  let stepped: { readonly milliseconds: number; readonly monotonic: number } | undefined
  let disagreement: string | undefined = servers.length === 0 ? undefined : 'no time server was asked yet'
  let nextAt = Number.NEGATIVE_INFINITY
  const resting = new Map<TimeServer, number>()
  const problems = new Map<TimeServer, string>()

  /** A step is doubt until servers have spoken, or, where there are none, for as long as a check takes to come round. */
  function notice(): Look {
    const here = look()
    const shift = here.ahead - last.ahead
    if (Math.abs(shift) > STEP_MILLISECONDS + SLEW * (here.monotonic - last.monotonic)) {
      stepped = { milliseconds: shift, monotonic: here.monotonic }
      nextAt = Number.NEGATIVE_INFINITY
      log.warn('the clock of this machine was set', { milliseconds: Math.round(shift) })
    } else if (servers.length === 0 && stepped !== undefined && here.monotonic - stepped.monotonic > checkSeconds * 1000) {
      stepped = undefined
    }
    last = here
    return here
  }

  const errorNow = ({ ahead, monotonic }: Look): number | undefined =>
    checked === undefined
      ? undefined
      : Math.abs(checked.offset - (ahead - atCheck.ahead)) + checked.distance + DRIFT * (monotonic - checked.monotonic)

  function doubtNow(here: Look): string | undefined {
    if (stepped !== undefined) return `it was set by ${Math.round(stepped.milliseconds)} ms`
    if (servers.length === 0) return undefined
    if (checked === undefined) return disagreement
    const isOld = here.monotonic - checked.monotonic > checkSeconds * CHECKS_KEPT * 1000
    return isOld ? (disagreement ?? 'time servers were not asked for long') : undefined
  }

  async function check(): Promise<void> {
    const before = look()
    const readings: TimeReading[] = []
    await Promise.all(
      servers.map(async (server) => {
        if ((resting.get(server) ?? Number.NEGATIVE_INFINITY) > before.monotonic) return
        try {
          readings.push(await ask(server))
          problems.delete(server)
        } catch (thrown) {
          const { code, message, retryAfterSeconds } = asTrustError(thrown)
          problems.set(server, message)
          // RFC 5905, 7.4: who sends a kiss of death is left alone
          if (code === 'forbidden') resting.set(server, Number.POSITIVE_INFINITY)
          if (code === 'rateLimited') resting.set(server, before.monotonic + (retryAfterSeconds ?? checkSeconds) * 1000)
        }
      }),
    )
    const after = look()
    if (Math.abs(after.ahead - before.ahead) > STEP_MILLISECONDS) return // set while we asked: what came means nothing
    const agreed = agreement(readings, servers.length)
    if (agreed === undefined) {
      disagreement = `of ${servers.length} time servers, ${readings.length} answer, and too few agree`
      log.warn('time servers do not agree', { servers: servers.length, answers: readings.length })
      return
    }
    checked = { ...agreed, monotonic: before.monotonic }
    atCheck = after
    last = after
    stepped = undefined
    disagreement = undefined
  }

  return {
    now(errorMaxMilliseconds) {
      const here = notice()
      const doubt = doubtNow(here)
      if (doubt !== undefined) throw doubtful(doubt)
      const error = errorNow(here)
      if (error !== undefined && error > errorMaxMilliseconds)
        throw doubtful(`it may be wrong by ${Math.ceil(error)} ms, and ${errorMaxMilliseconds} ms are promised`)
      const now = here.ahead + here.monotonic
      if (checked !== undefined && checked.leap !== 'none' && isByMidnight(now)) throw doubtful('there is a leap second now')
      return now
    },
    state() {
      const here = look()
      const doubt = doubtNow(here)
      const error = errorNow(here)
      return {
        standing: doubt !== undefined ? 'doubtful' : servers.length === 0 ? 'unchecked' : 'good',
        ...(doubt !== undefined && { doubt }),
        ...(checked !== undefined && { offsetMilliseconds: checked.offset - (here.ahead - atCheck.ahead) }),
        ...(error !== undefined && { errorMilliseconds: error }),
        leap: checked?.leap ?? 'none',
        servers: servers.map((server) => {
          const problem = problems.get(server)
          return { server, ...(problem !== undefined && { problem }) }
        }),
      }
    },
    async runOnce() {
      const { monotonic } = notice()
      if (servers.length === 0 || monotonic < nextAt) return
      nextAt = monotonic + checkSeconds * 1000
      await check()
      if (doubtNow(look()) !== undefined || disagreement !== undefined)
        nextAt = monotonic + Math.min(HURRY_SECONDS, checkSeconds) * 1000
    },
  }
}

/** The end of a UTC day: in a month without the leap second nobody announces one, so that its other days need no rule. */
const isByMidnight = (now: number): boolean => {
  const ofDay = now % DAY_MILLISECONDS
  const isLastOfMonth = new Date(now + 2 * LEAP_SLACK_MILLISECONDS).getUTCDate() === 1
  return isLastOfMonth && (ofDay < LEAP_SLACK_MILLISECONDS || ofDay >= DAY_MILLISECONDS - LEAP_SLACK_MILLISECONDS)
}

/**
 * The time on which more than half of all servers agree, each within what it says that it may be wrong by (RFC 5905, 11.2.1).
 *
 * @param all how many there are, also those that did not answer
 * @returns undefined when there is no such time
 */
export function agreement(readings: readonly TimeReading[], all: number): Omit<Checked, 'monotonic'> | undefined {
  const least = Math.floor(all / 2) + 1
  let best: readonly TimeReading[] = []
  for (const { offset, distance } of readings) {
    const low = offset - distance // the largest overlap begins where some interval begins
    const there = readings.filter((each) => each.offset - each.distance <= low && low <= each.offset + each.distance)
    if (there.length > best.length) best = there
  }
  if (best.length < least) return undefined
  const low = Math.max(...best.map(({ offset, distance }) => offset - distance))
  const high = Math.min(...best.map(({ offset, distance }) => offset + distance))
  const announced = (leap: TimeReading['leap']): boolean => best.filter((each) => each.leap === leap).length * 2 > best.length
  return {
    offset: (low + high) / 2,
    distance: (high - low) / 2,
    leap: announced('inserted') ? 'inserted' : announced('deleted') ? 'deleted' : 'none',
  }
}

const doubtful = (detail: string): TrustError =>
  new TrustError('unavailable', 'clockDoubtful', { facts: { detail }, retryAfterSeconds: HURRY_SECONDS })
