/**
 * Ciphers for content: AES-GCM, which finds out every change, and AES-CBC, which finds out none and is there for those
 * who know no other.
 *
 * Source: RFC 3565 (AES-CBC), RFC 5084 (AES-GCM), RFC 5652, 6.3 (padding); NIST SP 800-38D, 5.2.1 and 8.2.
 *
 * @module
 */
import { createCipheriv, createDecipheriv } from 'node:crypto'
import { decode, encode, sequence, withDefault } from '#asn1/codec.ts'
import { OCTET_STRING, SMALL_INTEGER } from '#asn1/types.ts'
import { concat } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import type { Random } from '#base/world.ts'
import { badCMS } from './content-info.ts'
import type { AlgorithmIdentifier } from './digests.ts'

const contentEncryptions = [
  { id: 'aes-128-gcm', oid: '2.16.840.1.101.3.4.1.6', mode: 'gcm', keyOctets: 16 },
  { id: 'aes-192-gcm', oid: '2.16.840.1.101.3.4.1.26', mode: 'gcm', keyOctets: 24 },
  { id: 'aes-256-gcm', oid: '2.16.840.1.101.3.4.1.46', mode: 'gcm', keyOctets: 32 },
  { id: 'aes-128-cbc', oid: '2.16.840.1.101.3.4.1.2', mode: 'cbc', keyOctets: 16 },
  { id: 'aes-192-cbc', oid: '2.16.840.1.101.3.4.1.22', mode: 'cbc', keyOctets: 24 },
  { id: 'aes-256-cbc', oid: '2.16.840.1.101.3.4.1.42', mode: 'cbc', keyOctets: 32 },
] as const

type Row = (typeof contentEncryptions)[number]
export type ContentEncryptionId = Row['id']
export type GCMId = Extract<Row, { mode: 'gcm' }>['id']
export type CBCId = Extract<Row, { mode: 'cbc' }>['id']

const rows = new Map<string, Row>(
  contentEncryptions.flatMap((row) => [
    [row.id, row],
    [row.oid, row],
  ]),
)

const BLOCK_OCTETS = 16
/** Written always, and read: NIST SP 800-38D, 8.2.1; other lengths are hashed first, and nobody writes them. */
const NONCE_OCTETS = 12
/** The whole tag; RFC 5084's default is 12, which is only read. */
export const TAG_OCTETS = 16
const TAG_MIN_OCTETS = 12

const GCMParameters = sequence('GCMParameters', {
  'aes-nonce': OCTET_STRING,
  'aes-ICVlen': withDefault(SMALL_INTEGER, TAG_MIN_OCTETS),
})

export interface ContentCipher {
  readonly id: ContentEncryptionId
  readonly mode: Row['mode']
  readonly keyOctets: number
  readonly iv: Uint8Array
  /** 0 for CBC. */
  readonly tagOctets: number
}

/** A cipher with a fresh nonce: use it once. */
export function newCipher(id: ContentEncryptionId, random: Random): ContentCipher {
  const { mode, keyOctets } = rows.get(id) as Row
  const gcm = mode === 'gcm'
  return { id, mode, keyOctets, iv: random.octets(gcm ? NONCE_OCTETS : BLOCK_OCTETS), tagOctets: gcm ? TAG_OCTETS : 0 }
}

export function cipherIdentifier({ id, mode, iv, tagOctets }: ContentCipher): AlgorithmIdentifier {
  const { oid: algorithm } = rows.get(id) as Row
  const parameters =
    mode === 'gcm' ? encode(GCMParameters, { 'aes-nonce': iv, 'aes-ICVlen': tagOctets }) : encode(OCTET_STRING, iv)
  return { algorithm, parameters }
}

/** @throws TrustError `unsupported`, `malformed` */
export function identifyCipher({ algorithm, parameters }: AlgorithmIdentifier): ContentCipher {
  const row = rows.get(algorithm)
  if (row?.oid !== algorithm) throw new TrustError('unsupported', 'cmsAlgorithm', { facts: { role: 'encryption', algorithm } })
  if (parameters === undefined) throw badCMS('its content cipher has no parameters')
  const { id, mode, keyOctets } = row
  if (mode === 'cbc') {
    const iv = decode(OCTET_STRING, parameters)
    if (iv.length !== BLOCK_OCTETS) throw badCMS('the initialization vector has a wrong length')
    return { id, mode, keyOctets, iv, tagOctets: 0 }
  }
  const { 'aes-nonce': iv, 'aes-ICVlen': tagOctets } = decode(GCMParameters, parameters)
  if (iv.length !== NONCE_OCTETS) throw badCMS(`the nonce has not ${NONCE_OCTETS} octets`)
  if (tagOctets < TAG_MIN_OCTETS || tagOctets > TAG_OCTETS) throw badCMS(`the authentication tag has ${tagOctets} octets`)
  return { id, mode, keyOctets, iv, tagOctets }
}

const EMPTY = new Uint8Array()

export function encryptCBC({ id, iv }: ContentCipher, key: Uint8Array, content: Uint8Array): Uint8Array {
  const cipher = createCipheriv(id, key, iv)
  return concat([cipher.update(content), cipher.final()])
}

/** One refusal, whatever is wrong: which half of the padding failed is what an attacker asks for. @throws TrustError `badProof` */
export function decryptCBC({ id, iv }: ContentCipher, key: Uint8Array, encrypted: Uint8Array): Uint8Array {
  try {
    const decipher = createDecipheriv(id, key, iv)
    return concat([decipher.update(encrypted), decipher.final()])
  } catch {
    throw notOpened()
  }
}

/** Yields as many octets as it reads. @returns the tag */
export async function* encryptGCM(
  { id, iv, tagOctets }: ContentCipher,
  key: Uint8Array,
  additional: Uint8Array = EMPTY,
  content: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): AsyncGenerator<Uint8Array, Uint8Array> {
  const cipher = createCipheriv(id as GCMId, key, iv, { authTagLength: tagOctets })
  cipher.setAAD(additional)
  for await (const piece of content) yield cipher.update(piece)
  cipher.final()
  return cipher.getAuthTag()
}

/**
 * Nothing that it yields is authentic before it has ended without throwing.
 *
 * @param tag asked for when the content has been read, since it stands behind it
 * @throws TrustError `badProof`
 */
export async function* decryptGCM(
  { id, iv, tagOctets }: ContentCipher,
  key: Uint8Array,
  additional: Uint8Array = EMPTY,
  encrypted: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  tag: () => Promise<Uint8Array> | Uint8Array,
): AsyncGenerator<Uint8Array, void> {
  const decipher = createDecipheriv(id as GCMId, key, iv, { authTagLength: tagOctets })
  decipher.setAAD(additional)
  for await (const piece of encrypted) yield decipher.update(piece)
  const found = await tag()
  if (found.length !== tagOctets) throw badCMS('its authentication tag has another length than it says')
  try {
    decipher.setAuthTag(found)
    decipher.final()
  } catch {
    throw notOpened()
  }
}

/** The one answer to every wrong key, padding and tag. */
export const notOpened = (): TrustError => new TrustError('badProof', 'cmsNotOpened')
