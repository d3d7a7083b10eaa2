/**
 * Ties a request to the TLS connection that it comes over: its signer holds the private key and speaks on this
 * connection, so nobody in between passes another's request off as their own.
 *
 * Source: RFC 7030, 3.5 (tls-unique in challengePassword); RFC 5929, 3; RFC 7627 (why tls-unique needs the extended
 * master secret); RFC 9266 (tls-exporter, and no tls-unique on TLS 1.3).
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import { equalInConstantTime } from '#base/secret.ts'
import type { CertificationRequest } from '#x509/certification-request.ts'
import type { TLSBinding } from '../protocol.ts'

/**
 * A request without the attribute is not tied to a connection, and passes. One that has it must have it right.
 *
 * TLS 1.3 has no tls-unique, and no standard of EST names a successor: a client may put the tls-exporter value there.
 *
 * @throws TrustError `badProof` for another connection's value, and for any value where the binding is not safe
 */
export function checkChannelBinding(
  { challengePassword }: Pick<CertificationRequest, 'challengePassword'>,
  tls: TLSBinding | undefined,
): void {
  if (challengePassword === undefined) return
  const given = octetsOf(challengePassword)
  if (given === undefined) throw new TrustError('badProof', 'channelBindingWrong')
  // without it the handshakes of two connections can be made to agree (the triple handshake attack)
  if (tls?.extendedMasterSecret !== true) throw new TrustError('badProof', 'channelBindingUnsafe')
  const values = tls.version === 'TLSv1.3' ? [tls.exporter()] : [tls.tlsUnique(), tls.exporter()]
  if (!values.some((value) => value !== undefined && equalInConstantTime(value, given)))
    throw new TrustError('badProof', 'channelBindingWrong')
}

function octetsOf(base64: string): Uint8Array | undefined {
  try {
    const octets = Uint8Array.fromBase64(base64, { lastChunkHandling: 'strict' })
    return octets.length === 0 ? undefined : octets
  } catch {
    return undefined
  }
}
