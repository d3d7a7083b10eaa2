/**
 * What the server's main thread and its fronts tell each other.
 *
 * @module
 */
import type { MessagePort } from 'node:worker_threads'
import { secret } from '#base/secret.ts'
import { alone, type SentError } from '#base/sent.ts'
import type { Config } from '#config/config.ts'
import type { Address } from '#config/setting.ts'
import type { Arrival } from '#protocols/dispatch.ts'
import type { Reply } from '#protocols/protocol.ts'
import type { SharedKeyStores } from '#keys/lent.ts'
import type { SharedDatabase } from '#store/database.ts'
import type { Listener } from './listener.ts'
import type { TLSFace } from './tls-options.ts'

/** The route under which a front counts what it hands on; the main thread counts it under its own name. */
export const FORWARDED = 'forwarded'

/** Half of the second within which every thread and process acts on what another did to an authority. */
export const AUTHORITIES_SECONDS = 0.5

/** What a front is started with. */
export interface FrontOrder {
  readonly config: Config
  readonly environment: Readonly<Record<string, string | undefined>>
  readonly database: SharedDatabase
  readonly keyStores: SharedKeyStores
  readonly addresses: { readonly tls: Address; readonly public: Address }
  readonly face: SentFace
  /** All fronts make the keys of session tickets from it, so that a session goes on wherever its next connection lands. */
  readonly ticketSecret: Uint8Array
  readonly headers: Readonly<Record<string, string>>
  /** How many there are: each takes its part of the connections. */
  readonly fronts: number
}

export type ToFront =
  | { readonly kind: 'present'; readonly face: SentFace }
  /** Something was changed by a person: what was read lately may be old. To be acknowledged. */
  | { readonly kind: 'changed'; readonly id: number }
  | { readonly kind: 'answer'; readonly id: number; readonly reply: SentReply }
  | { readonly kind: 'stop' }

export type FromFront =
  | { readonly kind: 'ready' }
  | { readonly kind: 'seen'; readonly id: number }
  | { readonly kind: 'ask'; readonly id: number; readonly listener: Listener['id']; readonly arrival: SentArrival }
  | {
      readonly kind: 'observed'
      readonly requests: readonly ObservedRequest[]
      readonly connections: readonly ObservedConnection[]
    }
  | { readonly kind: 'log'; readonly line: string }

export type ObservedRequest = readonly [listener: string, route: string, status: number, seconds: number]
export type ObservedConnection = readonly [
  listener: string,
  event: 'opened' | 'refusedHandshake' | 'malformedRequest' | 'overLimit',
]

/** Whether a request's body is an artifact: it is handed on piece by piece, and not read before. */
export const isStreamed = ({ headers }: Pick<Arrival, 'headers'>): boolean =>
  headers['content-type']?.split(';', 1)[0]?.trim().toLowerCase() === 'application/octet-stream'

/** A request for the main thread; its body has been read or is lent, and nothing there looks at the TLS connection. */
export interface SentArrival extends Omit<Arrival, 'body' | 'stream' | 'peer'> {
  readonly body: Uint8Array | SentError | MessagePort
  readonly peer: { readonly address: string; readonly chain: readonly Uint8Array[] }
}

/** What is too long to be held is lent. */
export interface SentReply extends Omit<Reply, 'stream'> {
  readonly stream?: { readonly octets: number; readonly port: MessagePort }
}

/** A secret is a class and would not survive; it stays in this process. */
export interface SentFace extends Omit<TLSFace, 'identity'> {
  readonly certificateChainPEM: string
  readonly privateKeyPEM: Uint8Array
}

export const sendFace = ({ identity, clientAuthorities }: TLSFace): SentFace => ({
  clientAuthorities,
  certificateChainPEM: identity.certificateChainPEM,
  privateKeyPEM: alone(identity.privateKeyPEM.reveal('TLS server key of another thread')),
})

export const receivedFace = ({ certificateChainPEM, privateKeyPEM, clientAuthorities }: SentFace): TLSFace => ({
  identity: { certificateChainPEM, privateKeyPEM: secret(privateKeyPEM) },
  clientAuthorities,
})
