/**
 * Encrypts firmware for MCUboot once it is signed, for a key that boot loaders have; and undoes that, so that it can be judged.
 *
 * Hash and signature are over the plain firmware and a header which says that it comes encrypted: whoever changes what is encrypted
 * changes what is signed. The entry with the key is not signed, as in what imgtool makes.
 *
 * Source: MCUboot 2.x, docs/encrypted_images.md (ENC_EC256, ENC_X25519); imgtool 2.5 for the order of the entries.
 *
 * @module
 */
import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  hkdfSync,
  type KeyObject,
  timingSafeEqual,
} from 'node:crypto'
import { concat, utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import type { Random } from '#base/world.ts'
import { chunksOf } from '#signing/artifact/blob.ts'
import { encodeEntries, type ImageEntry, isKeyEntry, type MCUbootImage, parseMCUboot } from '#signing/artifact/mcuboot-image.ts'
import type { BlobSource } from '#signing/format.ts'

const CIPHER = 'aes-128-ctr'
const KEY_OCTETS = 16
const MAC_OCTETS = 32
const INFO = utf8('MCUBoot_ECIES_v1')
/** The counter begins there: each image has a key of its own, and so has each agreement. */
const ZERO = new Uint8Array(16)
/** Larger than what any key takes in PEM. */
const PEM_MAX_CHARACTERS = 8192

interface Scheme {
  readonly type: number
  /** A public key as an entry has it, which is how its SubjectPublicKeyInfo ends. */
  readonly pointOctets: number
  pair(): { readonly publicKey: KeyObject; readonly privateKey: KeyObject }
}

const p256: Scheme = { type: 0x32, pointOctets: 65, pair: () => generateKeyPairSync('ec', { namedCurve: 'P-256' }) }
const x25519: Scheme = { type: 0x33, pointOctets: 32, pair: () => generateKeyPairSync('x25519') }

/** An image that is to be written. */
export interface MadeImage {
  readonly octets: number
  read(): AsyncIterable<Uint8Array>
}

/** Of MCUboot, in a device or for one. */
export interface ImageKey {
  readonly key: KeyObject
  readonly scheme: Scheme
}

/** PEM: whom an image is for. @throws TrustError `malformed` */
export const parseRecipient = (pem: string): ImageKey => keyIn(pem, createPublicKey)

/** PEM, not encrypted. @throws TrustError `malformed` */
export const parseImageKey = (pem: string): ImageKey => keyIn(pem, createPrivateKey)

function keyIn(pem: string, read: (pem: string) => KeyObject): ImageKey {
  if (pem.length > PEM_MAX_CHARACTERS) throw new TrustError('malformed', 'imageKey')
  let key: KeyObject
  try {
    key = read(pem)
  } catch (cause) {
    throw new TrustError('malformed', 'imageKey', { cause })
  }
  if (key.asymmetricKeyType === 'x25519') return { key, scheme: x25519 }
  if (key.asymmetricKeyDetails?.namedCurve === 'prime256v1') return { key, scheme: p256 }
  throw new TrustError('malformed', 'imageKey')
}

/**
 * @param image signed with the option `encryption=aes-128`
 * @throws TrustError `malformed`, `unsupported`; `conflict` for an image that is not signed so, or encrypted already
 */
export async function encryptMCUboot(image: BlobSource, recipient: ImageKey, random: Random): Promise<MadeImage> {
  const parsed = await parseMCUboot(image)
  const { entries = [], isForEncryption } = parsed
  if (entries.some(isKeyEntry)) throw new TrustError('conflict', 'artifactEncrypted')
  if (!isForEncryption || entries.length === 0) throw new TrustError('conflict', 'imageNotForEncryption')
  const key = new Uint8Array(random.octets(KEY_OCTETS))
  return changed(image, parsed, key, [...entries, sealedKey(key, recipient)])
}

/**
 * As it was signed, octet by octet. That it opens says nothing of who made it: judge it then.
 *
 * @throws TrustError `malformed`, `unsupported`; `badProof` when it is for another key, or the entry with its key was changed
 */
export async function decryptMCUboot(image: BlobSource, own: ImageKey): Promise<MadeImage> {
  const parsed = await parseMCUboot(image)
  const { entries = [], isForEncryption } = parsed
  const [entry, another] = entries.filter(isKeyEntry)
  if (!isForEncryption || entry === undefined || another !== undefined) throw new TrustError('malformed', 'imageNotEncrypted')
  const key = openedKey(entry, own)
  return changed(
    image,
    parsed,
    key,
    entries.filter((one) => one !== entry),
  )
}

/** In counter mode to encrypt and to decrypt are the same. */
function changed(
  image: BlobSource,
  { signed, body, end }: MCUbootImage,
  key: Uint8Array,
  entries: readonly ImageEntry[],
): MadeImage {
  if (end < image.size) throw new TrustError('unsupported', 'imageFilled')
  const tail = encodeEntries(entries)
  const bodyEnd = body.offset + body.length
  return {
    octets: signed.length + tail.length,
    async *read() {
      yield* chunksOf(image, { offset: 0, length: body.offset })
      const cipher = createCipheriv(CIPHER, key, ZERO)
      for await (const chunk of chunksOf(image, body)) yield cipher.update(chunk)
      yield* chunksOf(image, { offset: bodyEnd, length: signed.length - bodyEnd })
      yield tail
    },
  }
}

function sealedKey(key: Uint8Array, { key: theirs, scheme }: ImageKey): ImageEntry {
  const ours = scheme.pair()
  const publicKey = theirs.type === 'private' ? createPublicKey(theirs) : theirs
  const { kek, macKey } = agreed(ours.privateKey, publicKey)
  const sealed = createCipheriv(CIPHER, kek, ZERO).update(key)
  const point = spkiOf(ours.publicKey).slice(-scheme.pointOctets)
  return { type: scheme.type, value: concat([point, macOver(sealed, macKey), sealed]) }
}

function openedKey({ type, value }: ImageEntry, { key: own, scheme }: ImageKey): Uint8Array {
  const { pointOctets } = scheme
  if (type !== scheme.type || value.length !== pointOctets + MAC_OCTETS + KEY_OCTETS) throw notOpened()
  const sealedAt = pointOctets + MAC_OCTETS
  const sealed = value.subarray(sealedAt)
  // what says which kind of key it is stands before the point, and is the same for all of that kind
  const kind = spkiOf(createPublicKey(own)).slice(0, -pointOctets)
  const keys = agreedWith(own, concat([kind, value.subarray(0, pointOctets)]))
  if (!timingSafeEqual(macOver(sealed, keys.macKey), value.subarray(pointOctets, sealedAt))) throw notOpened()
  return createDecipheriv(CIPHER, keys.kek, ZERO).update(sealed)
}

interface Agreed {
  readonly kek: Uint8Array
  readonly macKey: Uint8Array
}

function agreed(privateKey: KeyObject, publicKey: KeyObject): Agreed {
  const secret = diffieHellman({ privateKey, publicKey })
  const octets = new Uint8Array(hkdfSync('sha256', secret, '', INFO, KEY_OCTETS + MAC_OCTETS))
  return { kek: octets.subarray(0, KEY_OCTETS), macKey: octets.subarray(KEY_OCTETS) }
}

function agreedWith(own: KeyObject, spki: Uint8Array): Agreed {
  try {
    return agreed(own, createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' }))
  } catch (cause) {
    throw notOpened(cause) // no point of the curve, or one of small order
  }
}

const macOver = (octets: Uint8Array, key: Uint8Array): Uint8Array => createHmac('sha256', key).update(octets).digest()
const spkiOf = (key: KeyObject): Uint8Array => new Uint8Array(key.export({ type: 'spki', format: 'der' }))

const notOpened = (cause?: unknown): TrustError => new TrustError('badProof', 'imageNotOpened', { cause })
