/**
 * The device as its parts see it: its directory, its keys, whom it trusts, and how it speaks to its server.
 *
 * @module
 */
import { readFileSync } from 'node:fs'
import { encodePEM } from '#asn1/pem.ts'
import { TrustError } from '#base/errors.ts'
import type { World } from '#base/world.ts'
import { type KeyMaker, openKey } from './device-keys.ts'
import { AgentDirectory } from './directory.ts'
import { type Identity, identityFrom } from './enroll.ts'
import { heldTrustList } from './trust.ts'

/** Of every exchange with a server. */
export const TIMEOUT_SECONDS = 30

export interface Device {
  readonly directory: AgentDirectory
  readonly world: World
  keys(): Promise<KeyMaker>
  /** What it was born with. @throws TrustError `notFound` before it is set up */
  born(): Promise<Identity>
  /** Who signs: the operational key. @throws TrustError `notFound` before there is one */
  identity(): Promise<Identity>
  /** DER: who may have issued the server's certificate. */
  serverTrust(): readonly Uint8Array[]
  /** Who speaks: the operational key where TLS can use it, and the birth key where it cannot. */
  tls(): Promise<DeviceTLS>
}

/** PEM, as Node's TLS takes it. */
export interface DeviceTLS {
  readonly ca: readonly string[]
  readonly cert: string
  readonly key: string
}

/** @throws TrustError `conflict` while another process works on the directory */
export function openDevice(path: string, world: World, use: 'work' | 'read' = 'work'): Device {
  const directory = new AgentDirectory(path, world.faults, use)

  async function keys(): Promise<KeyMaker> {
    const settings = directory.settings()
    if (settings.keys !== 'tpm') return {}
    const { tpmAccess } = await import('./tpm-access.ts')
    return { tpm: tpmAccess(settings.tpm, world.random) }
  }

  async function born(): Promise<Identity> {
    const { certificate, key } = directory.settings().identity
    return identityFrom(readPEM(certificate), readPEM(key), await keys())
  }

  async function identity(): Promise<Identity> {
    directory.settings()
    const current = directory.current()
    if (current === undefined) throw new TrustError('notFound', 'agentNotEnrolled')
    return { chain: current.chain, key: openKey(current.key, await keys()) }
  }

  const serverTrust = (): readonly Uint8Array[] =>
    heldTrustList(directory)?.anchors['server'] ?? directory.settings().trust.map((text) => Uint8Array.fromBase64(text))

  async function tls(): Promise<DeviceTLS> {
    const own = await identity()
    const { chain, key } = own.key.privateKey === undefined ? await born() : own
    if (key.privateKey === undefined) throw new TrustError('unsupported', 'agentKeyForTLS')
    return {
      ca: serverTrust().map((der) => encodePEM('CERTIFICATE', der)),
      cert: chain.map((der) => encodePEM('CERTIFICATE', der)).join(''),
      key: encodePEM('PRIVATE KEY', key.privateKey.reveal('TLS client authentication')),
    }
  }

  return { directory, world, keys, born, identity, serverTrust, tls }
}

const readPEM = (path: string): string => {
  try {
    return readFileSync(path, 'latin1')
  } catch (cause) {
    const problem = (cause as NodeJS.ErrnoException).code ?? 'unknown'
    throw new TrustError('notFound', 'fileUnreadable', { facts: { file: path, problem }, cause })
  }
}
