/**
 * Signatures in archives, as JAR files have them: a manifest with the digest of each entry, a signature file over the
 * manifest, and a CMS signature over that. Android reads the same as scheme v1.
 *
 * Source: JAR File Specification (Java SE 17), "Signed JAR File". Stricter in three ways: an entry that the signature names
 * must be there, one that it does not name makes the file invalid, and only SHA-2 counts.
 *
 * @module
 */
import { hash } from 'node:crypto'
import type { SignatureAlgorithmId } from '#algorithms/table.ts'
import { concat, equal, utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { contentTypes, peekContentType } from '#cms/content-info.ts'
import { type ContentDigests, type DigestId, digestContent, digestOf, usualDigest } from '#cms/digests.ts'
import { parseSignedData, type SignedData } from '#cms/signed-data.ts'
import type { BlobSource, CMSRequest, FoundSignature, Range } from '../format.ts'
import { type Attribute, encodeSection, type Manifest, parseManifest, type Section } from './manifest.ts'
import { contentOf, readEntry, type ZipEntry, type ZipFile } from './zip.ts'

/** 65,534 entries with names of 300 octets. */
const MANIFEST_MAX_OCTETS = 32 << 20
/** Certificates, a time stamp, post-quantum ones too. */
const BLOCK_MAX_OCTETS = 4 << 20
const SIGNERS_MAX = 16
export const MANIFEST = 'META-INF/MANIFEST.MF'

/** As manifests name them; MD5 and SHA-1 are passed over. */
const digestNames = { sha256: 'SHA-256', sha384: 'SHA-384', sha512: 'SHA-512' } as const satisfies Partial<
  Record<DigestId, string>
>
type JarDigest = keyof typeof digestNames
const jarDigests = Object.keys(digestNames) as readonly JarDigest[]

/** What is put into an archive to sign it. */
export interface ArchiveSignature {
  readonly request: CMSRequest
  /** Names and contents of three entries: manifest, signature file and block. @throws TrustError `malformed` */
  partsWith(block: Uint8Array | undefined): readonly (readonly [string, Uint8Array])[]
  /** Whether an entry gives way to what is put in. */
  isReplaced(entry: ZipEntry): boolean
}

export interface ArchiveSigning {
  readonly signatureAlgorithm: SignatureAlgorithmId
  /** 1 to 8 of A-Z 0-9 _ -. */
  readonly signerName: string
  /** What the signature file says beside its digests. */
  readonly attributes?: readonly Attribute[]
  /** Whether nobody else's signature, and nothing of a manifest but what it says of the whole, is to stay. */
  readonly isAnew?: boolean
}

/** @throws TrustError `malformed`, `unsupported`, `tooLarge` */
export async function archiveSignature(source: BlobSource, zip: ZipFile, signing: ArchiveSigning): Promise<ArchiveSignature> {
  const { signatureAlgorithm, signerName, attributes = [], isAnew = false } = signing
  const digestId = usualDigest(signatureAlgorithm) as JarDigest
  const manifest = await manifestFor(source, zip, digestId, isAnew)
  const signatureFile = signatureFileFor(manifest, digestId, attributes)
  const name = `META-INF/${signerName}`
  const blockName = `${name}.${signatureAlgorithm.startsWith('rsa') ? 'RSA' : 'EC'}`
  const digest = digestOf(digestId, signatureFile)
  const own = new RegExp(`^${name}\\.(SF|RSA|DSA|EC)$`, 'i')
  return {
    request: { type: 'cms', form: 'cades', contentType: contentTypes.data, content: { detached: new Map([[digestId, digest]]) } },
    partsWith(block = new Uint8Array()) {
      if (peekContentType(block) !== contentTypes.signedData)
        throw new TrustError('malformed', 'answerOther', { facts: { detail: 'it is no CMS SignedData' } })
      return [
        [MANIFEST, manifest.octets],
        [`${name}.SF`, signatureFile],
        [blockName, block],
      ]
    },
    isReplaced: (entry) => entry.name === MANIFEST || (isAnew ? isSigningRelated(entry.name) : own.test(entry.name)),
  }
}

/** The signatures of an archive, with what of it they leave out. */
export interface ArchiveSignatures {
  readonly signatures: readonly ArchiveFound[]
  readonly uncovered: readonly string[]
  /** What the manifest names and is no entry. */
  readonly missing: readonly string[]
}

export interface ArchiveFound extends FoundSignature {
  readonly signedData: SignedData
  /** The signature file. */
  readonly content: Uint8Array
  /** Its main section. */
  readonly main: Section
}

/** @throws TrustError `malformed`, `unsupported`, `tooLarge` */
export async function archiveSignaturesIn(source: BlobSource, zip: ZipFile): Promise<ArchiveSignatures> {
  const pairs = pairsIn(zip)
  if (pairs.length === 0) return { signatures: [], uncovered: [], missing: [] }
  const manifestEntry = zip.entries.find(({ name }) => name === MANIFEST)
  if (manifestEntry === undefined) throw badJar('it is signed and has no manifest')
  const octets = await readEntry(source, manifestEntry, MANIFEST_MAX_OCTETS)
  const manifest = parseManifest(octets)
  const opened: Opened = { source, zip, manifestEntry, octets, manifest, checked: new Set() }
  const read: Awaited<ReturnType<typeof readPair>>[] = []
  for (const pair of pairs) read.push(await readPair(opened, pair))
  const contents = zip.entries.filter(isContent).map(({ name }) => name)
  const uncovered = contents.filter((name) => !read.every(({ named }) => named.has(name)))
  const strangers = zip.entries.filter(
    (entry) => isSigningRelated(entry.name) && entry !== manifestEntry && !pairs.flat().includes(entry),
  )
  const names = new Set(zip.entries.map(({ name }) => name))
  return {
    signatures: read.map(({ signature }) => signature),
    uncovered: [...uncovered, ...strangers.map(({ name }) => name)].map((name) => `the entry ${name}`),
    missing: [...manifest.names].filter((name) => !names.has(name)),
  }
}

/** What no signature can be over: it holds them. */
const isSigningRelated = (name: string): boolean => /^META-INF\/([^/]+\.(SF|RSA|DSA|EC)|MANIFEST\.MF|SIG-[^/]*)$/i.test(name)
const isContent = ({ name }: ZipEntry): boolean => !name.endsWith('/') && !isSigningRelated(name)

/** Signature files with their blocks. A file without the other is no signature, and is said to be uncovered. */
function pairsIn({ entries }: ZipFile): readonly (readonly [ZipEntry, ZipEntry])[] {
  const byName = new Map(entries.map((entry) => [entry.name.toUpperCase(), entry]))
  const pairs = entries.flatMap((file): (readonly [ZipEntry, ZipEntry])[] => {
    if (!isSigningRelated(file.name) || !/\.SF$/i.test(file.name)) return []
    const blocks = ['RSA', 'EC', 'DSA'].flatMap((kind) => byName.get(`${file.name.slice(0, -2)}${kind}`.toUpperCase()) ?? [])
    if (blocks.length > 1) throw badJar('a signature file has two signatures')
    return blocks.map((block) => [file, block] as const)
  })
  if (pairs.length > SIGNERS_MAX) throw badJar(`it has more than ${SIGNERS_MAX} signatures`)
  return pairs
}

interface Opened {
  readonly source: BlobSource
  readonly zip: ZipFile
  readonly manifestEntry: ZipEntry
  readonly octets: Uint8Array
  readonly manifest: Manifest
  /** Names of entries that are what the manifest says; several signatures are over the same. */
  readonly checked: Set<string>
}

async function readPair(
  opened: Opened,
  [file, block]: readonly [ZipEntry, ZipEntry],
): Promise<{ readonly signature: ArchiveFound; readonly named: ReadonlySet<string> }> {
  const { source, zip, manifestEntry } = opened
  const content = await readEntry(source, file, MANIFEST_MAX_OCTETS)
  const signatureFile = parseManifest(content)
  const signedData = parseSignedData(await readEntry(source, block, BLOCK_MAX_OCTETS), { encoding: 'ber' })
  if (signedData.content !== undefined) throw badJar('a signature holds what it should be over')
  const named = signatureFile.names
  const entries = zip.entries.filter(
    (entry) => entry === manifestEntry || entry === file || (isContent(entry) && named.has(entry.name)),
  )
  return {
    named,
    signature: {
      where: block.name,
      evidence: { type: 'cms', signedData, content },
      signedData,
      content,
      main: signatureFile.main,
      covered: entries.flatMap(coveredOf),
      checkCovered: () => checkSignatureFile(opened, signatureFile),
    },
  }
}

/** A signature is over what is unpacked. The last octet of compressed data has bits that unpack to nothing. */
function coveredOf({ data: { offset, length }, method }: ZipEntry): readonly Range[] {
  const covered = method === 0 ? length : length - 1
  return covered > 0 ? [{ offset, length: covered }] : []
}

async function checkSignatureFile(opened: Opened, signatureFile: Manifest): Promise<void> {
  const { manifest, zip } = opened
  checkManifest(opened, signatureFile)
  const entries = new Map(zip.entries.map((entry) => [entry.name, entry]))
  for (const name of signatureFile.names) {
    if (opened.checked.has(name)) continue
    const section = manifest.section(name)
    if (section === undefined) throw changed(`the manifest's section for ${name}`)
    const entry = entries.get(name)
    const hasDigest = [...section.attributes.keys()].some((attribute) => attribute.endsWith('-digest'))
    if (!hasDigest && (entry === undefined || !isContent(entry))) continue // of a package, say
    const stated = digestsIn(section, '-digest')
    if (entry === undefined) throw changed(`the entry ${name}, which is missing,`)
    checkSame(stated, await digestEntry(opened.source, entry, stated.keys()), `the entry ${name}`)
    opened.checked.add(name)
  }
}

/** Most entries are small, and a digest in one go takes neither an object nor a turn of the loop. */
const AT_ONCE_OCTETS = 1 << 20

async function digestEntry(source: BlobSource, entry: ZipEntry, ids: Iterable<JarDigest>): Promise<ContentDigests> {
  if (entry.size > AT_ONCE_OCTETS) return digestContent(contentOf(source, entry), ids)
  const content = await readEntry(source, entry, AT_ONCE_OCTETS)
  return new Map([...ids].map((id) => [id, new Uint8Array(hash(id, content, 'buffer'))]))
}

/** Over the whole manifest, or else over its main section and each section that the signature names. */
function checkManifest({ octets, manifest }: Opened, { main, names, section }: Manifest): void {
  const whole = digestsIn(main, '-digest-manifest')
  if ([...whole].every(([id, digest]) => equal(digestOf(id, octets), digest))) return
  checkSection(digestsIn(main, '-digest-manifest-main-attributes'), manifest.main, "the manifest's main section")
  for (const name of names) {
    const what = `the manifest's section for ${name}`
    const there = manifest.section(name)
    if (there === undefined) throw changed(what)
    checkSection(digestsIn(section(name) as Section, '-digest'), there, what)
  }
}

function checkSection(stated: ReadonlyMap<JarDigest, Uint8Array>, { octets }: Section, what: string): void {
  checkSame(stated, new Map([...stated.keys()].map((id) => [id, digestOf(id, octets)])), what)
}

function checkSame(stated: ReadonlyMap<JarDigest, Uint8Array>, found: ReadonlyMap<DigestId, Uint8Array>, what: string): void {
  for (const [id, digest] of stated) if (!equal(found.get(id) as Uint8Array, digest)) throw changed(what)
}

/** @throws TrustError `unsupported` when there is none that counts, `malformed` when one is no base64 */
function digestsIn({ attributes }: Section, suffix: string): ReadonlyMap<JarDigest, Uint8Array> {
  const found = new Map<JarDigest, Uint8Array>()
  for (const id of jarDigests) {
    const written = attributes.get(`${digestNames[id].toLowerCase()}${suffix}`)?.value
    if (written === undefined) continue
    try {
      found.set(id, Uint8Array.fromBase64(written))
    } catch {
      throw badJar('a digest is no base64')
    }
  }
  if (found.size === 0)
    throw new TrustError('unsupported', 'artifactUnsupported', { facts: { format: 'JAR', detail: 'no digest of SHA-2' } })
  return found
}

interface WrittenManifest extends Manifest {
  readonly octets: Uint8Array
  /** Those of entries, which the signature is to name. */
  readonly named: readonly string[]
}

/** The manifest that is there with the digest of every entry, unchanged where it has them. */
async function manifestFor(source: BlobSource, zip: ZipFile, digestId: JarDigest, isAnew: boolean): Promise<WrittenManifest> {
  const entry = zip.entries.find(({ name }) => name === MANIFEST)
  if (entry === undefined && zip.entries.some(({ name }) => name.toUpperCase() === MANIFEST))
    throw badJar('the name of its manifest is not in capitals')
  const before = entry === undefined ? FIRST_MANIFEST : await readEntry(source, entry, MANIFEST_MAX_OCTETS)
  const found = parseManifest(before)
  const old = isAnew ? { ...found, names: new Set<string>(), section: () => undefined } : found
  const attribute = `${digestNames[digestId]}-Digest`
  const named: string[] = []
  const anew = new Map<string, Uint8Array>()
  for (const one of zip.entries.filter(isContent)) {
    const value = ((await digestEntry(source, one, [digestId])).get(digestId) as Uint8Array).toBase64()
    const { attributes } = old.section(one.name) ?? { attributes: new Map([['name', { name: 'Name', value: one.name }]]) }
    named.push(one.name)
    if (attributes.get(attribute.toLowerCase())?.value === value) continue
    const more = new Map([...attributes]).set(attribute.toLowerCase(), { name: attribute, value })
    anew.set(one.name, encodeSection(nameFirst(more)))
  }
  if (anew.size === 0 && !isAnew) return { octets: before, named, ...old }
  const kept = [...old.names].map((name) => anew.get(name) ?? ended(old.section(name) as Section))
  const added = [...anew].filter(([name]) => !old.names.has(name)).map(([, octets]) => octets)
  const octets = concat([ended(old.main), ...kept, ...added])
  return { octets, named, ...parseManifest(octets) }
}

const FIRST_MANIFEST = utf8('Manifest-Version: 1.0\r\nCreated-By: Sealworks\r\n\r\n')

const nameFirst = (attributes: ReadonlyMap<string, { readonly name: string; readonly value: string }>) => [
  ...[...attributes].filter(([key]) => key === 'name').map(([, one]) => one),
  ...[...attributes].filter(([key]) => key !== 'name').map(([, one]) => one),
]

/** The last section of a file may lack its empty line, which it needs before another. */
function ended({ octets, attributes }: Section): Uint8Array {
  if (attributes.size === 0) return octets // an empty line already
  const last = Buffer.from(octets.subarray(-4)).toString('latin1')
  if (/(\r\n|\n|\r(?!\n))(\r\n|\n|\r)$/.test(last)) return octets
  return concat([octets, utf8(/[\r\n]$/.test(last) ? '\r\n' : '\r\n\r\n')])
}

function signatureFileFor(
  { octets, main, section, named }: WrittenManifest,
  id: JarDigest,
  attributes: readonly Attribute[],
): Uint8Array {
  const name = digestNames[id]
  const base64 = (of: Uint8Array): string => digestOf(id, of).toBase64()
  return concat([
    encodeSection([
      { name: 'Signature-Version', value: '1.0' },
      { name: `${name}-Digest-Manifest-Main-Attributes`, value: base64(main.octets) },
      { name: `${name}-Digest-Manifest`, value: base64(octets) },
      { name: 'Created-By', value: 'Sealworks' },
      ...attributes,
    ]),
    ...named.map((entry) =>
      encodeSection([
        { name: 'Name', value: entry },
        { name: `${name}-Digest`, value: base64((section(entry) as Section).octets) },
      ]),
    ),
  ])
}

const changed = (what: string): TrustError => new TrustError('badProof', 'artifactChanged', { facts: { what } })
const badJar = (detail: string): TrustError => new TrustError('malformed', 'badArtifact', { facts: { format: 'JAR', detail } })
