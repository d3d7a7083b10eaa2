/** `updates.json`: which components of the device are updated, and how; written by whoever builds the device. @module */
import { isAbsolute, join } from 'node:path'
import { encodePEM } from '#asn1/pem.ts'
import { TrustError } from '#base/errors.ts'
import { isJSONObject, type JSONObject, type JSONValue, parseJSONObject } from '#jose/json.ts'
import type { Device } from './device.ts'
import type { Facts } from './facts.ts'
import type { Installer } from './installers/installer.ts'
import type { Call } from './program.ts'
import { heldTrustList } from './trust.ts'
import { SOFTWARE } from './verify.ts'

const FILE = 'updates.json'
const FILE_MAX_OCTETS = 256 << 10
/** Writing an image to slow flash. */
const TIMEOUT_USUAL_SECONDS = 1800
const TIMEOUT_MAX_SECONDS = 86_400

export interface ComponentSettings {
  readonly name: string
  readonly installer: 'file' | 'command' | 'swupdate' | 'rauc'
  /** What the installer of this kind wants to know. */
  readonly more: JSONObject
  /** What makes the new version run. */
  readonly restart?: Call
  /** The restart is one of the whole device: the agent goes on after it. */
  readonly reboots: boolean
  /** Ends with 0 when the new version does what it must. */
  readonly health?: Call
  readonly timeoutSeconds: number
}

export interface UpdateSettings {
  /** Of the server's DDI. */
  readonly tenant: string
  /** What the owner or driver is asked for: `ask` waits for `agent update --confirm`. */
  readonly consent: 'given' | 'ask'
  readonly components: ReadonlyMap<string, ComponentSettings>
  /** What opens files that come in an envelope. */
  readonly decryption: Decryption | undefined
}

/** Files of PEM: a certificate for encryption, and its key, which is for nothing else. */
export interface Decryption {
  readonly certificate: string
  readonly key: string
}

const malformed = (detail: string): TrustError => new TrustError('malformed', 'agentFile', { facts: { file: FILE, detail } })

/** @returns undefined where the device is not updated @throws TrustError `malformed` */
export function updateSettings({ directory }: Device): UpdateSettings | undefined {
  const octets = directory.read(FILE)
  if (octets === undefined) return undefined
  const { tenant = 'default', consent = 'given', components, decryption } = parseJSONObject(octets, FILE_MAX_OCTETS)
  if (typeof tenant !== 'string' || !/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(tenant)) throw malformed('its tenant is no name')
  if (consent !== 'given' && consent !== 'ask') throw malformed('consent is neither given nor ask')
  if (!Array.isArray(components)) throw malformed('it names no components')
  const list = (components as readonly JSONValue[]).map(componentIn)
  const named = new Map(list.map((one) => [one.name, one]))
  if (named.size !== list.length) throw malformed('a component is in it twice')
  return { tenant, consent, components: named, decryption: decryptionIn(decryption) }
}

function decryptionIn(value: JSONValue | undefined): Decryption | undefined {
  if (value === undefined) return undefined
  const { certificate, key } = isJSONObject(value) ? value : {}
  if (typeof certificate !== 'string' || typeof key !== 'string' || !isAbsolute(certificate) || !isAbsolute(key))
    throw malformed('decryption does not say certificate and key, with their whole paths')
  return { certificate, key }
}

function componentIn(value: JSONValue): ComponentSettings {
  const { name, installer, restart, reboots = false, health, timeoutSeconds = TIMEOUT_USUAL_SECONDS, ...more } = objectIn(value)
  if (typeof name !== 'string' || name === '') throw malformed('a component has no name')
  if (installer !== 'file' && installer !== 'command' && installer !== 'swupdate' && installer !== 'rauc')
    throw malformed(`${name} has no installer: file, command, swupdate or rauc`)
  if (typeof reboots !== 'boolean') throw malformed(`reboots of ${name} is neither true nor false`)
  if (typeof timeoutSeconds !== 'number' || !(timeoutSeconds > 0 && timeoutSeconds <= TIMEOUT_MAX_SECONDS))
    throw malformed(`timeoutSeconds of ${name} is not from 1 to ${TIMEOUT_MAX_SECONDS}`)
  return {
    ...{ name, installer, more, reboots, timeoutSeconds },
    ...callAs('restart', restart),
    ...callAs('health', health),
  }
}

const objectIn = (value: JSONValue): JSONObject => (isJSONObject(value) ? value : raise('a component is no object'))
const raise = (detail: string): never => {
  throw malformed(detail)
}

function callIn(value: JSONValue | undefined, what: string): Call | undefined {
  if (value === undefined) return undefined
  const [program, ...rest] = Array.isArray(value) ? (value as readonly JSONValue[]) : []
  if (typeof program !== 'string' || !isAbsolute(program) || !rest.every((one) => typeof one === 'string'))
    throw malformed(`${what} is no list of a program, with its whole path, and its arguments`)
  return [program, ...(rest as readonly string[])]
}

const callAs = <const N extends string>(name: N, value: JSONValue | undefined): { readonly [K in N]?: Call } => {
  const call = callIn(value, name)
  return (call === undefined ? {} : { [name]: call }) as { readonly [K in N]?: Call }
}

function textIn(more: JSONObject, name: string): string | undefined {
  const value = more[name]
  if (value === undefined || typeof value === 'string') return value
  throw malformed(`${name} is no text`)
}

const textsIn = (more: JSONObject, name: string): readonly string[] => {
  const value = more[name] ?? []
  if (Array.isArray(value) && value.every((one) => typeof one === 'string')) return value
  throw malformed(`${name} is no list of texts`)
}

export interface InstallerContext {
  readonly device: Device
  readonly facts: Facts
}

/**
 * Loads what the component's way needs. The keyring is of the trust list that is held, also when its end is past: who may begin an
 * update was asked when it was taken, and one that was taken goes on or back.
 *
 * @throws TrustError `malformed`
 */
export async function installerOf(
  { name, installer, more, timeoutSeconds }: ComponentSettings,
  { device, facts }: InstallerContext,
): Promise<Installer> {
  const { directory, world } = device
  switch (installer) {
    case 'file': {
      const slots = textIn(more, 'slots')
      if (slots === undefined || !isAbsolute(slots))
        throw malformed(`${name} says no directory for its slots, with its whole path`)
      return (await import('./installers/file.ts')).fileInstaller(slots, world.faults)
    }
    case 'command': {
      const install = callIn(more['install'], 'install')
      if (install === undefined) throw malformed(`${name} says no program that installs`)
      const { commandInstaller } = await import('./installers/command.ts')
      const others = {
        ...callAs('activate', more['activate']),
        ...callAs('revert', more['revert']),
        ...callAs('commit', more['commit']),
      }
      return commandInstaller({ install, ...others, timeoutSeconds }, directory.path)
    }
    case 'swupdate': {
      const { swupdateInstaller } = await import('./installers/swupdate.ts')
      const anchors = heldTrustList(directory)?.anchors[SOFTWARE] ?? []
      const pem = anchors.map((der) => encodePEM('CERTIFICATE', der)).join('')
      const held = directory.read('software-anchors.pem')
      if (held === undefined || new TextDecoder().decode(held) !== pem)
        directory.write('software-anchors.pem', pem, 'update keyring written')
      const keyring = join(directory.path, 'software-anchors.pem')
      return swupdateInstaller(
        {
          program: textIn(more, 'program') ?? '/usr/bin/swupdate',
          board: textIn(more, 'board'),
          options: textsIn(more, 'options'),
          ...callAs('activate', more['activate']),
          ...callAs('revert', more['revert']),
          timeoutSeconds,
        },
        { facts, keyring, directory: directory.path },
      )
    }
    case 'rauc': {
      const { raucInstaller } = await import('./installers/rauc.ts')
      const compatible = textIn(more, 'compatible') ?? facts.model
      const [program, options] = [textIn(more, 'program') ?? '/usr/bin/rauc', textsIn(more, 'options')]
      return raucInstaller({ program, compatible, options, timeoutSeconds }, directory.path)
    }
  }
}
