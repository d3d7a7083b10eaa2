/**
 * The device's side in one: opened on its directory, it enrolls, renews, reports, verifies, and says how it stands.
 *
 * Built of parts that know nothing of each other, so that updates, licenses and commands come as further parts.
 *
 * @module
 */
import { readFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { TrustError } from '#base/errors.ts'
import type { World } from '#base/world.ts'
import { sendReport } from '#protocols/device-state/client.ts'
import { estClient } from '#protocols/est/client.ts'
import { httpTransport } from '#protocols/http-client.ts'
import { encodePEM } from '#asn1/pem.ts'
import { parseCertificate } from '#x509/certificate.ts'
import { formatName, parseName } from '#x509/name.ts'
import { type KeyMaker, openKey } from './device-keys.ts'
import { AgentDirectory, type Settings, type State } from './directory.ts'
import { ensureEnrolled, type Identity, identityFrom, type Outcome } from './enroll.ts'
import type { Boot } from '#devices/state/messages.ts'
import { reportState } from './report.ts'
import { backoffMilliseconds } from './schedule.ts'
import { heldTrustList, takeTrustList } from './trust.ts'
import type { TrustList } from './trust-list.ts'

const TIMEOUT_SECONDS = 30
const LIST_MAX_OCTETS = 4 << 20
/** Steps of the trust list in one go: more than any maker has in the life of a device. */
const STEPS_MAX = 1000
const STATUS_NOT_FOUND = 404

export interface Agent extends AsyncDisposable {
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
}

/** @throws TrustError `conflict` while another process works on the directory */
export function openAgent(path: string, world: World): Agent {
  const directory = new AgentDirectory(path, world.faults)

  async function keyMaker({ keys, tpm }: Settings): Promise<KeyMaker> {
    if (keys !== 'tpm') return {}
    const { tpmAccess } = await import('./tpm-access.ts')
    return { tpm: tpmAccess(tpm, world.random) }
  }

  const serverTrust = ({ trust }: Settings): readonly Uint8Array[] =>
    heldTrustList(directory)?.anchors['server'] ?? trust.map((text) => Uint8Array.fromBase64(text))

  async function ensure(options: { readonly now?: boolean } = {}): Promise<Outcome> {
    const settings = directory.settings()
    const keys = await keyMaker(settings)
    const { certificate, key } = settings.identity
    const born = identityFrom(readPEM(certificate), readPEM(key), keys)
    const connect = ({ chain, key: { privateKey } }: Identity) => {
      if (privateKey === undefined) throw new TrustError('unsupported', 'agentKeyForTLS')
      const url = `${settings.server}/.well-known/est${settings.label === undefined ? '' : `/${settings.label}`}`
      return estClient({ url, trust: serverTrust(settings), certificate: { chain, privateKey }, timeoutSeconds: TIMEOUT_SECONDS })
    }
    const outcome = await ensureEnrolled({ directory, settings, keys, world, born, connect }, options)
    if (keys.tpm !== undefined && directory.read('attestation-key.pem') === undefined)
      directory.write('attestation-key.pem', await keys.tpm.makeKey('attestation'), 'agent attestation key written')
    return outcome
  }

  /** The operational key signs. TLS takes it too where it can use it, and the birth key where it cannot. */
  async function report(): Promise<number> {
    const settings = directory.settings()
    const keys = await keyMaker(settings)
    const current = directory.current()
    if (current === undefined) throw new TrustError('notFound', 'agentNotEnrolled')
    const identity: Identity = { chain: current.chain, key: openKey(current.key, keys) }
    const attestation = directory.read('attestation-key.pem')
    const { tpm } = keys
    const measure = async (nonce: Uint8Array): Promise<Boot> =>
      (tpm as NonNullable<typeof tpm>).measure(new TextDecoder().decode(attestation), nonce)
    const speaker = identity.key.privateKey === undefined ? bornOf(settings, keys) : identity
    return reportState({
      directory,
      world,
      identity,
      ...(attestation !== undefined && tpm !== undefined && { measure }),
      send: (octets) => post(settings, speaker, octets),
    })
  }

  const bornOf = ({ identity: { certificate, key } }: Settings, keys: KeyMaker): Identity =>
    identityFrom(readPEM(certificate), readPEM(key), keys)

  async function post(settings: Settings, { chain, key }: Identity, body: Uint8Array): Promise<{ readonly challenge: string }> {
    if (key.privateKey === undefined) throw new TrustError('unsupported', 'agentKeyForTLS')
    const tls = {
      ca: serverTrust(settings).map((der) => encodePEM('CERTIFICATE', der)),
      cert: chain.map((der) => encodePEM('CERTIFICATE', der)).join(''),
      key: encodePEM('PRIVATE KEY', key.privateKey.reveal('TLS client authentication')),
    }
    return sendReport({ server: settings.server, tls, timeoutSeconds: TIMEOUT_SECONDS }, body)
  }

  async function followTrust(): Promise<number> {
    const settings = directory.settings()
    if (settings.trustLists === undefined) return 0
    const base = new URL(settings.trustLists.replace(/\/*$/, '/'))
    const transport = httpTransport(base, { ca: serverTrust(settings).map((der) => encodePEM('CERTIFICATE', der)) })
    try {
      for (let steps = 0; steps < STEPS_MAX; steps++) {
        const url = new URL(`${directory.state().trustVersion + 1}.json`, base)
        const answer = await transport.ask({
          method: 'GET',
          url,
          headers: {},
          timeoutSeconds: TIMEOUT_SECONDS,
          answerMaxOctets: LIST_MAX_OCTETS,
        })
        if (answer.status === STATUS_NOT_FOUND) return steps
        if (answer.status !== 200) throw new TrustError('unavailable', 'answerIncomplete')
        await takeTrustList(directory, answer.body)
      }
      return STEPS_MAX
    } finally {
      transport.close()
    }
  }

  return {
    directory,
    async enroll(settings) {
      directory.configure(settings)
      return ensure()
    },
    renew: ensure,
    report,
    takeTrust: (octets) => takeTrustList(directory, octets),
    followTrust,
    status: () => statusOf(directory, world),
    async [Symbol.asyncDispose]() {
      directory.close()
    },
  }
}

const readPEM = (path: string): string => {
  try {
    return readFileSync(path, 'latin1')
  } catch (cause) {
    const problem = (cause as NodeJS.ErrnoException).code ?? 'unknown'
    throw new TrustError('notFound', 'fileUnreadable', { facts: { file: path, problem }, cause })
  }
}

function statusOf(directory: AgentDirectory, { clock }: World): Status {
  const state: State = directory.state()
  const now = clock.now()
  const iso = (time: number): string => new Date(time).toISOString()
  const list = heldTrustList(directory)
  const common = {
    reports: state.counter,
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

export interface RunOptions {
  readonly pollSeconds: number
  readonly signal: AbortSignal
  /** A line for whoever runs it. */
  say(line: string): void
}

/** Until it is asked to end: keeps the certificate, follows the trust list, reports. One that fails does not keep the others. */
export async function runAgent(agent: Agent, world: World, { pollSeconds, signal, say }: RunOptions): Promise<void> {
  const parts: readonly (readonly [string, () => Promise<string | undefined>])[] = [
    ['certificate', async () => saidOf(await agent.renew())],
    [
      'trust list',
      async () => ((await agent.followTrust()) > 0 ? `trust list ${agent.status().trustList?.version ?? 0}` : undefined),
    ],
    ['report', async () => `report ${await agent.report()}`],
  ]
  let failures = 0
  let lastSaid = ''
  while (!signal.aborted) {
    const lines: string[] = []
    let failed = false
    for (const [what, part] of parts) {
      try {
        lines.push(...[(await part()) ?? []].flat())
      } catch (error) {
        if (!(error instanceof Error)) throw error
        failed = true
        lines.push(`${what}: ${error.message}`)
      }
    }
    for (const line of lines) if (line !== lastSaid) say((lastSaid = line))
    failures = failed ? failures + 1 : 0
    const wait = failures === 0 ? pollSeconds * 1000 : Math.min(pollSeconds * 1000, backoffMilliseconds(failures, world.random))
    await pause(wait, undefined, { signal }).catch(() => {})
  }
}

function saidOf(outcome: Outcome): string {
  if (outcome.state === 'waiting') return `waits until ${outcome.until.toISOString()}: ${outcome.why}`
  return `certificate until ${outcome.certificate.notAfter.toISOString()}`
}
