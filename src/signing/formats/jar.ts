/**
 * JAR files: a manifest with the digest of each entry, a signature file over the manifest, and a CMS signature over that.
 *
 * Source: JAR File Specification (Java SE 17), "Signed JAR File". Stricter in three ways: an entry that the signature names
 * must be there, one that it does not name makes the file invalid, and only SHA-2 counts.
 *
 * @module
 */
import { hash } from 'node:crypto'
import { concat, equal, utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { contentTypes, peekContentType } from '#cms/content-info.ts'
import { type ContentDigests, type DigestId, digestContent, digestOf, usualDigest } from '#cms/digests.ts'
import { parseSignedData } from '#cms/signed-data.ts'
import { windowed } from '../artifact/blob.ts'
import { encodeSection, type Manifest, parseManifest, type Section } from '../artifact/manifest.ts'
import { optionsOf } from '../artifact/options.ts'
import {
  contentOf,
  endOf,
  isZip,
  movedRecord,
  newEntry,
  parseZip,
  readEntry,
  type ZipEntry,
  type ZipFile,
} from '../artifact/zip.ts'
import type { BlobSource, FoundSignature, Piece, Range, SigningFormat } from '../format.ts'

/** 65,534 entries with names of 300 octets. */
const MANIFEST_MAX_OCTETS = 32 << 20
/** Certificates, a time stamp, post-quantum ones too. */
const BLOCK_MAX_OCTETS = 4 << 20
const SIGNERS_MAX = 16
const MANIFEST = 'META-INF/MANIFEST.MF'

/** As manifests name them; MD5 and SHA-1 are passed over. */
const digestNames = { sha256: 'SHA-256', sha384: 'SHA-384', sha512: 'SHA-512' } as const satisfies Partial<
  Record<DigestId, string>
>
type JarDigest = keyof typeof digestNames
const jarDigests = Object.keys(digestNames) as readonly JarDigest[]

export const jar: SigningFormat = {
  id: 'jar',
  purpose: 'Java archives (jar, war, ear), multi-release ones too',
  source: 'JAR File Specification, Java SE 17',
  algorithms: ['rsa-sha256', 'rsa-sha384', 'rsa-sha512', 'ecdsa-sha256', 'ecdsa-sha384', 'ecdsa-sha512'],
  signerPurpose: 'code-signing',
  options: {
    signerName: {
      help: 'what the signature is called in the archive, 1 to 8 of A-Z 0-9 _ -; one of that name is replaced, others are kept',
      fallback: 'SIGNER',
    },
  },

  async detect(artifact) {
    if (!(await isZip(artifact))) return false
    try {
      return (await parseZip(windowed(artifact))).entries.some(({ name }) => name === MANIFEST)
    } catch {
      return false
    }
  },

  async toBeSigned(artifact, choices) {
    const { signerName = '' } = optionsOf(jar, choices)
    if (!/^[A-Z0-9_-]{1,8}$/.test(signerName)) {
      const facts = { format: 'jar', option: 'signerName', value: signerName, offered: '1 to 8 of A-Z 0-9 _ -' }
      throw new TrustError('malformed', 'formatOption', { facts })
    }
    const digestId = usualDigest(choices.signatureAlgorithm) as JarDigest
    const source = windowed(artifact)
    const zip = await parseZip(source)
    const manifest = await manifestFor(source, zip, digestId)
    const signatureFile = signatureFileFor(manifest, digestId)
    const name = `META-INF/${signerName}`
    const blockName = `${name}.${choices.signatureAlgorithm.startsWith('rsa') ? 'RSA' : 'EC'}`
    const digest = digestOf(digestId, signatureFile)
    return {
      requests: [
        { type: 'cms', form: 'cades', contentType: contentTypes.data, content: { detached: new Map([[digestId, digest]]) } },
      ],
      attach([block = new Uint8Array()]) {
        if (peekContentType(block) !== contentTypes.signedData)
          throw new TrustError('malformed', 'answerOther', { facts: { detail: 'it is no CMS SignedData' } })
        const parts = [
          [MANIFEST, manifest.octets],
          [`${name}.SF`, signatureFile],
          [blockName, block],
        ] as const
        return { pieces: piecesWith(parts, zip, name), isBeside: false }
      },
    }
  },

  async extract(signed) {
    const source = windowed(signed)
    const zip = await parseZip(source)
    const pairs = pairsIn(zip)
    if (pairs.length === 0) return { signatures: [], uncovered: [] }
    const manifestEntry = zip.entries.find(({ name }) => name === MANIFEST)
    if (manifestEntry === undefined) throw badJar('it is signed and has no manifest')
    const octets = await readEntry(source, manifestEntry, MANIFEST_MAX_OCTETS)
    const opened: Opened = { source, zip, manifestEntry, octets, manifest: parseManifest(octets), checked: new Set() }
    const read: Awaited<ReturnType<typeof readPair>>[] = []
    for (const pair of pairs) read.push(await readPair(opened, pair))
    const contents = zip.entries.filter(isContent).map(({ name }) => name)
    const uncovered = contents.filter((name) => !read.every(({ named }) => named.has(name)))
    const strangers = zip.entries.filter(
      (entry) => isSigningRelated(entry.name) && entry !== manifestEntry && !pairs.flat().includes(entry),
    )
    return {
      signatures: read.map(({ signature }) => signature),
      uncovered: [...uncovered, ...strangers.map(({ name }) => name)].map((name) => `the entry ${name}`),
    }
  },
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
): Promise<{ readonly signature: FoundSignature; readonly named: ReadonlySet<string> }> {
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
async function manifestFor(source: BlobSource, zip: ZipFile, digestId: JarDigest): Promise<WrittenManifest> {
  const entry = zip.entries.find(({ name }) => name === MANIFEST)
  if (entry === undefined && zip.entries.some(({ name }) => name.toUpperCase() === MANIFEST))
    throw badJar('the name of its manifest is not in capitals')
  const before = entry === undefined ? FIRST_MANIFEST : await readEntry(source, entry, MANIFEST_MAX_OCTETS)
  const old = parseManifest(before)
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
  if (anew.size === 0) return { octets: before, named, ...old }
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

function signatureFileFor({ octets, main, section, named }: WrittenManifest, id: JarDigest): Uint8Array {
  const name = digestNames[id]
  const base64 = (of: Uint8Array): string => digestOf(id, of).toBase64()
  return concat([
    encodeSection([
      { name: 'Signature-Version', value: '1.0' },
      { name: `${name}-Digest-Manifest-Main-Attributes`, value: base64(main.octets) },
      { name: `${name}-Digest-Manifest`, value: base64(octets) },
      { name: 'Created-By', value: 'Sealworks' },
    ]),
    ...named.map((entry) =>
      encodeSection([
        { name: 'Name', value: entry },
        { name: `${name}-Digest`, value: base64((section(entry) as Section).octets) },
      ]),
    ),
  ])
}

/** Manifest and signature first, as jarsigner puts them and some programs want them; everything else as it was. */
function piecesWith(parts: readonly (readonly [string, Uint8Array])[], { entries }: ZipFile, signer: string): readonly Piece[] {
  const replaced = new RegExp(`^${signer.replaceAll(/[^A-Za-z0-9_/]/g, String.raw`\$&`)}\\.(SF|RSA|DSA|EC)$`, 'i')
  const pieces: Piece[] = []
  const records: Uint8Array[] = []
  let at = 0
  for (const [name, content] of parts) {
    const { local, record } = newEntry(name, content, at)
    pieces.push(local)
    records.push(record)
    at += local.length
  }
  for (const entry of entries) {
    if (entry.name === MANIFEST || replaced.test(entry.name)) continue
    pieces.push(entry.local)
    records.push(movedRecord(entry, at))
    at += entry.local.length
  }
  const directory = concat(records)
  return [...joined(pieces), directory, endOf(records.length, directory.length, at)]
}

/** Ranges that follow each other are copied as one. */
function joined(pieces: readonly Piece[]): readonly Piece[] {
  const out: Piece[] = []
  for (const piece of pieces) {
    const last = out.at(-1)
    if (
      !(piece instanceof Uint8Array) &&
      last !== undefined &&
      !(last instanceof Uint8Array) &&
      last.offset + last.length === piece.offset
    )
      out[out.length - 1] = { offset: last.offset, length: last.length + piece.length }
    else out.push(piece)
  }
  return out
}

const changed = (what: string): TrustError => new TrustError('badProof', 'artifactChanged', { facts: { what } })
const badJar = (detail: string): TrustError => new TrustError('malformed', 'badArtifact', { facts: { format: 'JAR', detail } })
