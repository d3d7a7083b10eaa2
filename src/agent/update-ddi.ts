/**
 * Updates over the air: asks the server what is meant for this device, and says how it went. The server is believed nothing but
 * when to ask again: what is installed is what a statement for this device says.
 *
 * @module
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { asTrustError, TrustError } from '#base/errors.ts'
import { type DdiClient, ddiClient } from '#protocols/ddi/client.ts'
import { type DeploymentAnswer, type LinkedArtifact, MOUNT, type PollAnswer } from '#protocols/ddi/messages.ts'
import { MANIFEST_FILE, STATEMENT_FILE, STATEMENT_MAX_OCTETS } from '#updates/messages.ts'
import { type Device, TIMEOUT_SECONDS } from './device.ts'
import { type Facts, factsOf } from './facts.ts'
import { beginUpdate, continueUpdate, dropUpdate, type Progress, type UpdateSource } from './update.ts'
import type { Signed } from './update-check.ts'
import { type Download, download } from './update-download.ts'
import { type UpdateSettings, updateSettings } from './update-settings.ts'
import { type Ended, type Job, readUpdateState, type Result, writeUpdateState } from './update-state.ts'

interface Asking {
  readonly device: Device
  readonly settings: UpdateSettings
  readonly facts: Facts
  readonly client: DdiClient
  readonly signal: AbortSignal | undefined
}

/**
 * Once.
 *
 * @param signal breaks off what is fetched, which goes on at the next time; never what is installed
 * @returns how an update ended, where one did; undefined when there is nothing to do
 * @throws TrustError `unavailable`
 */
export async function updateOverAir(device: Device, signal?: AbortSignal): Promise<Progress | undefined> {
  const settings = updateSettings(device)
  if (settings === undefined) return undefined
  const before = await continueUpdate(device) // needs no server
  if (before === 'restarting') return before
  const facts = await factsOf(device)
  const { server } = device.directory.settings()
  const client = ddiClient({
    ...{ server, tenant: settings.tenant, controllerId: facts.productSerial },
    ...{ tls: await device.tls(), timeoutSeconds: TIMEOUT_SECONDS },
  })
  const asking: Asking = { device, settings, facts, client, signal }
  try {
    await tellEnd(asking)
    const found = await look(asking)
    await tellEnd(asking)
    return found ?? before
  } finally {
    client.close()
  }
}

async function look(asking: Asking): Promise<Progress | undefined> {
  const { device, client } = asking
  const { links }: PollAnswer = await client.poll()
  const { configData, cancelAction, confirmationBase, deploymentBase } = links
  if (configData !== undefined) await client.setAttributes(attributesOf(asking))
  if (cancelAction !== undefined) await answerCancel(asking, cancelAction)
  if (confirmationBase !== undefined) await answerConfirmation(asking, confirmationBase)
  const { job } = readUpdateState(device.directory)
  if (deploymentBase === undefined) {
    if (job !== null && job.action !== '') dropUpdate(device) // it is not meant for this device any more
    return undefined
  }
  return take(asking, deploymentBase, job)
}

async function take({ device, client, signal }: Asking, link: string, job: Job | null): Promise<Progress | undefined> {
  const deployment = await deploymentAt(client, link)
  if (deployment === undefined) return undefined
  const action = String(deployment.action)
  const { ended } = readUpdateState(device.directory)
  if (ended?.action === action || deployment.download === 'skip' || deployment.update === 'skip') return undefined
  const source = await sourceOf(device, client, link, deployment, signal)
  const signed = await signedIn(device, deployment, signal)
  // the director signs anew when a statement comes to its end
  if (job?.action === action && job.statement === signed.statement.toBase64()) return continueUpdate(device, source)
  if (job !== null) dropUpdate(device)
  return beginUpdate(device, signed, source)
}

/** The server looks closer once it is asked, and may find that it is not meant for this device after all. */
async function deploymentAt(client: DdiClient, link: string): Promise<DeploymentAnswer | undefined> {
  try {
    return await client.deployment(link)
  } catch (error) {
    if (asTrustError(error).code === 'notFound') return undefined
    throw error
  }
}

const listed = ({ chunks }: DeploymentAnswer, name: string): LinkedArtifact | undefined =>
  chunks.flatMap(({ artifacts }) => artifacts).find(({ filename }) => filename === name)

async function signedIn(device: Device, deployment: DeploymentAnswer, signal: AbortSignal | undefined): Promise<Signed> {
  const read = async (name: string): Promise<Uint8Array> => {
    const found = listed(deployment, name)
    if (found === undefined) return new Uint8Array(0) // refused where the rest is
    const { octets, sha256, href } = found
    if (octets > STATEMENT_MAX_OCTETS)
      throw new TrustError('tooLarge', 'artifactPartTooLarge', { facts: { what: name, limit: STATEMENT_MAX_OCTETS } })
    const place = join(device.directory.path, 'updates', sha256)
    await fetch(device, await device.tls(), href, { octets, sha256, place, signal })
    return new Uint8Array(readFileSync(place))
  }
  return { statement: await read(STATEMENT_FILE), manifest: await read(MANIFEST_FILE) }
}

async function sourceOf(
  device: Device,
  client: DdiClient,
  link: string,
  deployment: DeploymentAnswer,
  signal: AbortSignal | undefined,
): Promise<UpdateSource> {
  const tls = await device.tls()
  return {
    action: String(deployment.action),
    async fetch({ name, octets, sha256 }, place) {
      const found = listed(deployment, name)
      if (found === undefined) throw new TrustError('unavailable', 'updateNotServed', { facts: { name } })
      await fetch(device, tls, found.href, { octets, sha256: sha256.toHex(), place, signal })
    },
    tell: (step) => client.feedback(link, deployment.action, { execution: step === 'fetch' ? 'download' : 'proceeding' }),
  }
}

/** From the agent's own server and from nowhere else. */
async function fetch(
  { directory, world }: Device,
  tls: Awaited<ReturnType<Device['tls']>>,
  href: string,
  wanted: Pick<Download, 'octets' | 'sha256' | 'place' | 'signal'>,
): Promise<void> {
  const { server } = directory.settings()
  const url = new URL(href, server)
  if (url.origin !== new URL(server).origin)
    throw new TrustError('malformed', 'ddiMalformed', { facts: { detail: 'a link leads elsewhere' } })
  await download({ ...wanted, url, tls, world })
}

const actionOf = (link: string): string => /\/(\d{1,10})(?:\?.*)?$/.exec(link)?.[1] ?? ''

/** What is only fetched is given up; what was begun goes on to its end. */
async function answerCancel({ device, client }: Asking, link: string): Promise<void> {
  const action = actionOf(link)
  const { job } = readUpdateState(device.directory)
  const isDropped = job?.action !== action || dropUpdate(device)
  await client.feedback(
    link,
    Number(action),
    isDropped ? { execution: 'closed', finished: 'success' } : { execution: 'rejected' },
  )
}

/** Who has the device in hand decides, where the settings say so; until then nothing comes of it. */
async function answerConfirmation({ device, client, settings }: Asking, link: string): Promise<void> {
  const action = actionOf(link)
  const { consent } = readUpdateState(device.directory)
  const said = settings.consent === 'given' ? 'confirmed' : consent?.action === action ? consent.answer : 'asked'
  if (said === 'asked') {
    writeUpdateState(device.directory, { consent: { action, answer: 'asked' } }, 'update consent asked')
    return
  }
  await client.confirm(link, { confirmation: said })
  writeUpdateState(device.directory, { consent: null }, 'update consent given')
}

/** @throws TrustError `notFound` where nothing waits for it */
export function decideConsent({ directory }: Device, answer: 'confirmed' | 'denied'): void {
  const { consent } = readUpdateState(directory)
  if (consent === null) throw new TrustError('notFound', 'updateNoConsent')
  writeUpdateState(directory, { consent: { ...consent, answer } }, 'update consent decided')
}

/** What a server may know to offer the right files; it believes none of it where it matters. */
function attributesOf({ facts, settings }: Asking): Readonly<Record<string, string>> {
  const installers = [...settings.components.values()].map(({ installer }) => installer)
  const formats = installers.every((one) => one === 'swupdate' || one === 'rauc') && [...new Set(installers)].join(',')
  return { model: facts.model, revision: facts.revision ?? '', ...(formats !== false && { formats }) }
}

const finishedOf = {
  installed: 'success',
  refused: 'failure',
  'went back': 'failure',
  unhealthy: 'failure',
} as const satisfies Record<Result, 'success' | 'failure'>

/** Until the server has heard it, or refused it in a way that it will again: what it does not take must hold up no other update. */
async function tellEnd({ device, client, settings, facts }: Asking): Promise<void> {
  const { ended } = readUpdateState(device.directory)
  if (ended === null || !ended.untold) return
  const link = `${MOUNT}/${settings.tenant}/controller/v1/${encodeURIComponent(facts.productSerial)}/deploymentBase/${ended.action}`
  const finished = finishedOf[ended.result]
  const details = ended.problem === '' ? [ended.result] : [ended.result, ended.reason, ended.problem]
  let refusal: string | undefined
  try {
    await client.feedback(link, Number(ended.action), { execution: 'closed', finished, details })
  } catch (thrown) {
    const error = asTrustError(thrown)
    if (error.code !== 'notFound') {
      // over there it is not over
      if (!isForGood(error)) throw error
      refusal = error.message
    }
  }
  const told: Ended = { ...ended, untold: false, ...(refusal !== undefined && { refusal }) }
  writeUpdateState(device.directory, { ended: told }, 'update told')
}

/** Who is not let in (401, 403) may be later, and could not poll either; 408 and 429 ask for another time. */
const PASSING: ReadonlySet<unknown> = new Set([401, 403, 408, 429])

const isForGood = ({ reason, facts }: TrustError): boolean =>
  reason === 'ddiRefused' && Number(facts['status']) >= 400 && Number(facts['status']) < 500 && !PASSING.has(facts['status'])

export const sentenceOf = (progress: Progress): string => {
  if (progress === 'restarting') return 'The device restarts with the new version, and says then how it went.'
  const { component, version, result, problem }: Ended = progress
  const what = component === '' ? 'update' : `${component} ${version}`
  return problem === '' ? `${what}: ${result}` : `${what}: ${result}. ${problem}`
}
