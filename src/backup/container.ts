/**
 * The outside of a backup: a key that recovery recipients can open, and the content in chunks under that key.
 *
 * Each chunk is authenticated by itself, with its place and whether it is the last, so that nothing of a backup that
 * was cut, reordered, or mixed with another is ever handed on, and any length can be read in little memory.
 *
 * Layout: docs/reference/backup-format.md. The way of cutting is STREAM (Hoang, Reyhanitabar, Rogaway, Vizár: Online
 * Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance, 2015) as age has it.
 *
 * @module
 */
import { createCipheriv, createDecipheriv, hash } from 'node:crypto'
import { concat, equal, utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { type Secret, secret } from '#base/secret.ts'
import type { Random } from '#base/world.ts'
import { decryptEnvelope, type Opener } from '#cms/decrypt.ts'
import { encodeAuthEnvelopedData, type Recipient } from '#cms/encrypt.ts'
import { parseEnvelope } from '#cms/enveloped-data.ts'
import { octetReader } from './octet-reader.ts'

const MAGIC = utf8('sealworks backup 1\n')
const KEY_OCTETS = 32
const TAG_OCTETS = 16
const NONCE_OCTETS = 12
/** 128 recipients with 2 KiB each, as the reader of CMS has it. */
const ENVELOPE_MAX_OCTETS = 512 << 10
/** Plaintext of each chunk but the last: large enough to cost nothing, small enough to hold several. */
export const CHUNK_OCTETS = 256 << 10
const LENGTH_OCTETS = 4

/** Everything before the first chunk, by which its key is tied to who signed it. */
export interface SealedHead {
  readonly octets: Uint8Array
  readonly key: Secret
}

/** @throws TrustError `unsupported`, `policyRefused`, `malformed` for a recipient's certificate */
export async function sealHead(recipients: readonly [Recipient, ...Recipient[]], random: Random): Promise<SealedHead> {
  const key = random.octets(KEY_OCTETS)
  const envelope = await encodeAuthEnvelopedData({ recipients, cipher: 'aes-256-gcm', content: key }, random)
  return { octets: concat([MAGIC, uint32(envelope.length), envelope]), key: secret(key) }
}

/** @param content in pieces of any size @returns the chunks, each behind its length */
export async function* sealChunks(
  head: SealedHead,
  content: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const seal = sealer(head)
  let held: Uint8Array[] = []
  let size = 0
  for await (const piece of content) {
    held.push(piece)
    size += piece.length
    if (size <= CHUNK_OCTETS) continue // the last one may be full, but never empty behind a full one
    let all = concat(held)
    for (; all.length > CHUNK_OCTETS; all = all.subarray(CHUNK_OCTETS)) yield seal(all.subarray(0, CHUNK_OCTETS), false)
    held = [all]
    size = all.length
  }
  yield seal(concat(held), true)
}

export interface OpenedBackup {
  /** What {@link SealedHead} had as `octets`. */
  readonly head: Uint8Array
  /** Authentic piece by piece: whoever wrote them had the key. It ends only where the writer ended. */
  readonly content: AsyncGenerator<Uint8Array, void, undefined>
}

/**
 * @throws TrustError `malformed` for what is no backup, `forbidden` when it is for other recipients, `badProof` when the
 *   key does not open it; from the content, `badProof` for a chunk that was changed, moved or is of another backup, and
 *   `malformed` for an end that came too soon or too late
 */
export async function openContainer(file: AsyncIterable<Uint8Array>, opener: Opener, random: Random): Promise<OpenedBackup> {
  const source = octetReader(file)
  const magic = await source.upTo(MAGIC.length)
  if (!equal(magic, MAGIC)) throw new TrustError('malformed', 'notBackup')
  const lengthOctets = await source.exactly(LENGTH_OCTETS)
  const length = lengthOctets && readUint32(lengthOctets)
  if (lengthOctets === undefined || length === undefined || length > ENVELOPE_MAX_OCTETS)
    throw new TrustError('malformed', 'notBackup')
  const envelope = await source.exactly(length)
  if (envelope === undefined) throw new TrustError('malformed', 'backupCut')
  const key = await openKey(envelope, opener, random)
  const head = concat([MAGIC, lengthOctets, envelope])
  return { head, content: openChunks({ octets: head, key }, source) }
}

async function openKey(envelope: Uint8Array, opener: Opener, random: Random): Promise<Secret> {
  const { content, authenticated } = await decryptEnvelope(parseEnvelope(envelope), opener, random)
  if (!authenticated || content.length !== KEY_OCTETS) throw new TrustError('malformed', 'notBackup')
  return secret(content)
}

async function* openChunks(
  head: SealedHead,
  source: ReturnType<typeof octetReader>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const open = unsealer(head)
  for (let last = false; !last;) {
    const lengthOctets = await source.exactly(LENGTH_OCTETS)
    if (lengthOctets === undefined) throw new TrustError('malformed', 'backupCut')
    const length = readUint32(lengthOctets)
    if (length < TAG_OCTETS || length > CHUNK_OCTETS + TAG_OCTETS) throw new TrustError('badProof', 'backupChanged')
    const chunk = await source.exactly(length)
    if (chunk === undefined) throw new TrustError('malformed', 'backupCut')
    const opened = open(chunk)
    last = opened.last
    yield opened.content
  }
  if ((await source.upTo(1)).length > 0) throw new TrustError('badProof', 'backupChanged')
}

/** Place in 11 octets, then 1 for the last chunk and 0 for the others. The key is of this one backup, so none comes twice. */
function nonceOf(place: number, last: boolean): Uint8Array {
  const nonce = new Uint8Array(NONCE_OCTETS)
  new DataView(nonce.buffer).setBigUint64(3, BigInt(place))
  nonce[NONCE_OCTETS - 1] = last ? 1 : 0
  return nonce
}

function sealer({ octets, key }: SealedHead): (content: Uint8Array, last: boolean) => Uint8Array {
  const additional = hash('sha256', octets, 'buffer')
  let place = 0
  return (content, last) => {
    const cipher = createCipheriv('aes-256-gcm', key.reveal('seal a backup'), nonceOf(place++, last))
    cipher.setAAD(additional)
    const sealed = cipher.update(content)
    cipher.final()
    return concat([uint32(sealed.length + TAG_OCTETS), sealed, cipher.getAuthTag()])
  }
}

function unsealer({ octets, key }: SealedHead): (chunk: Uint8Array) => { readonly content: Uint8Array; readonly last: boolean } {
  const additional = hash('sha256', octets, 'buffer')
  let place = 0
  const attempt = (chunk: Uint8Array, last: boolean): Uint8Array | undefined => {
    const options = { authTagLength: TAG_OCTETS }
    const decipher = createDecipheriv('aes-256-gcm', key.reveal('open a backup'), nonceOf(place, last), options)
    decipher.setAAD(additional)
    decipher.setAuthTag(chunk.subarray(-TAG_OCTETS))
    const content = decipher.update(chunk.subarray(0, -TAG_OCTETS))
    try {
      decipher.final()
      return content
    } catch {
      return undefined
    }
  }
  return (chunk) => {
    // all chunks but the last are full, and few last ones are
    const full = chunk.length === CHUNK_OCTETS + TAG_OCTETS
    const middle = full ? attempt(chunk, false) : undefined
    const content = middle ?? attempt(chunk, true)
    if (content === undefined) throw new TrustError('badProof', 'backupChanged', { facts: { chunk: place } })
    place++
    return { content, last: middle === undefined }
  }
}

function uint32(value: number): Uint8Array {
  const octets = new Uint8Array(LENGTH_OCTETS)
  new DataView(octets.buffer).setUint32(0, value)
  return octets
}

const readUint32 = (octets: Uint8Array): number => new DataView(octets.buffer, octets.byteOffset).getUint32(0)
