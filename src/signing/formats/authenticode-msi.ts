/**
 * Authenticode for packages of Windows Installer: a compound file whose streams are hashed by name, with their names and
 * sizes before them, so that it does not matter how it is laid out.
 *
 * Microsoft published neither; what is hashed in which order was learned from what its programs and osslsigncode sign.
 *
 * Source: Windows Authenticode Portable Executable Signature Format 1.0, for the signature; [MS-CFB] for the file.
 *
 * @module
 */
import { createHash, type Hash } from 'node:crypto'
import { concat, equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { type DigestId, usualDigest } from '#cms/digests.ts'
import { chunksOf, octetsOf } from '../artifact/blob.ts'
import {
  classOf,
  type CompoundFile,
  encodeCompoundFile,
  parseCompoundFile,
  type StorageEntry,
  type StreamEntry,
} from '../artifact/cfb.ts'
import { optionsOf } from '../artifact/options.ts'
import {
  AUTHENTICODE_ALGORITHMS,
  AUTHENTICODE_MAX_OCTETS,
  AUTHENTICODE_OPTIONS,
  checkAnswer,
  foundSignatures,
  indirectDataRequest,
  nest,
  sipInfo,
  SPC_SIP_INFO,
} from '../artifact/spc.ts'
import type { BlobSource, Range, SigningFormat } from '../format.ts'

/** {000C10F1-0000-0000-C000-000000000046}, which reads packages. */
const MSI_READER = 'f1100c0000000000c000000000000046'
/** {000C1082-…}, {000C1084-…}, {000C1086-…}: what the root of a transform, of a package, of a patch is. */
const ROOT_CLASSES: ReadonlySet<string> = new Set(['82', '84', '86'].map((kind) => `${kind}100c0000000000c000000000000046`))

const utf16 = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'utf16le'))
const SIGNATURE = utf16('\u0005DigitalSignature')
/** The digest of names, sizes and the like, which the signed digest begins with where this is there. */
const METADATA = utf16('\u0005MsiDigitalSignatureEx')

type Entry = StreamEntry | StorageEntry

export const authenticodeMSI: SigningFormat = {
  id: 'authenticode-msi',
  purpose: 'packages, patches and transforms of Windows Installer (msi, msp, mst)',
  source: 'Windows Authenticode, over [MS-CFB] 11.0, with MsiDigitalSignatureEx',
  asks: ['authenticode'],
  algorithms: AUTHENTICODE_ALGORITHMS,
  signerPurpose: 'code-signing',
  options: AUTHENTICODE_OPTIONS,

  async detect(artifact) {
    return ROOT_CLASSES.has((await classOf(artifact)) ?? '')
  },

  async toBeSigned(artifact, choices) {
    const { existing, programName, programUrl } = optionsOf(authenticodeMSI, choices)
    const { sectorOctets, root } = await parsePackage(artifact)
    const digestAlgorithm = usualDigest(choices.signatureAlgorithm)
    const metadata = metadataDigest(root, digestAlgorithm)
    const before = existing === 'nest' ? await signatureToNestIn(artifact, root, metadata) : undefined
    const digest = await digestOfPackage(artifact, root, digestAlgorithm, metadata)
    const statement = { type: SPC_SIP_INFO, value: sipInfo(1n, MSI_READER), digestAlgorithm, digest }
    return {
      requests: [indirectDataRequest(statement, { programName, programUrl })],
      attach([message]) {
        const signature = checkAnswer(message, SPC_SIP_INFO)
        const streams = [
          newStream(METADATA, metadata),
          newStream(SIGNATURE, before === undefined ? signature : nest(before, signature)),
        ]
        const signed = { ...root, children: [...signedChildren(root), ...streams] }
        return { pieces: encodeCompoundFile(signed, sectorOctets), isBeside: false }
      },
    }
  },

  async extract(signed) {
    const file = await parsePackage(signed)
    const { root } = file
    const der = await contentNamed(signed, root, SIGNATURE)
    if (der === undefined) return { signatures: [], uncovered: [] }
    const metadata = await contentNamed(signed, root, METADATA)
    const found = {
      type: SPC_SIP_INFO,
      reader: MSI_READER,
      where: 'stream DigitalSignature',
      covered: coveredIn(root, metadata !== undefined),
    }
    const signatures = foundSignatures(der, found, async (id) => {
      const expected = metadata === undefined ? undefined : metadataDigest(root, id)
      if (metadata !== undefined && expected !== undefined && !equal(metadata, expected))
        throw new TrustError('badProof', 'artifactChanged', { facts: { what: 'the digest of its names and sizes' } })
      return digestOfPackage(signed, root, id, expected)
    })
    return { signatures, uncovered: await uncoveredIn(signed, file, metadata !== undefined) }
  },
}

/** @throws TrustError `unsupported` for compound files of another kind: documents, messages */
async function parsePackage(artifact: BlobSource): Promise<CompoundFile> {
  const file = await parseCompoundFile(artifact)
  if (!ROOT_CLASSES.has(file.root.clsid.toHex())) throw unsupported('it is no package, patch or transform')
  // some programs leave them out wherever they are, others in the root only
  if (file.root.children.some(hasSignatureWithin)) throw unsupported('a signature within a storage')
  return file
}

const isSignature = ({ name }: Entry): boolean => equal(name, SIGNATURE) || equal(name, METADATA)

const hasSignatureWithin = (entry: Entry): boolean =>
  entry.type === 'storage' && entry.children.some((child) => isSignature(child) || hasSignatureWithin(child))

/** Those of the root that are signed. */
const signedChildren = ({ children }: StorageEntry): readonly Entry[] => children.filter((child) => !isSignature(child))

/** By name with its end, octet by octet. */
const inOrder = (children: readonly Entry[]): readonly Entry[] =>
  children
    .map((child) => ({ child, key: Buffer.concat([child.name, Buffer.alloc(2)]) }))
    .toSorted((a, b) => Buffer.compare(a.key, b.key))
    .map(({ child }) => child)

const childrenOf = (storage: StorageEntry, isRoot: boolean): readonly Entry[] =>
  inOrder(isRoot ? signedChildren(storage) : storage.children)

/** Names, sizes, classes and times of everything, in the order of the content. */
function metadataDigest(root: StorageEntry, digestAlgorithm: DigestId): Uint8Array {
  const hash = createHash(digestAlgorithm)
  const take = (storage: StorageEntry, isRoot: boolean): void => {
    if (!isRoot) hash.update(storage.name)
    hash.update(storage.clsid).update(storage.stateBits)
    if (!isRoot) hash.update(storage.times)
    for (const child of childrenOf(storage, isRoot)) {
      if (child.type === 'storage') take(child, false)
      else hash.update(child.name).update(sizeField(child.size)).update(child.stateBits).update(child.times)
    }
  }
  take(root, true)
  return new Uint8Array(hash.digest())
}

function sizeField(size: number): Uint8Array {
  const field = new Uint8Array(4)
  new DataView(field.buffer).setUint32(0, size, true)
  return field
}

async function digestOfPackage(
  source: BlobSource,
  root: StorageEntry,
  digestAlgorithm: DigestId,
  metadata: Uint8Array | undefined,
): Promise<Uint8Array> {
  const hash = createHash(digestAlgorithm)
  if (metadata !== undefined) hash.update(metadata)
  const take = async (storage: StorageEntry, isRoot: boolean): Promise<void> => {
    for (const child of childrenOf(storage, isRoot)) {
      if (child.type === 'storage') await take(child, false)
      else await hashContent(source, child, hash)
    }
    hash.update(storage.clsid)
  }
  await take(root, true)
  return new Uint8Array(hash.digest())
}

/** Ranges are read as they lie: larger reads around them would read a file in fragments many times over. */
async function hashContent(source: BlobSource, { content }: StreamEntry, hash: Hash): Promise<void> {
  for await (const octets of octetsOf(source, content)) hash.update(octets)
}

/** @returns undefined when the root has no such stream @throws TrustError `malformed`, `tooLarge` */
async function contentNamed(source: BlobSource, root: StorageEntry, name: Uint8Array): Promise<Uint8Array | undefined> {
  const found = root.children.find((child) => equal(child.name, name))
  if (found === undefined) return undefined
  if (found.type === 'storage')
    throw new TrustError('malformed', 'badArtifact', { facts: { format: 'MSI', detail: 'its signature is a storage' } })
  if (found.size > AUTHENTICODE_MAX_OCTETS)
    throw new TrustError('tooLarge', 'artifactPartTooLarge', { facts: { what: 'its signature', limit: AUTHENTICODE_MAX_OCTETS } })
  return concat(await Array.fromAsync(octetsOf(source, found.content)))
}

/** @returns the signature that is there @throws TrustError `unsupported` when both cannot be right */
async function signatureToNestIn(
  artifact: BlobSource,
  root: StorageEntry,
  metadata: Uint8Array,
): Promise<Uint8Array | undefined> {
  const before = await contentNamed(artifact, root, SIGNATURE)
  if (before === undefined) return undefined
  const stated = await contentNamed(artifact, root, METADATA)
  if (stated === undefined) throw unsupported('a signature that leaves out names and sizes, in which none can be nested')
  if (!equal(stated, metadata))
    throw unsupported('a signature with another digest or of another package, in which none can be nested')
  return before
}

const newStream = (name: Uint8Array, content: Uint8Array): StreamEntry => ({
  type: 'stream',
  name,
  clsid: new Uint8Array(16),
  stateBits: new Uint8Array(4),
  times: new Uint8Array(16),
  size: content.length,
  content: [content],
})

/** Of a record in the directory: the name, and class to times. */
const NAME_TO_TIMES = 116
const CLASS_OFFSET = 80
const ROOT_FIELDS_OCTETS = 20

/** Content, and the records that say what it is. */
function coveredIn(root: StorageEntry, hasMetadata: boolean): readonly Range[] {
  const ranges: Range[] = []
  const take = (storage: StorageEntry, isRoot: boolean): void => {
    for (const child of childrenOf(storage, isRoot)) {
      if (child.type === 'storage') take(child, false)
      else for (const piece of child.content) if (!(piece instanceof Uint8Array)) ranges.push(piece)
      const { record = 0, name } = child
      if (!hasMetadata) continue
      ranges.push(
        { offset: record, length: name.length },
        { offset: record + CLASS_OFFSET, length: NAME_TO_TIMES - CLASS_OFFSET },
      )
    }
    if (isRoot) ranges.push({ offset: (storage.record ?? 0) + CLASS_OFFSET, length: ROOT_FIELDS_OCTETS })
  }
  take(root, true)
  return ranges.toSorted((a, b) => a.offset - b.offset)
}

/** What could have been put there or changed after signing. */
async function uncoveredIn(
  signed: BlobSource,
  { strays, trailingOctets }: CompoundFile,
  hasMetadata: boolean,
): Promise<string[]> {
  const uncovered: string[] = []
  if (!hasMetadata) uncovered.push('names and sizes of its streams: it has no MsiDigitalSignatureEx')
  if (trailingOctets > 0) uncovered.push('octets behind its last sector')
  for (const range of strays) {
    for await (const octets of chunksOf(signed, range)) {
      if (octets.every((octet) => octet === 0)) continue
      return [...uncovered, 'octets between its streams']
    }
  }
  return uncovered
}

const unsupported = (detail: string): TrustError =>
  new TrustError('unsupported', 'artifactUnsupported', { facts: { format: 'MSI', detail } })
