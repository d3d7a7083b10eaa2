/**
 * The repository that certificates point to: CRLs, and the certificates of authorities, over plain HTTP.
 *
 * Everything here is signed in itself, so the listener need not be.
 *
 * Source: RFC 5280, 4.2.1.13 and 4.2.2.1; RFC 2585 (media types); RFC 9110, 13 and RFC 9111 (conditions and caches).
 *
 * @module
 */
import { concat } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { encodeCertsOnly } from '#cms/certs-only.ts'
import { fingerprint, parseCertificate } from '#x509/certificate.ts'
import type { Exchange, Operation, Protocol, Reply } from '../protocol.ts'
import { failure } from './failures.ts'

export interface PublishedCRL {
  /** Never the same for another list of this address. */
  readonly tag: string
  readonly thisUpdate: Date
  readonly nextUpdate: Date
  /** Of the DER CertificateList. */
  readonly octets: number
  /** @throws TrustError `notFound` once the list was replaced by many newer ones */
  read(start: number, end: number): AsyncIterable<Uint8Array>
}

export interface WhichCRL {
  /** Undefined for what the authority's own address stands for. */
  readonly shard: number | undefined
  readonly isDelta: boolean
}

/** What the repository needs from the one who issues. An authority is named as in its address: `slug.generation`, or `slug` for the newest. */
export interface RepositoryService {
  /** @throws TrustError `notFound` */
  publishedCRL(authority: string, which: WhichCRL): Promise<PublishedCRL>
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
const CRL = new RegExp(String.raw`^/(${SLUG})(?:/(0|[1-9]\d{0,4}))?(/delta)?\.crl$`)
const CERTIFICATES = new RegExp(String.raw`^/(${SLUG})\.(cer|p7c)$`)

const crlOperation: Operation<RepositoryService> = {
  method: 'GET',
  path: '/*',
  section: 'RFC 5280, 4.2.1.13; RFC 2585, 3',
  async handle(exchange, service) {
    const [, authority, shard, delta] = CRL.exec(exchange.path) ?? []
    if (authority === undefined) throw new TrustError('notFound', 'unknownPath')
    const which: WhichCRL = { shard: shard === undefined ? undefined : Number(shard), isDelta: delta !== undefined }
    const { tag, thisUpdate, nextUpdate, octets, read } = await service.publishedCRL(authority, which)
    const left = Math.floor((nextUpdate.getTime() - service.now()) / 1000)
    const validators = validatorsOf({
      etag: `"${tag}"`,
      lastModified: thisUpdate,
      maxAgeSeconds: Math.max(0, Math.min(left, CRL_CACHE_MAX_SECONDS)),
    })
    if (isSame(exchange, validators)) return { status: 304, headers: validators, body: '' }
    const headers = { 'content-type': 'application/pkix-crl', 'accept-ranges': 'bytes', ...validators }
    const range = rangeOf(exchange, validators, octets)
    if (range === 'beyond') return { status: 416, headers: { ...validators, 'content-range': `bytes */${octets}` }, body: '' }
    const { start, end } = range ?? { start: 0, end: octets }
    const reply = await piecesOf(end - start, () => read(start, end))
    if (range === undefined) return { status: 200, headers, ...reply }
    return { status: 206, headers: { ...headers, 'content-range': `bytes ${start}-${end - 1}/${octets}` }, ...reply }
  },
}

/** What is shorter goes out in one write with its head. */
const STREAMED_FROM_OCTETS = 16_384

async function piecesOf(octets: number, read: () => AsyncIterable<Uint8Array>): Promise<Pick<Reply, 'body' | 'stream'>> {
  if (octets >= STREAMED_FROM_OCTETS) return { body: '', stream: { octets, read } }
  return { body: concat(await Array.fromAsync(read())) }
}

interface Range {
  readonly start: number
  /** Not included. */
  readonly end: number
}

/**
 * RFC 9110, 14: one range, for a download that broke off. Several are answered with the whole, which 14.2 permits.
 *
 * @returns undefined for the whole
 */
function rangeOf({ headers }: Exchange, { etag }: Validators, octets: number): Range | 'beyond' | undefined {
  const condition = headers['if-range']
  if (condition !== undefined && condition.trim() !== etag) return undefined // 13.1.5: compared strongly, and no date is strong
  const [, first = '', last = ''] = /^bytes=(\d{0,15})-(\d{0,15})$/.exec((headers['range'] ?? '').trim()) ?? []
  if (first === '' && last === '') return undefined
  if (first === '') return last === '0' ? 'beyond' : { start: Math.max(0, octets - Number(last)), end: octets }
  const start = Number(first)
  const end = last === '' ? octets : Math.min(octets, Number(last) + 1)
  if (last !== '' && Number(last) < start) return undefined // 14.1.1: not a range
  return start >= octets ? 'beyond' : { start, end }
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
    const validators = validatorsOf({
      etag: `"${fingerprint(found.body).toHex()}"`,
      lastModified: parseCertificate(own).notBefore,
      maxAgeSeconds: CERTIFICATE_CACHE_SECONDS,
    })
    if (isSame(exchange, validators)) return Promise.resolve({ status: 304, headers: validators, body: '' })
    return Promise.resolve({ status: 200, headers: { 'content-type': found.mediaType, ...validators }, body: found.body })
  },
}

interface Version {
  readonly etag: string
  readonly lastModified: Date
  readonly maxAgeSeconds: number
}

const validatorsOf = ({ etag, lastModified, maxAgeSeconds }: Version) => ({
  etag,
  'last-modified': lastModified.toUTCString(),
  'cache-control': `public, max-age=${maxAgeSeconds}, must-revalidate`,
})
type Validators = ReturnType<typeof validatorsOf>

/** RFC 9110, 13.2.2: If-None-Match decides where it is given, and only then the date. */
function isSame({ headers }: Exchange, { etag, 'last-modified': lastModified }: Validators): boolean {
  const given = headers['if-none-match']
  const since = headers['if-modified-since']
  if (given !== undefined) return matches(given, etag)
  return since !== undefined && Date.parse(lastModified) <= Date.parse(since)
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
