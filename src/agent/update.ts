/**
 * One update, from what lets it in to what runs afterwards. Wherever it is cut, the next start finds the old or the new version,
 * whole, and which of them; it goes on from there, or back.
 *
 * The statement is taken, its sequence and counter noted, before the first octet is installed: a device that was cut in the
 * middle cannot be made to begin something older.
 *
 * @module
 */
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { asTrustError, TrustError } from '#base/errors.ts'
import type { Artifact, DirectorStatement } from '#updates/messages.ts'
import type { Device } from './device.ts'
import { factsOf } from './facts.ts'
import { licensedFeatures } from './license.ts'
import type { Installation, Installer } from './installers/installer.ts'
import { runProgram } from './program.ts'
import { checkImage, checkUpdate, chooseArtifact, type Known, type Signed } from './update-check.ts'
import { checkDigest } from './update-download.ts'
import { type ComponentSettings, installerOf, updateSettings } from './update-settings.ts'
import {
  type Ended,
  type Job,
  readUpdateState,
  type Result,
  type Step,
  type UpdateState,
  writeUpdateState,
} from './update-state.ts'

/** Where an update comes from. */
export interface UpdateSource {
  /** What the server calls it; empty without a server. */
  readonly action: string
  /** Brings an artifact to its place, with the octets that it must have. @throws TrustError `unavailable`: it goes on later */
  fetch(artifact: Artifact, place: string): Promise<void>
  /** For whoever waits. What it throws keeps nothing. */
  tell?(progress: Step): Promise<void>
}

/** `restarting`: the device is to restart, and says then how it ended. */
export type Progress = Ended | 'restarting'

/** A new version that does not even come to say that it is bad. */
const STARTS_MAX = 3

/**
 * @param signed as it came, not believed
 * @returns how it ended; `refused` and `went back` leave what ran before
 * @throws TrustError `unavailable`, when it goes on at the next try; `conflict` while another update is not over
 */
export async function beginUpdate(device: Device, signed: Signed, source: UpdateSource): Promise<Progress> {
  if (readUpdateState(device.directory).job !== null) throw new TrustError('conflict', 'updateNotOver')
  let statement: DirectorStatement | undefined
  try {
    statement = await checkUpdate(device, signed, await knownTo(device))
    settingsFor(device, statement.component)
  } catch (error) {
    return refuse(device, error, statement, source)
  }
  const { component, version, counter } = statement
  const job: Job = {
    ...{ step: 'fetch', statement: signed.statement.toBase64(), manifest: signed.manifest.toBase64() },
    ...{ component, version, counter, digest: '', action: source.action, before: '', boot: '', starts: 0, problem: '' },
  }
  writeUpdateState(device.directory, { job }, 'update begun')
  return fetchAndTake(device, job, source)
}

/** After a cut, or when a server that was away may be there again. @param source for an update that is still fetched */
export async function continueUpdate(device: Device, source?: UpdateSource): Promise<Progress | undefined> {
  const { job } = readUpdateState(device.directory)
  if (job === null) {
    removeArtifacts(device) // of one whose end was written down, and no more
    return undefined
  }
  if (job.step !== 'fetch') return drive(device, job)
  return source === undefined ? undefined : fetchAndTake(device, job, source)
}

/** What is fetched only; what was taken goes on to its end. @returns whether nothing of it is left */
export function dropUpdate({ directory }: Device): boolean {
  const { job } = readUpdateState(directory)
  if (job !== null && job.step !== 'fetch') return false
  writeUpdateState(directory, { job: null }, 'update dropped')
  return true
}

async function knownTo(device: Device): Promise<Known> {
  const state = readUpdateState(device.directory)
  return { facts: await factsOf(device), state, features: () => licensedFeatures(device) }
}

function settingsFor(device: Device, component: string): ComponentSettings {
  const settings = updateSettings(device)?.components.get(component)
  if (settings === undefined) throw new TrustError('policyRefused', 'updateNoComponent', { facts: { component } })
  return settings
}

const placeOf = ({ directory }: Device, digest: string): string => join(directory.path, 'updates', digest)

/** Everything is checked again before anything is touched: a download takes time, and what ran out meanwhile is not installed. */
async function fetchAndTake(device: Device, job: Job, source: UpdateSource): Promise<Progress> {
  const { directory } = device
  const signed = { statement: Uint8Array.fromBase64(job.statement), manifest: Uint8Array.fromBase64(job.manifest) }
  let statement: DirectorStatement | undefined
  let taken: Job
  try {
    const known = await knownTo(device)
    statement = await checkUpdate(device, signed, known)
    const settings = settingsFor(device, statement.component)
    const installer = await openInstaller(device, settings)
    const { artifact, signature } = chooseArtifact(statement, installer.formats)
    await tell(source, 'fetch')
    for (const one of [artifact, ...(signature === undefined ? [] : [signature])]) {
      const place = placeOf(device, one.sha256.toHex())
      await source.fetch(one, place)
      await checkDigest({ octets: one.octets, sha256: one.sha256.toHex() }, place)
    }
    const file = placeOf(device, artifact.sha256.toHex())
    const beside = signature && { signature: placeOf(device, signature.sha256.toHex()) }
    await checkImage(device, { file, format: artifact.format, ...beside })
    await installer.checkArtifact?.(file, known.facts)
    await checkUpdate(device, signed, await knownTo(device))
    taken = { ...job, step: 'install', digest: artifact.sha256.toHex(), before: await installer.before() }
  } catch (error) {
    return refuse(device, error, statement, source)
  }
  const { sequence, id, issuedAt, component, counter } = statement
  const state = readUpdateState(directory)
  writeUpdateState(
    directory,
    {
      last: { sequence, id },
      lastSeen: Math.max(state.lastSeen, issuedAt.getTime()), // the device's own clock may be wrong
      floors: { ...state.floors, [component]: counter },
      job: taken,
    },
    'update taken',
  )
  await tell(source, 'install')
  return drive(device, taken)
}

const tell = async (source: UpdateSource, step: Step): Promise<void> => {
  try {
    await source.tell?.(step)
  } catch (error) {
    if (!(error instanceof TrustError)) throw error
  }
}

/** What may be good later is tried later; anything else is refused for good. */
function refuse(device: Device, error: unknown, statement: DirectorStatement | undefined, { action }: UpdateSource): Ended {
  if (!(error instanceof TrustError) || error.code === 'unavailable' || error.code === 'quotaExceeded') throw error
  const { component = '', version = '' } = statement ?? {}
  return end(device, {}, { component, version, action, result: 'refused', problem: error })
}

interface Ending {
  readonly component: string
  readonly version: string
  readonly action: string
  readonly result: Result
  readonly problem?: TrustError
}

function end(device: Device, changes: Partial<UpdateState>, { problem, ...ending }: Ending): Ended {
  const { directory, world } = device
  const ended: Ended = {
    ...ending,
    ...{ reason: problem?.reason ?? '', problem: problem?.message ?? '' },
    at: world.clock.now(),
    untold: ending.action !== '',
  }
  writeUpdateState(directory, { ...changes, job: null, ended }, 'update ended')
  removeArtifacts(device)
  return ended
}

/** What was fetched for an update that is over. */
function removeArtifacts({ directory }: Device): void {
  const place = join(directory.path, 'updates')
  if (existsSync(place)) for (const name of readdirSync(place)) rmSync(join(place, name))
}

async function openInstaller(device: Device, settings: ComponentSettings): Promise<Installer> {
  return installerOf(settings, { device, facts: await factsOf(device) })
}

/** From a statement that was taken to an end; each step is on the disk before it is done. */
async function drive(device: Device, begun: Job): Promise<Progress> {
  const settings = settingsFor(device, begun.component)
  const installer = await openInstaller(device, settings)
  const { directory, world } = device
  const next = (job: Job, changes: Partial<Job>): Job => {
    const following = { ...job, ...changes }
    writeUpdateState(directory, { job: following }, `update step ${following.step}`)
    return following
  }
  const back = (job: Job, error: unknown): Job => next(job, { step: 'revert', problem: asTrustError(error).message })
  for (let job = begun; ;) {
    const installation: Installation = { ...job, file: placeOf(device, job.digest) }
    switch (job.step) {
      case 'fetch':
        throw new TypeError('it is not taken yet')
      case 'install':
        try {
          await checkDigest({ sha256: job.digest }, installation.file) // power may have been cut since it was looked at
          await installer.install(installation)
        } catch (error) {
          const problem = asTrustError(error)
          return end(device, {}, { ...nameOf(job), result: 'went back', problem }) // nothing was touched of what runs
        }
        world.faults.reach('update installed')
        job = next(job, { step: 'activate' })
        break
      case 'activate':
        try {
          await installer.activate(installation)
          world.faults.reach('update activated')
          job = next(job, settings.reboots ? { step: 'health', boot: bootOf() } : { step: 'restart' })
        } catch (error) {
          job = back(job, error)
        }
        break
      case 'restart':
        try {
          await restart(device, settings, job)
          job = next(job, { step: 'health' })
        } catch (error) {
          job = back(job, error)
        }
        break
      case 'health': {
        if (isBeforeRestart(settings, job)) {
          await restart(device, settings, job)
          return 'restarting'
        }
        if (job.starts >= STARTS_MAX) {
          job = back(job, new TrustError('unavailable', 'updateStarts', { facts: { starts: job.starts } }))
          break
        }
        job = next(job, { starts: job.starts + 1 })
        try {
          await checkHealth(device, settings, installer, job)
          await installer.commit(installation)
        } catch (error) {
          job = back(job, error)
          break
        }
        return end(device, { installed: withInstalled(device, job) }, { ...nameOf(job), result: 'installed' })
      }
      case 'revert':
        if (!(await installer.revert(installation))) return endUnhealthy(device, job)
        world.faults.reach('update reverted')
        job = next(job, { step: 'return', boot: bootOf() })
        break
      case 'return':
        if (isBeforeRestart(settings, job)) {
          await restart(device, settings, job)
          return 'restarting'
        }
        if (!settings.reboots) await restart(device, settings, job)
        return end(device, {}, { ...nameOf(job), result: 'went back', problem: unhealthy(job) })
    }
  }
}

/** There is no way back: it is the new version that runs, and the device says so. */
function endUnhealthy(device: Device, job: Job): Ended {
  return end(device, { installed: withInstalled(device, job) }, { ...nameOf(job), result: 'unhealthy', problem: unhealthy(job) })
}

const nameOf = ({ component, version, action }: Job): Pick<Job, 'component' | 'version' | 'action'> => ({
  component,
  version,
  action,
})

const unhealthy = ({ problem }: Job): TrustError =>
  new TrustError('unavailable', 'updateUnhealthy', { facts: { detail: problem } })

function withInstalled({ directory }: Device, { component, version, counter, digest }: Job): UpdateState['installed'] {
  return { ...readUpdateState(directory).installed, [component]: { version, counter, digest } }
}

const isBeforeRestart = ({ reboots }: ComponentSettings, { boot }: Job): boolean => reboots && boot !== '' && boot === bootOf()

async function restart({ directory }: Device, { restart: call, timeoutSeconds }: ComponentSettings, job: Job): Promise<void> {
  const { component, version } = job
  if (call !== undefined) await runProgram(call, { directory: directory.path, timeoutSeconds, values: { component, version } })
}

async function checkHealth(
  { directory }: Device,
  { health, timeoutSeconds }: ComponentSettings,
  installer: Installer,
  { component, version, digest }: Job,
): Promise<void> {
  const found = await installer.measure?.()
  if (found !== undefined && found !== digest)
    throw new TrustError('badProof', 'updateArtifactOther', { facts: { name: digest } })
  if (health !== undefined)
    await runProgram(health, { directory: directory.path, timeoutSeconds, values: { component, version } })
}

/** Of this start of the system (random(4)); where there is none, every look is another start. */
function bootOf(): string {
  const file = '/proc/sys/kernel/random/boot_id'
  return existsSync(file) ? readFileSync(file, 'latin1').trim() : ''
}
