/**
 * The repository that certificates point to: CRLs, and the certificates of authorities, over plain HTTP.
 *
 * Everything here is signed in itself, so the listener need not be.
 *
 * Source: RFC 5280, 4.2.1.13 and 4.2.2.1; RFC 2585 (media types); RFC 9110, 13 and RFC 9111 (conditions and caches).
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import { toWholeSeconds } from '#base/world.ts'
import { encodeCertsOnly } from '#cms/certs-only.ts'
import { fingerprint, parseCertificate } from '#x509/certificate.ts'
import type { Exchange, Operation, Protocol, Reply } from '../protocol.ts'
import { failure } from './failures.ts'

export interface PublishedCRL {
  /** DER CertificateList */
  readonly der: Uint8Array
  readonly crlNumber: number
  readonly thisUpdate: Date
  readonly nextUpdate: Date
}

/** What the repository needs from the one who issues. An authority is named as in its address: `slug.generation`, or `slug` for the newest. */
export interface RepositoryService {
  /** @throws TrustError `notFound` */
  latestCRL(authority: string, shard: number): Promise<PublishedCRL>
  /** From the authority's own up to its root, DER. @throws TrustError `notFound` */
  authorityCertificates(authority: string): readonly Uint8Array[]
  /** Milliseconds since the Unix epoch. */
  now(): number
}

/** A new list may come at any revocation, so an old one is not kept longer than this, however long it is valid. */
const CRL_CACHE_MAX_SECONDS = 300
/** The certificate behind `slug` changes when the authority gets a new key. */
const CERTIFICATE_CACHE_SECONDS = 3600

const SLUG = String.raw`[a-ln-z0-9][a-z0-9]{0,31}(?:\.[1-9]\d{0,4})?`
const WHOLE_CRL = new RegExp(String.raw`^/(${SLUG})\.crl$`)
const CRL_SHARD = new RegExp(String.raw`^/(${SLUG})/(0|[1-9]\d{0,4})\.crl$`)
const CERTIFICATES = new RegExp(String.raw`^/(${SLUG})\.(cer|p7c)$`)

const crlOperation: Operation<RepositoryService> = {
  method: 'GET',
  path: '/*',
  section: 'RFC 5280, 4.2.1.13; RFC 2585, 3',
  async handle(exchange, service) {
    const [, authority, shard = '0'] = WHOLE_CRL.exec(exchange.path) ?? CRL_SHARD.exec(exchange.path) ?? []
    if (authority === undefined) throw new TrustError('notFound', 'unknownPath')
    const { der, crlNumber, thisUpdate, nextUpdate } = await service.latestCRL(authority, Number(shard))
    const left = Math.floor((nextUpdate.getTime() - service.now()) / 1000)
    return conditional(exchange, {
      mediaType: 'application/pkix-crl',
      body: der,
      etag: `"${crlNumber}-${shard}-${thisUpdate.getTime()}"`, // a number is never given twice within a shard
      lastModified: thisUpdate,
      maxAgeSeconds: Math.max(0, Math.min(left, CRL_CACHE_MAX_SECONDS)),
    })
  },
}

const certificateOperation: Operation<RepositoryService> = {
  method: 'GET',
  path: '/*',
  section: 'RFC 5280, 4.2.2.1',
  handle: (exchange, service) => {
    const [, authority, form] = CERTIFICATES.exec(exchange.path) ?? []
    if (authority === undefined) throw new TrustError('notFound', 'unknownPath')
    const certificates = service.authorityCertificates(authority)
    const [own] = certificates
    if (own === undefined) throw new TrustError('notFound', 'unknownPath')
    const found =
      form === 'cer'
        ? { mediaType: 'application/pkix-cert', body: own }
        : { mediaType: 'application/pkcs7-mime', body: encodeCertsOnly(certificates) }
    const lastModified = parseCertificate(own).notBefore
    const reply = conditional(exchange, {
      ...found,
      etag: `"${fingerprint(found.body).toHex()}"`,
      lastModified,
      maxAgeSeconds: CERTIFICATE_CACHE_SECONDS,
    })
    return Promise.resolve(reply)
  },
}

interface Representation {
  readonly mediaType: string
  readonly body: Uint8Array
  readonly etag: string
  readonly lastModified: Date
  readonly maxAgeSeconds: number
}

/** RFC 9110, 13.2.2: If-None-Match decides where it is given, and only then the date. */
function conditional({ headers }: Exchange, { mediaType, body, etag, lastModified, maxAgeSeconds }: Representation): Reply {
  const validators = {
    etag,
    'last-modified': lastModified.toUTCString(),
    'cache-control': `public, max-age=${maxAgeSeconds}, must-revalidate`,
  }
  const given = headers['if-none-match']
  const since = headers['if-modified-since']
  const isSame =
    given === undefined
      ? since !== undefined && toWholeSeconds(lastModified.getTime()) <= Date.parse(since)
      : matches(given, etag)
  if (isSame) return { status: 304, headers: validators, body: '' }
  return { status: 200, headers: { 'content-type': mediaType, ...validators }, body }
}

/** RFC 9110, 13.1.2: compared weakly. */
const matches = (field: string, etag: string): boolean =>
  field.trim() === '*' || field.split(',').some((one) => one.trim().replace(/^W\//, '') === etag)

export const crlRepository: Protocol<RepositoryService> = {
  id: 'crl',
  source: 'RFC 5280, RFC 2585',
  mount: '/crl',
  listener: 'public',
  operations: [crlOperation],
  failure,
}

export const certificateRepository: Protocol<RepositoryService> = {
  id: 'ca',
  source: 'RFC 5280, RFC 2585',
  mount: '/ca',
  listener: 'public',
  operations: [certificateOperation],
  failure,
}
