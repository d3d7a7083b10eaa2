/**
 * The device's side in one: opened on its directory, it enrolls, renews, reports, verifies, and says how it stands.
 *
 * What it does again and again is a list of parts (parts.ts) that know nothing of each other.
 *
 * @module
 */
import { setTimeout as pause } from 'node:timers/promises'
import { TrustError } from '#base/errors.ts'
import type { World } from '#base/world.ts'
import { parseCertificate } from '#x509/certificate.ts'
import { formatName, parseName } from '#x509/name.ts'
import { ensureCertificate } from './certificate.ts'
import { type Device, openDevice } from './device.ts'
import type { AgentDirectory, Settings, State } from './directory.ts'
import type { Outcome } from './enroll.ts'
import { followTrust } from './follow-trust.ts'
import type { Part } from './part.ts'
import { parts } from './parts.ts'
import { sendState } from './report-part.ts'
import { backoffMilliseconds } from './schedule.ts'
import { heldTrustList, takeTrustList } from './trust.ts'
import type { TrustList } from './trust-list.ts'
import { type Ended, readUpdateState, type UpdateState } from './update-state.ts'

export interface Agent extends AsyncDisposable {
  readonly device: Device
  readonly directory: AgentDirectory
  /** Once, and harmless when it is done already. */
  enroll(settings: Settings): Promise<Outcome>
  /** When its time has come, or now. */
  renew(options?: { readonly now?: boolean }): Promise<Outcome>
  /** @returns the number of the report */
  report(): Promise<number>
  /** @returns the list that holds now */
  takeTrust(octets: Uint8Array): Promise<TrustList>
  /** Follows the lists that the settings say where to find. @returns how many steps it went */
  followTrust(): Promise<number>
  status(): Status
}

export interface Status {
  readonly state: 'not set up' | 'waiting' | 'enrolled' | 'ended'
  readonly subject?: string
  readonly notAfter?: string
  readonly renewAt?: string
  readonly keys?: Settings['keys']
  readonly nextAt?: string
  readonly problem?: string
  readonly trustList?: { readonly name: string; readonly version: number; readonly expires: string; readonly ended: boolean }
  readonly reports: number
  readonly updates?: {
    readonly installed: UpdateState['installed']
    /** What is being installed, and how far that is. */
    readonly at?: { readonly component: string; readonly version: string; readonly step: string }
    readonly ended?: Pick<Ended, 'component' | 'version' | 'result' | 'problem' | 'refusal'>
    readonly waitsForConsent: boolean
  }
}

/** @throws TrustError `conflict` while another process works on the directory */
export function openAgent(path: string, world: World): Agent {
  const device = openDevice(path, world)
  const { directory } = device
  return {
    device,
    directory,
    async enroll(settings) {
      directory.configure(settings)
      return ensureCertificate(device)
    },
    renew: (options) => ensureCertificate(device, options),
    report: () => sendState(device),
    takeTrust: (octets) => takeTrustList(directory, octets),
    followTrust: () => followTrust(device),
    status: () => statusOf(directory, world),
    async [Symbol.asyncDispose]() {
      directory.close()
    },
  }
}

function statusOf(directory: AgentDirectory, { clock }: World): Status {
  const state: State = directory.state()
  const now = clock.now()
  const iso = (time: number): string => new Date(time).toISOString()
  const list = heldTrustList(directory)
  const common = {
    reports: state.counter,
    ...(directory.read('updates.json') !== undefined && { updates: updatesOf(readUpdateState(directory)) }),
    ...(state.problem !== '' && { problem: state.problem }),
    ...(state.nextAt > now && { nextAt: iso(state.nextAt) }),
    ...(list !== undefined && {
      trustList: {
        name: list.name,
        version: list.version,
        expires: list.expires.toISOString(),
        ended: list.expires.getTime() <= now,
      },
    }),
  }
  const [own] = directory.current()?.chain ?? []
  if (own === undefined)
    return { state: directory.pending() === undefined && state.failures === 0 ? 'not set up' : 'waiting', ...common }
  const { subject, notAfter } = parseCertificate(own)
  return {
    state: notAfter.getTime() > now ? 'enrolled' : 'ended',
    subject: formatName(parseName(subject)),
    notAfter: notAfter.toISOString(),
    renewAt: iso(state.renewAt),
    keys: directory.settings().keys,
    ...common,
  }
}

function updatesOf({ installed, job, ended, consent }: UpdateState): NonNullable<Status['updates']> {
  return {
    installed,
    ...(job !== null && { at: { component: job.component, version: job.version, step: job.step } }),
    ...(ended !== null && {
      ended: {
        ...{ component: ended.component, version: ended.version, result: ended.result, problem: ended.problem },
        ...(ended.refusal !== undefined && { refusal: ended.refusal }),
      },
    }),
    waitsForConsent: consent?.answer === 'asked',
  }
}

/** For one part of a round: a server that is slow with one thing holds up no other for longer. */
const PART_SECONDS = 60

export interface RunOptions {
  readonly pollSeconds: number
  /** {@link PART_SECONDS} unless told. */
  readonly partSeconds?: number
  readonly signal: AbortSignal
  /** A line for whoever runs it. */
  say(line: string): void
}

export interface Round {
  /** What came of it. */
  readonly lines: readonly string[]
  /** A part did not get through. */
  readonly failed: boolean
  /** These go on later. */
  readonly later: readonly Part[]
}

/**
 * Each part once. One that fails does not keep the others.
 *
 * @param partSeconds after which a part that can go on later makes room for the others
 */
export async function runOnce({ device }: Agent, partSeconds = PART_SECONDS, some: readonly Part[] = parts): Promise<Round> {
  const lines: string[] = []
  const later: Part[] = []
  let failed = false
  for (const part of some) {
    try {
      lines.push(...[(await part.run(device, AbortSignal.timeout(partSeconds * 1000))) ?? []].flat())
    } catch (error) {
      if (!(error instanceof Error)) throw error
      if (error instanceof TrustError && error.reason === 'agentLater') later.push(part)
      else failed = true
      lines.push(`${part.name}: ${error.message}`)
    }
  }
  return { lines, failed, later }
}

/** Until it is asked to end, one round after the other; what goes on later does so between them, and its end is told at once. */
export async function runAgent(agent: Agent, world: World, options: RunOptions): Promise<void> {
  const { pollSeconds, partSeconds = PART_SECONDS, signal, say } = options
  let failures = 0
  let lastSaid = ''
  const tell = ({ lines }: Round): void => {
    for (const line of lines) if (line !== lastSaid) say((lastSaid = line))
  }
  while (!signal.aborted) {
    const round = await runOnce(agent, partSeconds)
    tell(round)
    failures = round.failed ? failures + 1 : 0
    const wait = failures === 0 ? pollSeconds * 1000 : Math.min(pollSeconds * 1000, backoffMilliseconds(failures, world.random))
    const nextAt = performance.now() + wait
    let now = round
    while (now.later.length > 0 && performance.now() < nextAt && !signal.aborted)
      tell((now = await runOnce(agent, partSeconds, now.later)))
    if (now !== round && now.later.length === 0 && !now.failed) continue
    await pause(Math.max(0, nextAt - performance.now()), undefined, { signal }).catch(() => {})
  }
}
