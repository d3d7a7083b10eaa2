/**
 * Which algorithms an installation makes and accepts, and from which day on: its administrator's word, over a preset's,
 * over the table's.
 *
 * The one place where a standing is looked up by date; whoever makes or takes a signature asks here.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import {
  keyAlgorithms,
  type KeyAlgorithmId,
  type SignatureAlgorithmId,
  signatureAlgorithms,
  type Standing,
  STANDINGS,
} from './table.ts'

/** Keys and signatures together: the algorithms that take the message itself have one name for both. */
export type AlgorithmId = KeyAlgorithmId | SignatureAlgorithmId

export const algorithmIds: readonly AlgorithmId[] = [
  ...new Set<AlgorithmId>([...keyAlgorithms.map(({ id }) => id), ...signatureAlgorithms.map(({ id }) => id)]),
]

/** What holds from a time on, each step until the next; earliest first. */
export type Schedule = readonly { readonly standing: Standing; readonly from: number }[]

const STEP = new RegExp(`^(${STANDINGS.join('|')})(?: from (\\d{4}-\\d{2}-\\d{2}))?$`)
const ALWAYS = Number.NEGATIVE_INFINITY

/** @param written as `deprecated from 2031-01-01, refused from 2036-01-01` (UTC) @returns undefined unless it is that */
export function parseSchedule(written: string): Schedule | undefined {
  const steps: { standing: Standing; from: number }[] = []
  for (const part of written.split(',')) {
    const [, standing, day] = STEP.exec(part.trim()) ?? []
    if (standing === undefined) return undefined
    const from = day === undefined ? ALWAYS : Date.parse(`${day}T00:00:00Z`)
    const before = steps.at(-1)
    if (Number.isNaN(from) || (before !== undefined && from <= before.from)) return undefined
    if (day !== undefined && !new Date(from).toISOString().startsWith(day)) return undefined // 30 February is no day
    steps.push({ standing: standing as Standing, from })
  }
  return steps
}

const scheduled = (written: string): Schedule => parseSchedule(written) as Schedule

/** What NIST IR 8547 (draft) sets for signatures that a quantum computer breaks, and earlier for 112 bits of strength. */
const CLASSICAL = scheduled('refused from 2036-01-01')
const CLASSICAL_112 = scheduled('deprecated from 2031-01-01, refused from 2036-01-01')

/** By name, what differs from the table. */
const presets = {
  none: new Map<AlgorithmId, Schedule>(),
  /** FIPS 186-5, 204 and 205 approve every row of the table; the dates are those of the transition. */
  fips: new Map<AlgorithmId, Schedule>(
    algorithmIds
      .filter((id) => /^(ecdsa|rsa|ed)/.test(id))
      .map((id) => [id, id === 'rsa-2048' ? CLASSICAL_112 : CLASSICAL] as const),
  ),
}

export type AlgorithmPreset = keyof typeof presets
export const algorithmPresets = Object.keys(presets) as readonly AlgorithmPreset[]

export interface AlgorithmPolicy {
  /**
   * @param at milliseconds
   * @returns `deprecated` where the answer or the record should say so
   * @throws TrustError `policyRefused` for an algorithm that is refused at this time
   */
  check(id: AlgorithmId, at: number): Exclude<Standing, 'refused'>
}

export interface AlgorithmPolicyOptions {
  readonly preset: AlgorithmPreset
  /** Of the administrator; goes over the preset's whole schedule for that algorithm. */
  readonly schedules: Readonly<Partial<Record<AlgorithmId, Schedule | undefined>>>
}

export function algorithmPolicy({ preset, schedules }: AlgorithmPolicyOptions): AlgorithmPolicy {
  const inForce = new Map<AlgorithmId, Schedule>()
  for (const { id, standing } of [...keyAlgorithms, ...signatureAlgorithms]) {
    if (standing !== 'allowed') inForce.set(id, [{ standing, from: ALWAYS }])
  }
  for (const [id, schedule] of presets[preset]) inForce.set(id, schedule)
  for (const id of algorithmIds) {
    const schedule = schedules[id]
    if (schedule !== undefined) inForce.set(id, schedule)
  }
  return {
    check(id, at) {
      const schedule = inForce.get(id)
      if (schedule === undefined) return 'allowed'
      const step = schedule.findLast(({ from }) => from <= at)
      if (step?.standing !== 'refused') return step?.standing ?? 'allowed'
      const since = step.from === ALWAYS ? '' : ` since ${new Date(step.from).toISOString().slice(0, 10)}`
      throw new TrustError('policyRefused', 'algorithmRefused', { facts: { algorithm: id, since } })
    },
  }
}

/** For tests and tools that have no configuration. */
export const tablePolicy: AlgorithmPolicy = algorithmPolicy({ preset: 'none', schedules: {} })
