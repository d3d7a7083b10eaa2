/**
 * Firmware for MCUboot: gives it the header that the boot loader wants, and signs it as imgtool does.
 *
 * Source: MCUboot 2.x, docs/design.md "Image format", docs/imgtool.md; `imgtool` for what each signature is over: RSA and
 * ECDSA sign the image, Ed25519 signs its hash.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { importPublicKey, SubjectPublicKeyInfo } from '#algorithms/public-key.ts'
import { keyAlgorithm, type SignatureAlgorithmId } from '#algorithms/table.ts'
import { decode } from '#asn1/codec.ts'
import { concat, equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { digestOf } from '#cms/digests.ts'
import { parseCertificate } from '#x509/certificate.ts'
import { bytesSource, chunksOf, MESSAGE_MAX_OCTETS } from '../artifact/blob.ts'
import { piecesSource } from '../artifact/joined.ts'
import {
  badImage,
  encodeEntries,
  encodeHeader,
  encodeProtected,
  encodeVersion,
  HEADER_OCTETS,
  type ImageEntry,
  isKeyEntry,
  isMCUboot,
  type MCUbootImage,
  parseMCUboot,
  type Version,
} from '../artifact/mcuboot-image.ts'
import { optionsOf } from '../artifact/options.ts'
import type { BlobSource, FoundSignature, Piece, Range, RawEvidence, SigningFormat, UnknownEvidence } from '../format.ts'

const KEY_HASH = 0x01
const PUBLIC_KEY = 0x02
const DEPENDENCY = 0x40
const SECURITY_COUNTER = 0x50

type Hash = 'sha256' | 'sha384' | 'sha512'
const hashTypes = { sha256: 0x10, sha384: 0x11, sha512: 0x12 } as const satisfies Record<Hash, number>
const hashesByType: ReadonlyMap<number, Hash> = new Map(Object.entries(hashTypes).map(([hash, type]) => [type, hash as Hash]))

const RSA_2048 = 0x20
const ECDSA = 0x22
const RSA_3072 = 0x23
const ED25519 = 0x24
const signatureTypes: ReadonlySet<number> = new Set([RSA_2048, ECDSA, RSA_3072, ED25519])
/** Before version 1.5 ECDSA signatures were filled up to one length. */
const ECDSA_PADDING_MAX_OCTETS = 8
/** Of a device that is handed from one to another: two or three. */
const SIGNATURES_MAX = 8
const ERASED = 0xff
/** Of AES: firmware that is to be encrypted is filled up to whole ones, as imgtool does it. */
const BLOCK_OCTETS = 16

export const mcuboot: SigningFormat = {
  id: 'mcuboot',
  purpose: 'firmware for microcontrollers that MCUboot starts: a plain image, or one with its header',
  source: 'MCUboot 2.x, docs/design.md and imgtool 2.5',
  asks: ['raw'],
  algorithms: ['rsa-pss-sha256', 'ecdsa-sha256', 'ecdsa-sha384', 'ed25519'],
  signerPurpose: 'code-signing',
  options: {
    version: { help: 'of an image without header, as 1.2.3 or 1.2.3+4' },
    headerSize: { help: 'of an image without header: octets before the firmware, as the linker was told', fallback: '512' },
    header: {
      help: 'of an image without header: put before the firmware, or into the zeros that the linker left for it',
      values: ['add', 'fill'],
      fallback: 'add',
    },
    loadAddress: { help: 'where a boot loader copies the image to before it starts' },
    romFixed: { help: 'where in flash memory the image must lie' },
    securityCounter: { help: 'which devices never let fall: a number, or `auto` for one made of the version' },
    dependencies: { help: 'on versions of other images, as (1,1.2.3+0),(2,2.0.0+0)' },
    encryption: {
      help: 'of an image without header: `aes-128` for one that is encrypted once it is signed (release encrypt)',
      values: ['none', 'aes-128'],
      fallback: 'none',
    },
    digest: { help: 'what Ed25519 signs', values: ['sha256', 'sha512'], fallback: 'sha256' },
    send: {
      help: 'what an RSA or ECDSA key is given: the image (up to 16 MiB), or a digest, which not every key can sign',
      values: ['message', 'digest'],
      fallback: 'message',
    },
  },

  detect: isMCUboot,

  async toBeSigned(artifact, choices) {
    const { digest: asked, send, ...header } = optionsOf(mcuboot, choices)
    const { signatureAlgorithm: id } = choices
    const publicKey = publicKeyOf(choices.certificates[0])
    const type = signatureTypeOf(id, publicKey)
    const hash = id === 'ecdsa-sha384' ? 'sha384' : id === 'ed25519' ? (asked as Hash) : 'sha256'
    if (asked === 'sha512' && id !== 'ed25519') throw badImage('sha512 is for Ed25519 only')
    const pieces = (await isMCUboot(artifact)) ? await signedAgain(artifact, choices.options) : await withHeader(artifact, header)
    const image = piecesSource(artifact, pieces)
    const digest = await digestOver(image, hash)
    const message =
      id === 'ed25519'
        ? { octets: digest }
        : send === 'digest'
          ? { digestAlgorithm: hash, digest }
          : { octets: await octetsFor(image) }
    return {
      requests: [{ type: 'raw', message }],
      attach([signature]) {
        if (signature === undefined || signature.length === 0)
          throw new TrustError('malformed', 'answerOther', { facts: { detail: 'there is no signature' } })
        const entries = [
          { type: hashTypes[hash], value: digest },
          { type: KEY_HASH, value: digestOf(hash, publicKey.carried) },
          { type, value: signature },
        ]
        return { pieces: [...pieces, encodeEntries(entries)], isBeside: false }
      },
    }
  },

  async extract(signed, { certificates = [] } = {}) {
    const image = await parseMCUboot(signed)
    checkPlain(image)
    const uncovered = image.end < signed.size ? [`${signed.size - image.end} octets behind the image`] : []
    if (image.entries === undefined || !image.entries.some(({ type }) => signatureTypes.has(type)))
      return { signatures: [], uncovered }
    return { signatures: signaturesIn(signed, image, certificates), uncovered }
  },
}

interface CarriedKey {
  readonly spki: Uint8Array
  /** As MCUboot has it: RSA keys without what says that they are. */
  readonly carried: Uint8Array
  readonly modulusBits: number | undefined
}

function publicKeyOf(certificate: Uint8Array): CarriedKey {
  const { subjectPublicKeyInfo: spki } = parseCertificate(certificate)
  const { parameters } = keyAlgorithm(importPublicKey(spki).algorithm)
  const modulusBits = 'modulusBits' in parameters ? parameters.modulusBits : undefined
  const carried = modulusBits === undefined ? spki : decode(SubjectPublicKeyInfo, spki).subjectPublicKey
  return { spki, carried, modulusBits }
}

/** @throws TrustError `policyRefused` for keys that MCUboot has no entry for */
function signatureTypeOf(id: SignatureAlgorithmId, { modulusBits }: CarriedKey): number {
  if (id === 'ed25519') return ED25519
  if (id !== 'rsa-pss-sha256') return ECDSA
  if (modulusBits === 2048) return RSA_2048
  if (modulusBits === 3072) return RSA_3072
  const facts = { format: 'mcuboot', algorithm: `an RSA key of ${modulusBits ?? 0} bits`, offered: '2048 or 3072 bits' }
  throw new TrustError('policyRefused', 'formatAlgorithm', { facts })
}

/** What was signed stays, with its header and its protected entries; hash and signatures are left out. */
async function signedAgain(artifact: BlobSource, options: Readonly<Record<string, string>> = {}): Promise<readonly Piece[]> {
  const forHeader = Object.keys(options).find((name) => name !== 'send' && name !== 'digest')
  if (forHeader !== undefined) throw unsupported(`a header already, so that ${forHeader} cannot be chosen`)
  const image = await parseMCUboot(artifact)
  checkPlain(image)
  if (image.end < artifact.size) throw unsupported('octets behind it: sign it before it is filled up to the size of a slot')
  if (image.entries !== undefined) checkEntries(image.entries)
  return [image.signed]
}

async function withHeader(
  artifact: BlobSource,
  options: Readonly<Record<string, string | undefined>>,
): Promise<readonly Piece[]> {
  const headerOctets = numberIn('headerSize', options['headerSize'] ?? '', HEADER_OCTETS, 0xffff)
  if (options['version'] === undefined) throw badImage('it has no header, and no version was given for one')
  const version = versionIn(options['version'])
  const { loadAddress, romFixed } = options
  if (loadAddress !== undefined && romFixed !== undefined) throw badImage('it cannot be copied elsewhere and stay where it is')
  const isRoomThere = options['header'] === 'fill'
  const body = isRoomThere ? await bodyBehind(artifact, headerOctets) : { offset: 0, length: artifact.size }
  if (body.length === 0 || body.length > 0xffff_ffff) throw badImage('it is empty, or larger than 4 GiB')
  const protectedEntries = encodeProtected([
    ...counterFor(options['securityCounter'], version),
    ...dependenciesIn(options['dependencies'] ?? ''),
  ])
  const isForEncryption = options['encryption'] === 'aes-128'
  const filling = new Uint8Array(isForEncryption ? -(headerOctets + body.length) & (BLOCK_OCTETS - 1) : 0)
  const head = encodeHeader({
    headerOctets,
    protectedOctets: protectedEntries.length,
    bodyOctets: body.length + filling.length,
    version,
    isForEncryption,
    ...(loadAddress !== undefined && { loadAddress: numberIn('loadAddress', loadAddress, 1, 0xffff_ffff) }),
    ...(romFixed !== undefined && { romFixed: numberIn('romFixed', romFixed, 1, 0xffff_ffff) }),
  })
  const room = new Uint8Array(headerOctets - HEADER_OCTETS).fill(isRoomThere ? 0 : ERASED)
  return [concat([head, room]), body, filling, protectedEntries]
}

async function bodyBehind(artifact: BlobSource, headerOctets: number): Promise<Range> {
  if (artifact.size <= headerOctets) throw badImage('it has no room for the header')
  if ((await artifact.read(0, headerOctets)).some((octet) => octet !== 0))
    throw badImage(`its first ${headerOctets} octets are not zero, so that there is no room for the header`)
  return { offset: headerOctets, length: artifact.size - headerOctets }
}

function counterFor(text: string | undefined, { major, minor, revision }: Version): readonly ImageEntry[] {
  if (text === undefined) return []
  // as imgtool has it
  const counter =
    text === 'auto' ? major * 2 ** 24 + minor * 2 ** 16 + revision : numberIn('securityCounter', text, 0, 0xffff_ffff)
  return [{ type: SECURITY_COUNTER, value: uint32(counter) }]
}

function dependenciesIn(text: string): readonly ImageEntry[] {
  if (text === '') return []
  if (!/^(\([0-9]+, *[0-9.+]+\),? *)+$/.test(text)) throw badImage('dependencies are not written as (1,1.2.3+0),(2,2.0.0+0)')
  return [...text.matchAll(/\(([0-9]+), *([0-9.+]+)\)/g)].map(([, image = '', version = '']) => ({
    type: DEPENDENCY,
    value: concat([Uint8Array.of(numberIn('an image', image, 0, 0xff), 0, 0, 0), encodeVersion(versionIn(version))]),
  }))
}

function versionIn(text: string): Version {
  const [, major = '', minor = '0', revision = '0', build = '0'] =
    /^([0-9]+)(?:\.([0-9]+)(?:\.([0-9]+)(?:\+([0-9]+))?)?)?$/.exec(text) ?? []
  return {
    major: numberIn('version', major, 0, 0xff),
    minor: numberIn('version', minor, 0, 0xff),
    revision: numberIn('version', revision, 0, 0xffff),
    build: numberIn('version', build, 0, 0xffff_ffff),
  }
}

function numberIn(what: string, text: string, min: number, max: number): number {
  const value = /^([0-9]{1,10}|0x[0-9a-f]{1,8})$/i.test(text) ? Number(text) : Number.NaN
  if (!(value >= min && value <= max)) throw badImage(`${what} is no number from ${min} to ${max}`)
  return value
}

function uint32(value: number): Uint8Array {
  const octets = new Uint8Array(4)
  new DataView(octets.buffer).setUint32(0, value, true)
  return octets
}

/** @throws TrustError `unsupported`: hash and signature are over the firmware as it was before it was encrypted */
function checkPlain({ entries = [] }: MCUbootImage): void {
  if (entries.some(isKeyEntry)) throw new TrustError('unsupported', 'imageEncrypted')
}

/** Boot loaders know no others that are not signed, and what they do not know somebody may have put there. */
function checkEntries(entries: readonly ImageEntry[]): void {
  for (const { type } of entries)
    if (type !== KEY_HASH && type !== PUBLIC_KEY && !hashesByType.has(type) && !signatureTypes.has(type))
      throw unsupported(`an entry of type 0x${type.toString(16).padStart(2, '0')} that is not signed`)
}

function signaturesIn(
  source: BlobSource,
  { signed, entries = [] }: MCUbootImage,
  certificates: readonly Uint8Array[],
): readonly FoundSignature[] {
  checkEntries(entries)
  const hashes = entries.flatMap(({ type, value }) => {
    const hash = hashesByType.get(type)
    return hash === undefined ? [] : [{ hash, value }]
  })
  const [stated, another] = hashes
  if (stated === undefined || another !== undefined) throw badImage('it does not state exactly one hash')
  const image = piecesSource(source, [signed])
  const checkCovered = async (): Promise<void> => {
    if (!equal(await digestOver(image, stated.hash), stated.value))
      throw new TrustError('badProof', 'artifactChanged', { facts: { what: 'its hash' } })
  }
  const found: FoundSignature[] = []
  let key: ImageEntry | undefined
  for (const entry of entries) {
    if (entry.type === KEY_HASH || entry.type === PUBLIC_KEY) key = entry
    if (!signatureTypes.has(entry.type)) continue
    if (key === undefined) throw badImage('a signature does not say by which key')
    if (found.length === SIGNATURES_MAX)
      throw new TrustError('tooLarge', 'artifactTooMany', { facts: { what: 'signatures', limit: SIGNATURES_MAX } })
    const evidence = evidenceFor(entry, key, stated, { image, certificates })
    found.push({ where: `signature ${found.length + 1}`, evidence, covered: [signed], checkCovered })
  }
  return found
}

function evidenceFor(
  { type, value }: ImageEntry,
  key: ImageEntry,
  { hash, value: digest }: { readonly hash: Hash; readonly value: Uint8Array },
  { image, certificates }: { readonly image: BlobSource; readonly certificates: readonly Uint8Array[] },
): RawEvidence | UnknownEvidence {
  const certificate = certificates.find((one) => {
    const { carried } = publicKeyOf(one)
    return equal(key.type === KEY_HASH ? digestOf(hash, carried) : carried, key.value)
  })
  if (certificate === undefined) return { type: 'unknown', problem: new TrustError('unauthenticated', 'certificateNotGiven') }
  const signatureAlgorithm = algorithmOf(type, hash)
  if (signatureAlgorithm === undefined) {
    const detail = `a signature of type 0x${type.toString(16)} with ${hash}`
    return { type: 'unknown', problem: unsupported(detail) }
  }
  const message = signatureAlgorithm === 'ed25519' ? bytesSource(digest) : image
  return { type: 'raw', signature: type === ECDSA ? withoutPadding(value) : value, signatureAlgorithm, certificate, message }
}

function algorithmOf(type: number, hash: Hash): SignatureAlgorithmId | undefined {
  if (type === ED25519) return hash === 'sha384' ? undefined : 'ed25519'
  if (type === ECDSA) return hash === 'sha256' ? 'ecdsa-sha256' : hash === 'sha384' ? 'ecdsa-sha384' : undefined
  return hash === 'sha256' ? 'rsa-pss-sha256' : undefined
}

function withoutPadding(signature: Uint8Array): Uint8Array {
  const length = (signature[1] ?? 0) + 2
  const padding = signature.subarray(length)
  if (padding.length > ECDSA_PADDING_MAX_OCTETS || padding.some((octet) => octet !== 0)) return signature
  return signature.subarray(0, length)
}

async function digestOver(image: BlobSource, hash: Hash): Promise<Uint8Array> {
  const digest = createHash(hash)
  for await (const chunk of chunksOf(image)) digest.update(chunk)
  return new Uint8Array(digest.digest())
}

async function octetsFor(image: BlobSource): Promise<Uint8Array> {
  if (image.size > MESSAGE_MAX_OCTETS) {
    const facts = { what: 'what is signed as a whole', limit: MESSAGE_MAX_OCTETS }
    throw new TrustError('tooLarge', 'artifactPartTooLarge', { facts })
  }
  return concat(await Array.fromAsync(chunksOf(image)))
}

const unsupported = (detail: string): TrustError =>
  new TrustError('unsupported', 'artifactUnsupported', { facts: { format: 'MCUboot', detail } })
