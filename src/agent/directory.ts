/**
 * What the agent keeps on its device: one directory, in which every change is whole or was never made, wherever power is cut.
 *
 * A key, the request that was signed with it and the certificate that answers it are a generation, in a directory of its own
 * under `keys`. `state.json` names the one in use. Every file is written beside, brought to the disk, and moved into place, so
 * whatever is found at the next start is one of a few known things, and `recover` goes on from each.
 *
 * @module
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { parsePEM } from '#asn1/pem.ts'
import { syncDirectory, writeDurably } from '#base/durable-file.ts'
import { TrustError } from '#base/errors.ts'
import type { Faults } from '#base/world.ts'
import { type JSONObject, parseJSONObject } from '#jose/json.ts'

/** What is written here is never longer: chains of ML-DSA certificates included. */
const FILE_MAX_OCTETS = 1 << 20

/** Made once, by the first enrollment. */
export interface Settings {
  /** `https://pki.example:8443` */
  readonly server: string
  /** Of the enrollment endpoint; the default one without it. */
  readonly label?: string
  /** Who may have issued the server's certificate: DER as base64. A trust list that names servers goes before it. */
  readonly trust: readonly string[]
  readonly keys: 'software' | 'tpm'
  /** Device file, path of a socket, or `host:port`. */
  readonly tpm?: string
  /** What the device was born with: files of PEM. */
  readonly identity: { readonly certificate: string; readonly key: string }
  /** Where successors of the trust list are, as `…/VERSION.json`. */
  readonly trustLists?: string
}

/** A person's approval, a server that answers, or that somebody mends what was refused. */
export type WaitsFor = 'approval' | 'server' | 'mending' | 'nothing'

/** What changes. */
export interface State {
  /** The generation in use; 0 before the first. */
  readonly current: number
  /** When it is renewed, in milliseconds: drawn once for each generation, so that a plant's devices do not ask all at once. */
  readonly renewAt: number
  /** Nothing is asked for before. */
  readonly nextAt: number
  /** In a row. */
  readonly failures: number
  /** What went wrong last, for a person. */
  readonly problem: string
  readonly waitsFor: WaitsFor
  /** Of the newest trust list that was here: none below it is believed. */
  readonly trustVersion: number
  /** Of the last report that the server has. */
  readonly counter: number
  /** SHA-256 of that report, hexadecimal. */
  readonly previous: string
  /** What the server wants to see in the next one. */
  readonly challenge: string
}

const FIRST: State = {
  current: 0,
  renewAt: 0,
  nextAt: 0,
  failures: 0,
  problem: '',
  waitsFor: 'nothing',
  trustVersion: 0,
  counter: 0,
  previous: '',
  challenge: '',
}

/** A key with its request, and what came for it. */
export interface Generation {
  readonly number: number
  /** PEM */
  readonly key: string
  /** DER */
  readonly request: Uint8Array
  /** DER, the device's own first; empty until it came. */
  readonly chain: readonly Uint8Array[]
}

export type FileName =
  | 'trust-list.json'
  | 'report.jws'
  | 'components.json'
  | 'device.json'
  | 'attestation-key.pem'
  | 'updates.json'
  | 'update.json'
  | 'software-anchors.pem'
  | 'commands.json'

export class AgentDirectory {
  readonly path: string
  readonly #faults: Faults
  readonly #lock: DatabaseSync | undefined

  /**
   * One process at a time, beside those that only read: they see each file whole, as it was before a change or after it.
   *
   * @throws TrustError `conflict` while another works on it
   */
  constructor(path: string, faults: Faults, use: 'work' | 'read' = 'work') {
    this.path = path
    this.#faults = faults
    if (use === 'read') return
    makeDirectory(join(path, 'keys'))
    this.#lock = lockOn(join(path, 'lock.db'))
  }

  close(): void {
    this.#lock?.close()
  }

  /** @throws TrustError `notFound` before the first enrollment */
  settings(): Settings {
    const settings = this.#readJSON('agent.json')
    if (settings === undefined) throw new TrustError('notFound', 'agentNotEnrolled')
    return settings as unknown as Settings // written by `enroll` of this program
  }

  /** @throws TrustError `conflict` when others are there: an agent is set up once */
  configure(settings: Settings): void {
    const found = this.#readJSON('agent.json')
    if (found !== undefined && JSON.stringify(found) !== JSON.stringify(settings)) throw new TrustError('conflict', 'agentSetUp')
    if (found === undefined) this.#replace('agent.json', JSON.stringify(settings), 'agent configured')
  }

  state(): State {
    return { ...FIRST, ...(this.#readJSON('state.json') as Partial<State> | undefined) }
  }

  update(changes: Partial<State>, point: string): State {
    const state = { ...this.state(), ...changes }
    this.#replace('state.json', JSON.stringify(state), point)
    return state
  }

  read(name: FileName): Uint8Array | undefined {
    return this.#read(name)
  }

  write(name: FileName, content: Uint8Array | string, point: string): void {
    this.#replace(name, content, point)
  }

  remove(name: FileName): void {
    rmSync(join(this.path, name), { force: true })
    syncDirectory(this.path)
  }

  /** The one in use. @throws TrustError `internal` when it cannot be read */
  current(): Generation | undefined {
    const { current } = this.state()
    if (current === 0) return undefined
    const generation = this.#generation(current)
    if (generation === undefined || generation.chain.length === 0)
      throw new TrustError('internal', 'agentDamaged', { facts: { directory: join(this.path, 'keys', String(current)) } })
    return generation
  }

  /** One that waits for its certificate. */
  pending(): Generation | undefined {
    const number = this.#numbers().find((one) => one > this.state().current)
    return number === undefined ? undefined : this.#generation(number)
  }

  /** A new generation, on the disk before anybody hears of its key. */
  begin(key: string, request: Uint8Array): Generation {
    const number = this.state().current + 1
    const [part, place] = [join(this.path, 'keys', `${number}.part`), join(this.path, 'keys', String(number))]
    rmSync(part, { recursive: true, force: true })
    makeDirectory(part)
    writeDurably(join(part, 'key.pem'), key, 0o600)
    this.#faults.reach('agent key written')
    writeDurably(join(part, 'request.der'), request, 0o600)
    this.#faults.reach('agent request written')
    renameSync(part, place)
    syncDirectory(join(this.path, 'keys'))
    this.#faults.reach('agent generation begun')
    return { number, key, request, chain: [] }
  }

  /** The server will not have it. */
  discard({ number }: Generation): void {
    const [place, part] = [join(this.path, 'keys', String(number)), join(this.path, 'keys', `${number}.part`)]
    renameSync(place, part) // what is half removed must not look like one that waits
    syncDirectory(join(this.path, 'keys'))
    rmSync(part, { recursive: true })
  }

  /** @param chain PEM, the device's own first @param anchors PEM */
  complete({ number }: Generation, chain: string, anchors: string): void {
    this.#replace(join('keys', String(number), 'anchors.pem'), anchors, 'agent anchors written')
    this.#replace(join('keys', String(number), 'certificate.pem'), chain, 'agent certificate written')
  }

  /** In one step from the one to the other; then what is not in use any more goes away, its key too. */
  switchTo({ number }: Generation, renewAt: number): void {
    this.update({ current: number, renewAt, nextAt: 0, failures: 0, problem: '', waitsFor: 'nothing' }, 'agent switched')
    this.#removeFormer(number)
    this.#faults.reach('agent former removed')
  }

  /** Takes away what a cut left half written. @returns a generation whose certificate is there but that is not in use yet */
  recover(): Generation | undefined {
    const { current } = this.state()
    for (const name of readdirSync(this.path)) if (name.endsWith('.new')) rmSync(join(this.path, name))
    for (const name of readdirSync(join(this.path, 'keys')))
      if (name.endsWith('.part')) rmSync(join(this.path, 'keys', name), { recursive: true })
    if (current > 0) this.#removeFormer(current)
    const pending = this.pending()
    return pending !== undefined && pending.chain.length > 0 ? pending : undefined
  }

  #removeFormer(current: number): void {
    for (const number of this.#numbers())
      if (number < current) rmSync(join(this.path, 'keys', String(number)), { recursive: true })
    syncDirectory(join(this.path, 'keys'))
  }

  #numbers(): readonly number[] {
    return readdirSync(join(this.path, 'keys'))
      .filter((name) => /^[1-9]\d{0,8}$/.test(name))
      .map(Number)
      .toSorted((a, b) => a - b)
  }

  #generation(number: number): Generation | undefined {
    const file = (name: string): Uint8Array | undefined => this.#read(join('keys', String(number), name))
    const [key, request, certificate] = [file('key.pem'), file('request.der'), file('certificate.pem')]
    if (key === undefined || request === undefined) return undefined
    const chain = certificate === undefined ? [] : parsePEM(textOf(certificate)).map(({ der }) => der)
    return { number, key: textOf(key), request, chain }
  }

  #read(name: string): Uint8Array | undefined {
    const path = join(this.path, name)
    return existsSync(path) ? new Uint8Array(readFileSync(path)) : undefined
  }

  #readJSON(name: string): JSONObject | undefined {
    const octets = this.#read(name)
    return octets === undefined ? undefined : parseJSONObject(octets, FILE_MAX_OCTETS)
  }

  #replace(name: string, content: Uint8Array | string, point: string): void {
    if (this.#lock === undefined) throw new TypeError('whoever only reads changed a file')
    const path = join(this.path, name)
    rmSync(`${path}.new`, { force: true })
    writeDurably(`${path}.new`, content, 0o600)
    this.#faults.reach(`${point}: beside`)
    renameSync(`${path}.new`, path)
    syncDirectory(dirname(path))
    this.#faults.reach(point)
  }
}

const textOf = (octets: Uint8Array): string => new TextDecoder('latin1').decode(octets)

function makeDirectory(path: string): void {
  const first = mkdirSync(path, { recursive: true, mode: 0o700 })
  if (first !== undefined) syncDirectory(dirname(first))
}

/** SQLite's lock on an empty file: the system frees it when the process ends, however it ends. */
function lockOn(path: string): DatabaseSync {
  const file = new DatabaseSync(path, { timeout: 0 })
  try {
    file.exec('PRAGMA journal_mode = MEMORY; BEGIN IMMEDIATE')
    return file
  } catch (cause) {
    file.close()
    throw new TrustError('conflict', 'agentBusy', { facts: { directory: dirname(path) }, cause })
  }
}
