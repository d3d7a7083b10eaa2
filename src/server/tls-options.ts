/**
 * The TLS side of a listener: versions, algorithms, our certificate, and the CAs we name when we ask for one.
 *
 * Source: RFC 9325 (recommendations for TLS), RFC 8446.
 *
 * @module
 */
import { constants } from 'node:crypto'
import { createSecureContext, type SecureContext, type SecureContextOptions } from 'node:tls'
import type { Secret } from '#base/secret.ts'

export interface TLSIdentity {
  /** The server certificate first, then its issuers without the root. */
  readonly certificateChainPEM: string
  /** PKCS #8. */
  readonly privateKeyPEM: Secret
}

/** What a listener presents; may be replaced while it runs, and then holds for new connections. */
export interface TLSFace {
  readonly identity: TLSIdentity
  /** DER of the CAs whose names a client is told; only those of enabled endpoints. */
  readonly clientAuthorities: readonly Uint8Array[]
}

/** Forward secrecy and authenticated encryption only (RFC 9325, 4.2). The TLS 1.3 suites are all of that kind. */
const CIPHERS = [
  'TLS_AES_128_GCM_SHA256',
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
].join(':')

/**
 * Hybrid groups first, so that what is recorded today stays closed to a quantum computer (R31). The slash makes it an
 * order: a client that can do a hybrid but guessed another group is asked again, which costs it one round trip. Within
 * a part OpenSSL takes what the client sent a key for.
 */
const GROUPS = 'X25519MLKEM768:SecP256r1MLKEM768/X25519:P-256:P-384:P-521'

/** No SHA-1 anywhere, in our signature or the client's. */
const SIGNATURE_ALGORITHMS = [
  'ecdsa_secp256r1_sha256',
  'ecdsa_secp384r1_sha384',
  'ecdsa_secp521r1_sha512',
  'ed25519',
  'ed448',
  'mldsa44',
  'mldsa65',
  'mldsa87',
  'rsa_pss_rsae_sha256',
  'rsa_pss_rsae_sha384',
  'rsa_pss_rsae_sha512',
  'rsa_pss_pss_sha256',
  'rsa_pss_pss_sha384',
  'rsa_pss_pss_sha512',
  'rsa_pkcs1_sha256',
  'rsa_pkcs1_sha384',
  'rsa_pkcs1_sha512',
].join(':')

/** A resumed session is cheap for a day's work on a line, and no older than the certificate checks' own rhythm. */
const SESSION_LIFETIME_SECONDS = 3600

/** Sessions resume only where they began: this names the application, not the process, so that workers may share tickets. */
export const SESSION_CONTEXT = 'sealworks'

export const TICKET_KEY_OCTETS = 48
export const TICKET_SECRET_OCTETS = 32

export function contextOptions({ identity, clientAuthorities }: TLSFace): SecureContextOptions {
  return {
    cert: identity.certificateChainPEM,
    key: Buffer.from(identity.privateKeyPEM.reveal('TLS server key')),
    ca: clientAuthorities.map(toPEM), // an empty list names nobody and keeps the built-in roots out
    minVersion: 'TLSv1.2',
    maxVersion: 'TLSv1.3',
    ciphers: CIPHERS,
    honorCipherOrder: false, // all are strong: let a small device choose what its hardware does fast
    ecdhCurve: GROUPS,
    sigalgs: SIGNATURE_ALGORITHMS,
    // Without renegotiation a connection has one handshake, so one client certificate and one channel binding.
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION | constants.SSL_OP_NO_COMPRESSION,
    sessionIdContext: SESSION_CONTEXT,
    sessionTimeout: SESSION_LIFETIME_SECONDS,
  }
}

/** Builds the context once and throws it away, so that a damaged certificate never replaces a good one. @throws Error from OpenSSL */
export const checkFace = (face: TLSFace): SecureContext => createSecureContext(contextOptions(face))

const toPEM = (der: Uint8Array): string => `-----BEGIN CERTIFICATE-----\n${der.toBase64()}\n-----END CERTIFICATE-----\n`
