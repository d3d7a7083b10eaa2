/**
 * What a TLS connection proves about itself: the client's chain, and values that tie a message to this connection.
 *
 * A resumed session carries the certificate of the handshake that began it, so nothing here says that the
 * certificate is still good: whoever trusts it checks path, validity and status on every request.
 *
 * @module
 */
import type { TLSSocket } from 'node:tls'
import { TrustError } from '#base/errors.ts'
import type { Peer, TLSBinding } from '#protocols/protocol.ts'

/** RFC 9266, 2: label, zero-length context and 32 octets. */
const EXPORTER_LABEL = 'EXPORTER-Channel-Binding'
const EXPORTER_LENGTH = 32
const EMPTY_CONTEXT = Buffer.alloc(0)

/** A client that sends more certificates than this is not read further; real hierarchies have two to four. */
const CHAIN_MAX_CERTIFICATES = 10

/** Everything is computed when first asked for, and once per connection. */
export function peerOfTLS(socket: TLSSocket): Peer {
  let chain: readonly Uint8Array[] | undefined
  return {
    address: socket.remoteAddress ?? '',
    get chain() {
      return (chain ??= chainOf(socket))
    },
    tls: bindingOf(socket),
  }
}

function chainOf(socket: TLSSocket): readonly Uint8Array[] {
  const chain: Uint8Array[] = []
  let certificate = socket.getPeerX509Certificate()
  while (certificate !== undefined && chain.length < CHAIN_MAX_CERTIFICATES) {
    chain.push(certificate.raw)
    certificate = certificate.issuerCertificate
  }
  return chain
}

function bindingOf(socket: TLSSocket): TLSBinding {
  const version = socket.getProtocol() === 'TLSv1.2' ? 'TLSv1.2' : 'TLSv1.3' // no other is offered
  let exporter: Uint8Array | undefined
  let extended: { readonly value: boolean | undefined } | undefined
  return {
    version,
    exporter: () => (exporter ??= exportFrom(socket)),
    tlsUnique: () => (version === 'TLSv1.2' ? firstFinished(socket) : undefined),
    get extendedMasterSecret() {
      return (extended ??= { value: version === 'TLSv1.3' ? true : usesExtendedMasterSecret(socket) }).value
    },
  }
}

function exportFrom(socket: TLSSocket): Uint8Array {
  if (socket.destroyed) throw new TrustError('malformed', 'bodyIncomplete') // nobody is there to bind to
  return socket.exportKeyingMaterial(EXPORTER_LENGTH, EXPORTER_LABEL, EMPTY_CONTEXT)
}

/**
 * RFC 5929, 3.1: the first Finished message of the latest handshake. The client's in a full handshake, the server's
 * in a resumed one. Renegotiation is off, so the latest handshake is the only one.
 */
function firstFinished(socket: TLSSocket): Uint8Array | undefined {
  return socket.isSessionReused() ? socket.getFinished() : socket.getPeerFinished()
}

/** `flags [13]` of OpenSSL's SSL_SESSION_ASN1 (ssl_asn1.c), and its bit for RFC 7627. */
const FLAGS_TAG = 0xad
const EXTENDED_MASTER_SECRET_FLAG = 0x01

/** Node has no call for this, but the session it exports says it. The export also holds the master secret: wiped at once. */
function usesExtendedMasterSecret(socket: TLSSocket): boolean | undefined {
  const session = socket.getSession() ?? undefined // null once the socket is closed
  if (session === undefined) return undefined
  try {
    return sessionFlag(session, EXTENDED_MASTER_SECRET_FLAG)
  } finally {
    session.fill(0)
  }
}

/**
 * Looks one flag up in an exported session: `SEQUENCE { version INTEGER, ssl_version INTEGER, …, flags [13] EXPLICIT INTEGER OPTIONAL, … }`.
 *
 * @returns undefined where the bytes are not what OpenSSL writes; false where the field is absent, which means no flags
 */
export function sessionFlag(session: Uint8Array, flag: number): boolean | undefined {
  const outer = elementAt(session, 0)
  if (outer === undefined || outer.tag !== 0x30 || outer.end !== session.length) return undefined
  for (let at = outer.start; at < outer.end;) {
    const element = elementAt(session, at)
    if (element === undefined || element.end > outer.end) return undefined
    if (element.tag === FLAGS_TAG) {
      const value = elementAt(session, element.start)
      if (value === undefined || value.tag !== 0x02 || value.end !== element.end || value.start === value.end) return undefined
      return ((session[value.end - 1] ?? 0) & flag) !== 0
    }
    at = element.end
  }
  return false
}

/** Short, and apart from `asn1`, because this structure is OpenSSL's own and comes from our own process. */
function elementAt(bytes: Uint8Array, at: number): { tag: number; start: number; end: number } | undefined {
  const tag = bytes[at]
  const first = bytes[at + 1]
  if (tag === undefined || first === undefined) return undefined
  let start = at + 2
  let length = first
  if (first >= 0x80) {
    const octets = first & 0x7f
    if (octets === 0 || octets > 3) return undefined
    length = 0
    for (let i = 0; i < octets; i++) length = length * 256 + (bytes[start++] ?? 0)
  }
  const end = start + length
  return end <= bytes.length ? { tag, start, end } : undefined
}
