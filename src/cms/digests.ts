/**
 * Digests of CMS, and which of them goes with which signature.
 *
 * Source: RFC 5754, 2 (SHA-2), RFC 8702, 3.1 (SHAKE), RFC 8419, 2.3 (Ed25519, Ed448), RFC 9882, 3.3 (ML-DSA),
 * RFC 9814, 4 (SLH-DSA), RFC 5753, 2.1.1 (ECDSA), RFC 4056, 3 (RSASSA-PSS), RFC 8933.
 *
 * @module
 */
import { createHash, type Hash } from 'node:crypto'
import { isKeyAlgorithmId, keyAlgorithm, signatureAlgorithm, type SignatureAlgorithmId } from '#algorithms/table.ts'
import { ANY } from '#asn1/any.ts'
import { type Infer, optional, sequence } from '#asn1/codec.ts'
import { OBJECT_IDENTIFIER } from '#asn1/types.ts'
import { TrustError } from '#base/errors.ts'

export const AlgorithmIdentifier = sequence('AlgorithmIdentifier', {
  algorithm: OBJECT_IDENTIFIER,
  parameters: optional(ANY),
})
export type AlgorithmIdentifier = Infer<typeof AlgorithmIdentifier>

const digestAlgorithms = [
  { id: 'sha256', oid: '2.16.840.1.101.3.4.2.1', octets: 32, strengthBits: 128 },
  { id: 'sha384', oid: '2.16.840.1.101.3.4.2.2', octets: 48, strengthBits: 192 },
  { id: 'sha512', oid: '2.16.840.1.101.3.4.2.3', octets: 64, strengthBits: 256 },
  { id: 'sha3-256', oid: '2.16.840.1.101.3.4.2.8', octets: 32, strengthBits: 128 },
  { id: 'sha3-384', oid: '2.16.840.1.101.3.4.2.9', octets: 48, strengthBits: 192 },
  { id: 'sha3-512', oid: '2.16.840.1.101.3.4.2.10', octets: 64, strengthBits: 256 },
  { id: 'shake128', oid: '2.16.840.1.101.3.4.2.11', octets: 32, strengthBits: 128 },
  { id: 'shake256', oid: '2.16.840.1.101.3.4.2.12', octets: 64, strengthBits: 256 },
  // the same with its length in bits written down, as RFC 8419 has it for Ed448
  { id: 'shake256-len', oid: '2.16.840.1.101.3.4.2.18', octets: 64, strengthBits: 256 },
] as const

export type DigestId = (typeof digestAlgorithms)[number]['id']

const rows = new Map<string, (typeof digestAlgorithms)[number]>(
  digestAlgorithms.flatMap((row) => [
    [row.id, row],
    [row.oid, row],
  ]),
)
const rowOf = (id: DigestId): (typeof digestAlgorithms)[number] => rows.get(id) as (typeof digestAlgorithms)[number]

const NULL_PARAMETERS = '0500'
/** INTEGER 512. */
const SHAKE_LENGTH = '02020200'

/** Without parameters, which is how SHA-2 is to be written (RFC 5754, 2), except for a written length. */
export const digestIdentifier = (id: DigestId): AlgorithmIdentifier => ({
  algorithm: rowOf(id).oid,
  ...(id === 'shake256-len' && { parameters: Uint8Array.fromHex(SHAKE_LENGTH) }),
})

/** The same as PKCS #7 and older programs write it: with NULL parameters. */
export const digestIdentifierWithNull = (id: DigestId): AlgorithmIdentifier => ({
  algorithm: rowOf(id).oid,
  parameters: Uint8Array.fromHex(NULL_PARAMETERS),
})

/** Parameters absent or NULL: both are to be read. @throws TrustError `unsupported` */
export function identifyDigest({ algorithm, parameters }: AlgorithmIdentifier): DigestId {
  const row = rows.get(algorithm)
  const plain = row?.id === 'shake256-len' ? parameters?.toHex() === SHAKE_LENGTH : isNullOrAbsent(parameters)
  if (row?.oid !== algorithm || !plain)
    throw new TrustError('unsupported', 'cmsAlgorithm', { facts: { role: 'digest', algorithm } })
  return row.id
}

/** What this signature is made with when nobody says otherwise: the one that its standard requires. */
export function usualDigest(id: SignatureAlgorithmId): DigestId {
  const { digest } = signatureAlgorithm(id)
  if (digest !== null) return digest
  if (id === 'ed448') return 'shake256-len'
  return id === 'slh-dsa-sha2-128s' ? 'sha256' : 'sha512'
}

/**
 * A signature is as strong as the weaker of its two halves, and one that names its digest names it for both.
 *
 * @throws TrustError `policyRefused`
 */
export function checkDigestFits(id: SignatureAlgorithmId, digest: DigestId): void {
  const own = signatureAlgorithm(id).digest
  if (own !== null ? own === digest : fitsMessageSignature(id, digest)) return
  throw new TrustError('policyRefused', 'cmsAlgorithmsDiffer', { facts: { detail: `${digest} with ${id}` } })
}

/** For signatures that take the message itself. SHAKE256 for Ed448 is read in either way to write it. */
function fitsMessageSignature(id: SignatureAlgorithmId, digest: DigestId): boolean {
  if (id === 'ed25519') return digest === 'sha512'
  if (id === 'ed448') return digest === 'shake256-len' || digest === 'shake256'
  return isKeyAlgorithmId(id) && rowOf(digest).strengthBits >= keyAlgorithm(id).strengthBits
}

/** Content as a whole, in pieces as it comes, or as digests that somebody made who saw it. */
export type Content = Uint8Array | AsyncIterable<Uint8Array> | ContentDigests
export type ContentDigests = ReadonlyMap<DigestId, Uint8Array>

/**
 * Reads the content once, whatever the number of digests, and keeps none of it.
 *
 * @throws TypeError when digests are given and one that is needed is not, or has another length
 */
export async function digestContent(content: Content, needed: Iterable<DigestId>): Promise<ContentDigests> {
  if (content instanceof Map) {
    for (const id of needed) {
      if (content.get(id)?.length !== rowOf(id).octets) throw new TypeError(`no ${id} digest of the content was given`)
    }
    return content
  }
  const hashes = new Map<DigestId, Hash>([...new Set(needed)].map((id) => [id, newHash(id)]))
  const pieces = content instanceof Uint8Array ? [content] : (content as AsyncIterable<Uint8Array>)
  for await (const piece of pieces) for (const one of hashes.values()) one.update(piece)
  return new Map([...hashes].map(([id, one]) => [id, new Uint8Array(one.digest())]))
}

export const digestOf = (id: DigestId, octets: Uint8Array): Uint8Array => new Uint8Array(newHash(id).update(octets).digest())

function newHash(id: DigestId): Hash {
  if (!id.startsWith('shake')) return createHash(id)
  return createHash(id === 'shake128' ? id : 'shake256', { outputLength: rowOf(id).octets }) // the lengths are RFC 8702's
}

/** Two ways to write that there are no parameters. */
export const isNullOrAbsent = (parameters: Uint8Array | undefined): boolean =>
  parameters === undefined || parameters.toHex() === NULL_PARAMETERS
