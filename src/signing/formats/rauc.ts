/**
 * RAUC bundles: a file system with images and a manifest, and a CMS message behind it. In `plain` the message is over the
 * file system; in `verity` and `crypt` it holds the manifest, which names the root of a hash tree over the file system, so
 * that a device can start to install before it has the whole bundle.
 *
 *     file system | hash tree, unless plain | CMS message | its length in 8 octets, the most significant first
 *
 * Source: RAUC 1.8, reference "Bundle Formats" and "Manifest"; dm-verity (see `artifact/verity.ts`).
 *
 * @module
 */
import type { SignatureAlgorithmId } from '#algorithms/table.ts'
import { utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { contentTypes, peekContentType } from '#cms/content-info.ts'
import { digestContent, digestOf, usualDigest } from '#cms/digests.ts'
import { parseSignedData, type SignedData } from '#cms/signed-data.ts'
import { chunksOf } from '../artifact/blob.ts'
import { detachedContent } from '../artifact/detached.ts'
import { parseKeyFile } from '../artifact/key-file.ts'
import { optionsOf } from '../artifact/options.ts'
import { checkVerity, VERITY_BLOCK_OCTETS, verityTree, verityTreeOctets } from '../artifact/verity.ts'
import type { BlobSource, CMSRequest, Range, SigningFormat } from '../format.ts'

/** `hsqs`: squashfs 4, the only file system that RAUC mounts. */
const SQUASHFS_MAGIC = 0x73717368
const SQUASHFS_HEAD_OCTETS = 96
const SQUASHFS_BYTES_USED_AT = 40
const LENGTH_OCTETS = 8
/** RAUC's own, so that nobody signs what it will not read. */
const MESSAGE_MAX_OCTETS = 64 << 10
/** The tree is in memory while it is made: over 16 GiB of data. */
const TREE_MAX_OCTETS = 128 << 20

/** What RAUC's OpenSSL 3.0 reads in a message: neither Ed25519 nor anything newer. */
const algorithms = [
  'rsa-sha256',
  'rsa-sha384',
  'rsa-sha512',
  'rsa-pss-sha256',
  'rsa-pss-sha384',
  'rsa-pss-sha512',
  'ecdsa-sha256',
  'ecdsa-sha384',
  'ecdsa-sha512',
] as const satisfies readonly SignatureAlgorithmId[]

export const rauc: SigningFormat = {
  id: 'rauc',
  purpose: 'update bundles for RAUC (raucb): plain and verity; crypt ones are signed again',
  source: 'RAUC 1.8, bundle formats plain, verity and crypt',
  asks: ['cms'],
  algorithms,
  signerPurpose: 'code-signing',
  options: {
    manifest: { help: 'text of the manifest for a file system that nobody signed yet: makes it a verity bundle; plain without' },
    salt: { help: 'of the hash tree that is made then, 64 hexadecimal digits; made of the manifest when left out' },
  },

  async detect(artifact) {
    if (await isSquashfs(artifact)) return true
    try {
      return (await trailerOf(artifact)) !== undefined
    } catch {
      return false
    }
  },

  async toBeSigned(artifact, choices) {
    const { manifest, salt } = optionsOf(rauc, choices)
    const isUnsigned = await isBareSquashfs(artifact)
    if (isUnsigned && manifest !== undefined) return signVerity(artifact, manifest, salt)
    if (manifest !== undefined || salt !== undefined)
      throw unsupported('a manifest or salt is given for what is signed already, or salt without manifest')
    if (isUnsigned) return signPlain(artifact, { offset: 0, length: artifact.size })
    const { payload, signedData } = await bundleOf(artifact)
    if (signedData.content === undefined) return signPlain(artifact, payload)
    await checkVerity(artifact, parseVerity(signedData.content, payload))
    return signing([payload], { attached: signedData.content })

    async function signPlain(source: BlobSource, range: Range): ReturnType<SigningFormat['toBeSigned']> {
      if (!(await isSquashfs(source))) throw bad('it is no squashfs')
      const digests = await digestContent(chunksOf(source, range), [usualDigest(choices.signatureAlgorithm)])
      return signing([range], { detached: digests })
    }
  },

  async extract(signed) {
    if (await isBareSquashfs(signed)) return { signatures: [], uncovered: [] }
    const { payload, signedData, message } = await bundleOf(signed)
    const { content } = signedData
    if (content === undefined) {
      if (!(await isSquashfs(signed))) throw bad('it is no squashfs')
      const evidence = { type: 'cms', signedData, content: await detachedContent(signedData, signed, payload) } as const
      // the signature is over all of it
      return {
        signatures: [{ where: 'end of the bundle', evidence, covered: [payload], checkCovered: async () => {} }],
        uncovered: [],
      }
    }
    const verity = parseVerity(content, payload)
    const manifestAt = Buffer.from(message.octets).indexOf(content)
    const manifest = manifestAt < 0 ? [] : [{ offset: message.offset + manifestAt, length: content.length }]
    return {
      signatures: [
        {
          where: 'end of the bundle, over its manifest',
          evidence: { type: 'cms', signedData },
          covered: [payload, ...manifest],
          checkCovered: () => checkVerity(signed, verity),
        },
      ],
      uncovered: [],
    }
  },
}

function signing(
  before: readonly (Uint8Array | Range)[],
  content: CMSRequest['content'],
): Awaited<ReturnType<SigningFormat['toBeSigned']>> {
  return {
    requests: [{ type: 'cms', form: 'cades', contentType: contentTypes.data, content }],
    attach([message = new Uint8Array()]) {
      if (peekContentType(message) !== contentTypes.signedData)
        throw new TrustError('malformed', 'answerOther', { facts: { detail: 'it is no CMS SignedData' } })
      if (message.length > MESSAGE_MAX_OCTETS) throw tooLarge('its signature', MESSAGE_MAX_OCTETS)
      const length = new Uint8Array(LENGTH_OCTETS)
      new DataView(length.buffer).setBigUint64(0, BigInt(message.length))
      return { pieces: [...before, message, length], isBeside: false }
    },
  }
}

async function signVerity(
  artifact: BlobSource,
  text: string,
  given: string | undefined,
): ReturnType<SigningFormat['toBeSigned']> {
  const manifest = text.endsWith('\n') ? text : `${text}\n`
  if (given !== undefined && !/^[0-9a-f]{64}$/i.test(given)) throw bad('the salt is not 64 hexadecimal digits')
  // no secret: it keeps one bundle's hashes from being another's, for whoever looks for collisions ahead
  const salt = given === undefined ? digestOf('sha256', utf8(manifest)) : Uint8Array.fromHex(given)
  if (verityTreeOctets(artifact.size) > TREE_MAX_OCTETS) throw tooLarge('its hash tree', TREE_MAX_OCTETS)
  if (artifact.size % VERITY_BLOCK_OCTETS !== 0)
    throw bad('its squashfs does not end with a whole block of 4,096 octets: make it without -nopad')
  const whole = { offset: 0, length: artifact.size }
  const { tree, root } = await verityTree(artifact, whole, salt)
  if (tree.length === 0) throw bad('it is too short for a hash tree, which RAUC wants: make it a plain bundle')
  const attached = utf8(withVerity(manifest, { root, salt, treeOctets: tree.length }))
  parseVerity(attached, { offset: 0, length: artifact.size + tree.length })
  return signing([whole, tree], { attached })
}

/** The manifest with what it says of the tree. @throws TrustError `malformed` when it says something of one before */
function withVerity(
  manifest: string,
  { root, salt, treeOctets }: { readonly root: Uint8Array; readonly salt: Uint8Array; readonly treeOctets: number },
): string {
  const bundle = parseKeyFile(manifest, 'RAUC').get('bundle')
  if ([...(bundle?.keys() ?? [])].some((key) => key.startsWith('verity-'))) throw bad('the manifest names a hash tree already')
  const lines = [`verity-hash=${root.toHex()}`, `verity-salt=${salt.toHex()}`, `verity-size=${treeOctets}`]
  if (bundle?.get('format') === undefined) lines.unshift('format=verity')
  const added = `[bundle]\n${lines.join('\n')}\n`
  return bundle === undefined ? `${manifest}\n${added}` : manifest.replace(/^\[bundle\]\n/m, () => added)
}

interface Verity {
  readonly data: Range
  readonly tree: Range
  readonly salt: Uint8Array
  readonly root: Uint8Array
}

/** @param payload data and tree @throws TrustError `malformed`, `unsupported` */
function parseVerity(manifest: Uint8Array, payload: Range): Verity {
  const bundle = parseKeyFile(textOf(manifest), 'RAUC').get('bundle')
  const format = bundle?.get('format')
  if (format !== 'verity' && format !== 'crypt') throw unsupported(`a manifest in the signature, for format ${format ?? 'plain'}`)
  const [root, salt] = ['verity-hash', 'verity-salt'].map((key) => {
    const hex = bundle?.get(key) ?? ''
    if (!/^[0-9a-f]{64}$/i.test(hex)) throw bad(`${key} in the manifest is not 64 hexadecimal digits`)
    return Uint8Array.fromHex(hex)
  }) as [Uint8Array, Uint8Array]
  const size = bundle?.get('verity-size') ?? ''
  const treeOctets = /^[1-9][0-9]{0,11}$/.test(size) ? Number(size) : 0
  const data = { offset: payload.offset, length: payload.length - treeOctets }
  if (
    treeOctets === 0 ||
    data.length <= 0 ||
    data.length % VERITY_BLOCK_OCTETS !== 0 ||
    verityTreeOctets(data.length) !== treeOctets
  )
    throw bad('verity-size in the manifest is not that of a hash tree over the file system')
  return { data, tree: { offset: data.length, length: treeOctets }, salt, root }
}

function textOf(octets: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(octets)
  } catch {
    throw bad('its manifest is no UTF-8 text')
  }
}

interface Bundle {
  /** What stands before the message. */
  readonly payload: Range
  readonly message: { readonly offset: number; readonly octets: Uint8Array }
  readonly signedData: SignedData
}

/** @throws TrustError `malformed`, `unsupported` */
async function bundleOf(source: BlobSource): Promise<Bundle> {
  const message = await trailerOf(source)
  if (message === undefined) throw bad('no CMS message ends it')
  if (peekContentType(message.octets) === contentTypes.envelopedData)
    throw unsupported('its signature is encrypted for recipients: sign before `rauc encrypt`')
  const signedData = parseSignedData(message.octets)
  if (signedData.contentType !== contentTypes.data) throw bad('its signature is not over data')
  return { payload: { offset: 0, length: message.offset }, message, signedData }
}

const messageTypes: ReadonlySet<string> = new Set([contentTypes.signedData, contentTypes.envelopedData])

async function trailerOf(source: BlobSource): Promise<Bundle['message'] | undefined> {
  if (source.size <= LENGTH_OCTETS) return undefined
  const end = await source.read(source.size - LENGTH_OCTETS, LENGTH_OCTETS)
  const length = new DataView(end.buffer, end.byteOffset).getBigUint64(0)
  if (length === 0n || length > MESSAGE_MAX_OCTETS || Number(length) >= source.size - LENGTH_OCTETS) return undefined
  const offset = source.size - LENGTH_OCTETS - Number(length)
  const octets = await source.read(offset, Number(length))
  return messageTypes.has(peekContentType(octets)) ? { offset, octets } : undefined
}

const headOf = async (source: BlobSource): Promise<DataView | undefined> => {
  if (source.size < SQUASHFS_HEAD_OCTETS) return undefined
  const head = await source.read(0, SQUASHFS_HEAD_OCTETS)
  const view = new DataView(head.buffer, head.byteOffset, head.length)
  return view.getUint32(0, true) === SQUASHFS_MAGIC ? view : undefined
}

const isSquashfs = async (source: BlobSource): Promise<boolean> => (await headOf(source)) !== undefined

/** Nothing behind the file system, but what fills its last block. */
async function isBareSquashfs(source: BlobSource): Promise<boolean> {
  const used = (await headOf(source))?.getBigUint64(SQUASHFS_BYTES_USED_AT, true)
  if (used === undefined || used > source.size) return false
  return source.size <= Math.ceil(Number(used) / VERITY_BLOCK_OCTETS) * VERITY_BLOCK_OCTETS
}

const bad = (detail: string): TrustError => new TrustError('malformed', 'badArtifact', { facts: { format: 'RAUC', detail } })
const unsupported = (detail: string): TrustError =>
  new TrustError('unsupported', 'artifactUnsupported', { facts: { format: 'RAUC', detail } })
const tooLarge = (what: string, limit: number): TrustError =>
  new TrustError('tooLarge', 'artifactPartTooLarge', { facts: { what, limit } })
