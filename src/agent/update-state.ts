/**
 * What an agent keeps of its updates: what it installed, the last statement that it took, and how far the update is that it is
 * at. One file, written whole, so that it is known after any cut what has to be done next.
 *
 * @module
 */
import { parseJSONObject } from '#jose/json.ts'
import type { AgentDirectory } from './directory.ts'

const FILE = 'update.json'
const FILE_MAX_OCTETS = 4 << 20

export interface InstalledComponent {
  readonly version: string
  readonly counter: number
  /** SHA-256 of the artifact, hexadecimal. */
  readonly digest: string
}

/**
 * `fetch`: its artifacts are fetched and verified. From `install` on its statement is taken: the device goes on with it, or back,
 * whatever happens. `restart`: the new version is the current one. `health`: it has started, and shows whether it is good.
 * `revert`, `return`: the same way back.
 */
export type Step = 'fetch' | 'install' | 'activate' | 'restart' | 'health' | 'revert' | 'return'

export interface Job {
  readonly step: Step
  /** The signed statement and manifest, base64. */
  readonly statement: string
  readonly manifest: string
  readonly component: string
  readonly version: string
  readonly counter: number
  /** SHA-256 of the artifact that is installed, hexadecimal: its file's name. */
  readonly digest: string
  /** What the server calls it; empty for one that came on a stick. */
  readonly action: string
  /** What the installer said of the version before. */
  readonly before: string
  /** Of the start of the system in which it was activated, where the system tells. */
  readonly boot: string
  /** Starts since then. */
  readonly starts: number
  /** Why it goes back. */
  readonly problem: string
}

export type Result = 'installed' | 'refused' | 'went back' | 'unhealthy'

/** How an update ended. */
export interface Ended {
  readonly component: string
  readonly version: string
  readonly result: Result
  /** A stable word where it was refused or went back, and a sentence. */
  readonly reason: string
  readonly problem: string
  readonly action: string
  /** Milliseconds. */
  readonly at: number
  /** The server has not heard it yet. */
  readonly untold: boolean
  /** What the server said instead of taking it, where it will not change. */
  readonly refusal?: string
}

export interface UpdateState {
  /** The last statement that was taken: none below it is. */
  readonly last: { readonly sequence: number; readonly id: string } | null
  /** The latest time of anything signed, in milliseconds: time does not go back. */
  readonly lastSeen: number
  readonly installed: Readonly<Record<string, InstalledComponent>>
  /** Counters that were begun with: none below is installed, but by an order that names the device. */
  readonly floors: Readonly<Record<string, number>>
  readonly job: Job | null
  readonly ended: Ended | null
  /** Of who has the device in hand, where it is asked. */
  readonly consent: { readonly action: string; readonly answer: 'asked' | 'confirmed' | 'denied' } | null
}

const FIRST: UpdateState = { last: null, lastSeen: 0, installed: {}, floors: {}, job: null, ended: null, consent: null }

export function readUpdateState(directory: AgentDirectory): UpdateState {
  const octets = directory.read(FILE)
  // written by this program
  return octets === undefined ? FIRST : { ...FIRST, ...(parseJSONObject(octets, FILE_MAX_OCTETS) as unknown as UpdateState) }
}

export function writeUpdateState(directory: AgentDirectory, changes: Partial<UpdateState>, point: string): UpdateState {
  const state = { ...readUpdateState(directory), ...changes }
  directory.write(FILE, JSON.stringify(state), point)
  return state
}
