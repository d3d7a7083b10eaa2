/**
 * The shape that every protocol folder exports, and what its handlers are given.
 *
 * A handler is a function of an {@link Exchange} and the service its protocol names, so that a test is a function call.
 *
 * @module
 */
import type { TrustError } from '#base/errors.ts'

export interface Exchange {
  readonly method: string
  /** Path below the protocol's mount point and label, such as `/simpleenroll`. */
  readonly path: string
  /** The enrollment endpoint's label, or undefined on the unlabelled path. */
  readonly label: string | undefined
  /** Without the question mark; empty without a query. */
  readonly query: string
  /** Header fields by lower-case name. */
  readonly headers: Readonly<Record<string, string | undefined>>
  /** Reads the body, once. @throws TrustError `tooLarge` beyond `maxOctets`, `malformed` when the peer stops half way */
  body(maxOctets: number): Promise<Uint8Array>
  readonly peer: Peer
}

export interface Peer {
  readonly address: string
  /** The client certificate that the TLS handshake proved, and what came with it; DER, empty without one. Not yet trusted. */
  readonly chain: readonly Uint8Array[]
  /** Undefined on the plain listener. */
  readonly tls: TLSBinding | undefined
}

/** What ties a message to its TLS connection. */
export interface TLSBinding {
  readonly version: 'TLSv1.2' | 'TLSv1.3'
  /** RFC 9266 `tls-exporter` value; on TLS 1.2 only trustworthy with extended master secret. */
  exporter(): Uint8Array
  /** RFC 5929 `tls-unique`, only on TLS 1.2. Undefined where it does not exist. */
  tlsUnique(): Uint8Array | undefined
  /** RFC 7627. Undefined when it cannot be told. */
  readonly extendedMasterSecret: boolean | undefined
}

export interface Reply {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array | string
  /** Instead of an empty body, what is too long to be held for each of many peers. */
  readonly stream?: ReplyStream
}

/** Octets that are read as fast as the peer takes them. */
export interface ReplyStream {
  readonly octets: number
  read(): AsyncIterable<Uint8Array>
  /** Told once, when nothing of it will be read any more, also where nothing was. */
  end?(): void
}

export interface Operation<Service> {
  readonly method: 'GET' | 'POST' | 'PUT'
  /** Path below the protocol's mount point and label. */
  readonly path: string
  /** Where the RFC defines this operation. */
  readonly section: string
  handle(exchange: Exchange, service: Service): Promise<Reply>
}

export interface Protocol<Service> {
  readonly id: string
  readonly source: string
  /** `/.well-known/est`, `/ocsp`, … */
  readonly mount: string
  readonly listener: 'tls' | 'public' | 'both'
  readonly operations: readonly Operation<Service>[]
  /** Renders a refusal in the protocol's own terms. Total: every code has an answer. */
  failure(error: TrustError): Reply
}
