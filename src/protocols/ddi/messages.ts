/**
 * What hawkBit's Direct Device Integration puts into HTTP bodies, both directions.
 *
 * Source: hawkBit DDI API v1 (`rest/root-controller-v1`); the quirks of clients are listed in the README.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import { isJSONObject, type JSONObject, type JSONValue, parseJSONObject } from '#jose/json.ts'
import {
  type ArtifactFacts,
  type Attributes,
  type AutoConfirmation,
  type ConfirmationAnswer,
  type Confirmations,
  type Deployment,
  type Execution,
  executions,
  type Feedback,
  type Poll,
  results,
} from './service.ts'

export const MOUNT = '/ddi'
export const MEDIA_TYPE = 'application/hal+json;charset=utf-8'

/** A log of an installation fits; clients send the whole of it with their last feedback. */
export const BODY_MAX_OCTETS = 256 << 10
/** Of a feedback, more is dropped: the first lines say what failed. */
const DETAILS_MAX = 50
const DETAIL_MAX_CHARACTERS = 512
/** As hawkBit has them. */
const ATTRIBUTES_MAX = 100
const ATTRIBUTE_NAME_MAX = 128
const ATTRIBUTE_VALUE_MAX = 512
const REMARK_MAX_CHARACTERS = 512
/** swupdate reads the number of an action into an int. */
const ACTION_MAX = 2 ** 31 - 1

const malformed = (detail: string): TrustError => new TrustError('malformed', 'ddiMalformed', { facts: { detail } })

/** @throws TrustError `malformed` */
export function parseAction(text: string): number {
  const action = /^[1-9][0-9]{0,9}$/.test(text) ? Number(text) : 0
  if (action < 1 || action > ACTION_MAX) throw malformed('the action is no number')
  return action
}

/** @param action of the path: a body that names another is refused @throws TrustError `malformed`, `tooLarge` */
export function parseFeedback(octets: Uint8Array, action: number): Feedback {
  const { id, status } = parseJSONObject(octets, BODY_MAX_OCTETS)
  const named = typeof id === 'string' || typeof id === 'number' ? String(id) : id // clients write either
  if (named !== undefined && named !== String(action)) throw malformed('it is about another action')
  const { execution, result, code, details } = isJSONObject(status) ? status : malformedStatus()
  const { finished } = isJSONObject(result) ? result : malformedStatus()
  const known = executions.find((one) => one === execution)
  const outcome = results.find((one) => one === finished)
  if (known === undefined || outcome === undefined) throw malformed('its execution or result is none')
  return { execution: known, finished: outcome, code: codeOf(code), details: detailsOf(details) }
}

function malformedStatus(): JSONObject {
  throw malformed('its status is missing')
}

const codeOf = (value: JSONValue | undefined): number | undefined =>
  typeof value === 'number' && Number.isSafeInteger(value) ? value : undefined

function detailsOf(value: JSONValue | undefined): readonly string[] {
  const list = Array.isArray(value) ? (value as readonly JSONValue[]) : typeof value === 'string' ? [value] : []
  return list
    .slice(0, DETAILS_MAX)
    .flatMap((item) => (typeof item === 'string' && item !== '' ? [shown(item, DETAIL_MAX_CHARACTERS)] : []))
}

/** Kept and shown to people: no characters that steer a terminal. */
const shown = (text: string, max: number): string => text.replaceAll(/[\p{Cc}\p{Cf}]/gu, ' ').slice(0, max)

export interface NewAttributes {
  readonly mode: 'merge' | 'replace' | 'remove'
  readonly data: Attributes
}

/** swupdate sends `id`, `time` and `status` of an older form beside it, which say nothing. @throws TrustError `malformed`, `tooLarge` */
export function parseConfigData(octets: Uint8Array): NewAttributes {
  const { mode = 'merge', data } = parseJSONObject(octets, BODY_MAX_OCTETS)
  if (mode !== 'merge' && mode !== 'replace' && mode !== 'remove') throw malformed('its mode is none')
  if (!isJSONObject(data)) throw malformed('its data is missing')
  const entries = Object.entries(data)
  if (entries.length > ATTRIBUTES_MAX)
    throw new TrustError('tooLarge', 'ddiTooManyAttributes', { facts: { limit: ATTRIBUTES_MAX } })
  return { mode, data: Object.fromEntries(entries.map(([name, value]) => [attributeName(name), attributeValue(value)])) }
}

function attributeName(name: string): string {
  if (!/^[\w.:/@ -]+$/.test(name) || name.length > ATTRIBUTE_NAME_MAX || name === '__proto__')
    throw malformed('an attribute has no proper name')
  return name
}

function attributeValue(value: JSONValue): string {
  if (value === null) return '' // it is to be removed
  if (typeof value !== 'string' && typeof value !== 'number' && typeof value !== 'boolean')
    throw malformed('an attribute is no text')
  const text = String(value)
  if (text.length > ATTRIBUTE_VALUE_MAX) throw malformed('an attribute is too long')
  return shown(text, ATTRIBUTE_VALUE_MAX)
}

/** @throws TrustError `malformed`, `tooLarge` */
export function parseConfirmation(octets: Uint8Array): ConfirmationAnswer {
  const { confirmation, code, details } = parseJSONObject(octets, BODY_MAX_OCTETS)
  if (confirmation !== 'confirmed' && confirmation !== 'denied') throw malformed('it neither confirms nor denies')
  return { confirmation, code: codeOf(code), details: detailsOf(details) }
}

/** The body may be empty. @throws TrustError `malformed`, `tooLarge` */
export function parseAutoConfirmation(octets: Uint8Array): AutoConfirmation {
  const { initiator, remark } = octets.length === 0 ? ({} as JSONObject) : parseJSONObject(octets, BODY_MAX_OCTETS)
  return { initiator: remarkOf(initiator), remark: remarkOf(remark) }
}

const remarkOf = (value: JSONValue | undefined): string | undefined =>
  typeof value === 'string' && value !== '' ? shown(value, REMARK_MAX_CHARACTERS) : undefined

const pad = (value: number): string => String(value).padStart(2, '0')

/** `HH:MM:SS` */
export const encodeSleep = (seconds: number): string =>
  `${pad(Math.floor(seconds / 3600))}:${pad(Math.floor(seconds / 60) % 60)}:${pad(seconds % 60)}`

type Links = Readonly<Record<string, { readonly href: string }>>

/** @param base `https://pki.example:8443/ddi/TENANT/controller/v1/ID` */
export function encodePoll(
  { pollingSeconds, wantsAttributes, deployment, confirmation, cancel, installed }: Poll,
  base: string,
): string {
  const links: Links = {
    ...(deployment !== undefined && { deploymentBase: { href: `${base}/deploymentBase/${deployment}` } }),
    ...(cancel !== undefined && { cancelAction: { href: `${base}/cancelAction/${cancel}` } }),
    ...(confirmation !== undefined && { confirmationBase: { href: `${base}/confirmationBase/${confirmation}` } }),
    ...(installed !== undefined && { installedBase: { href: `${base}/installedBase/${installed}` } }),
    ...(wantsAttributes && { configData: { href: `${base}/configData` } }),
  }
  return JSON.stringify({ config: { polling: { sleep: encodeSleep(pollingSeconds) } }, _links: links })
}

/** @param name `confirmation` for what waits for one */
export function encodeDeployment(
  { action, download, update, maintenanceWindow, chunks }: Deployment,
  base: string,
  name: 'deployment' | 'confirmation' = 'deployment',
): string {
  const window = maintenanceWindow !== undefined && { maintenanceWindow }
  const encoded = chunks.map(({ artifacts, ...chunk }) => ({
    ...chunk,
    artifacts: artifacts.map((artifact) => artifactOf(artifact, base, action)),
  }))
  return JSON.stringify({ id: String(action), [name]: { download, update, ...window, chunks: encoded } })
}

export const encodeArtifacts = (artifacts: readonly ArtifactFacts[], base: string, action: number): string =>
  JSON.stringify(artifacts.map((artifact) => artifactOf(artifact, base, action)))

function artifactOf({ filename, hashes, octets }: ArtifactFacts, base: string, action: number) {
  const href = `${base}/softwaremodules/${action}/artifacts/${encodeURIComponent(filename)}`
  return { filename, hashes, size: octets, _links: { download: { href }, md5sum: { href: `${href}.MD5SUM` } } }
}

export const encodeCancel = (action: number): string =>
  JSON.stringify({ id: String(action), cancelAction: { stopId: String(action) } })

export function encodeConfirmations({ autoConfirm, waiting }: Confirmations, base: string): string {
  const { initiator, remark, activatedAt } = autoConfirm ?? {}
  return JSON.stringify({
    autoConfirm: {
      active: autoConfirm !== undefined,
      ...(initiator !== undefined && { initiator }),
      ...(remark !== undefined && { remark }),
      ...(activatedAt !== undefined && { activatedAt: activatedAt.getTime() }),
    },
    _links: {
      ...(autoConfirm === undefined
        ? { activateAutoConfirm: { href: `${base}/confirmationBase/activateAutoConfirm` } }
        : { deactivateAutoConfirm: { href: `${base}/confirmationBase/deactivateAutoConfirm` } }),
      ...(waiting !== undefined && { confirmationBase: { href: `${base}/confirmationBase/${waiting}` } }),
    },
  })
}

/** One line as `md5sum` writes it. */
export const encodeMD5Sum = ({ filename, hashes }: ArtifactFacts): string => `${hashes.md5}  ${filename}\n`

// the other side

/** A client reads no more: a deployment names some files. */
export const ANSWER_MAX_OCTETS = 1 << 20

export interface PollAnswer {
  readonly sleepSeconds: number
  readonly links: Readonly<Record<string, string>>
}

/** @throws TrustError `malformed`, `tooLarge` */
export function parsePoll(octets: Uint8Array): PollAnswer {
  const { config, _links: links } = parseJSONObject(octets, ANSWER_MAX_OCTETS)
  const { polling } = isJSONObject(config) ? config : {}
  const { sleep } = isJSONObject(polling) ? polling : {}
  const [, hours, minutes, seconds] = /^(\d{1,4}):([0-5]\d):([0-5]\d)$/.exec(typeof sleep === 'string' ? sleep : '') ?? []
  if (seconds === undefined) throw malformed('it does not say when to ask again')
  const entries = Object.entries(isJSONObject(links) ? links : {})
  return {
    sleepSeconds: Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds),
    links: Object.fromEntries(entries.map(([name, link]) => [name, hrefOf(link)])),
  }
}

function hrefOf(link: JSONValue | undefined): string {
  const { href } = isJSONObject(link) ? link : {}
  if (typeof href !== 'string') throw malformed('a link leads nowhere')
  return href
}

export interface LinkedArtifact {
  readonly filename: string
  readonly octets: number
  readonly sha256: string
  readonly href: string
}

export interface DeploymentAnswer extends Omit<Deployment, 'chunks'> {
  readonly chunks: readonly (Omit<Deployment['chunks'][number], 'artifacts'> & {
    readonly artifacts: readonly LinkedArtifact[]
  })[]
}

/** @throws TrustError `malformed`, `tooLarge` */
export function parseDeployment(octets: Uint8Array, name: 'deployment' | 'confirmation' = 'deployment'): DeploymentAnswer {
  const { id, [name]: found } = parseJSONObject(octets, ANSWER_MAX_OCTETS)
  const { download, update, maintenanceWindow, chunks } = isJSONObject(found) ? found : {}
  if (!Array.isArray(chunks)) throw malformed('it has no chunks')
  return {
    action: parseAction(typeof id === 'string' || typeof id === 'number' ? String(id) : ''),
    download: handlingOf(download),
    update: handlingOf(update),
    ...((maintenanceWindow === 'available' || maintenanceWindow === 'unavailable') && { maintenanceWindow }),
    chunks: (chunks as readonly JSONValue[]).map(chunkOf),
  }
}

function handlingOf(value: JSONValue | undefined): Deployment['download'] {
  if (value === 'skip' || value === 'attempt' || value === 'forced') return value
  throw malformed('it does not say how urgent it is')
}

function chunkOf(value: JSONValue): DeploymentAnswer['chunks'][number] {
  const { part, name, version, artifacts } = isJSONObject(value) ? value : {}
  if (typeof part !== 'string' || typeof name !== 'string' || typeof version !== 'string' || !Array.isArray(artifacts))
    throw malformed('a chunk lacks its names')
  return { part, name, version, artifacts: (artifacts as readonly JSONValue[]).map(linkedArtifact) }
}

function linkedArtifact(value: JSONValue): LinkedArtifact {
  const { filename, size, hashes, _links: links } = isJSONObject(value) ? value : {}
  const { sha256 } = isJSONObject(hashes) ? hashes : {}
  const { download } = isJSONObject(links) ? links : {}
  if (typeof filename !== 'string' || typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0)
    throw malformed('an artifact lacks its name or size')
  if (typeof sha256 !== 'string' || !/^[0-9a-f]{64}$/.test(sha256)) throw malformed('an artifact lacks its SHA-256 digest')
  return { filename, octets: size, sha256, href: hrefOf(download) }
}

export const encodeFeedback = (
  action: number,
  { execution, finished, code, details = [] }: { readonly execution: Execution } & Partial<Feedback>,
): string =>
  JSON.stringify({
    id: String(action),
    status: { execution, result: { finished: finished ?? 'none' }, ...(code !== undefined && { code }), details },
  })
