/**
 * Android packages: scheme v1, which is a signature of a JAR file, and v2 and v3, which sign the whole file; rotation of
 * the key with v3. v3.1 is judged and not made. Not v4, and no source stamp.
 *
 * v2 and v3 are over what v1 puts into the file, so that v1 is made by itself and first, and says what is to follow.
 *
 * Source: Android, APK Signature Scheme v2 and v3 (with v3.1); JAR File Specification (Java SE 17) for v1.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { concat, equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { verifySignedData } from '#cms/verify.ts'
import { parseCertificate } from '#x509/certificate.ts'
import {
  type APKAlgorithm,
  apkAlgorithms,
  badAPK,
  blockReader,
  encodeSigningBlock,
  prefixed,
  prefixedIn,
  readSigningBlock,
  type SigningBlock,
  uint32,
} from '../artifact/apk-block.ts'
import {
  checkLineage,
  encodeLineage,
  LINEAGE_MAX_OCTETS,
  lineageIn,
  type LineageLevel,
  parseLineage,
} from '../artifact/apk-lineage.ts'
import { bytesSource, windowed } from '../artifact/blob.ts'
import { type ArchiveFound, archiveSignature, archiveSignaturesIn, type ArchiveSignatures } from '../artifact/jar-signature.ts'
import { optionsOf } from '../artifact/options.ts'
import { endOf, isZip, movedRecord, newEntry, parseZip, parseZipEnd, type ZipEntry, type ZipFile } from '../artifact/zip.ts'
import type { BlobSource, Choices, FoundSignature, Piece, Range, SigningFormat, ToBeSigned } from '../format.ts'

type Scheme = 'v2' | 'v3' | 'v3.1'
const schemeIds = { v2: 0x7109871a, v3: 0xf05368c0, 'v3.1': 0x1b93ad61 } as const satisfies Record<Scheme, number>
/** As v1 and v2 name what is there too, so that it cannot be stripped. */
const schemeNumbers: ReadonlyMap<number, Scheme> = new Map([
  [2, 'v2'],
  [3, 'v3'],
  [31, 'v3.1'],
])
const V3_ALSO = 3
/** In the main section of a signature file of v1. */
const APK_SIGNED = 'X-Android-APK-Signed'

/** Attributes in what v2 and v3 sign. */
const STRIPPING_PROTECTION = 0xbeeff00d
const PROOF_OF_ROTATION = 0x3ba06f8c
/** In v3: from which version on v3.1, which must be there, takes its place. */
const ROTATION_SINCE = 0x559f8b02

/** Digests are made over pieces of this size, so that devices can make them side by side. */
const CHUNK_OCTETS = 1 << 20
const MANIFEST = 'AndroidManifest.xml'
/** Android 7 knows v2, Android 9 v3. */
const V2_SINCE = 24
const V3_SINCE = 28
const FOREVER = 0x7fffffff
/** What v1 can be made with: padding as in PKCS #1 1.5 alone. */
const v1Algorithms = ['rsa-sha256', 'rsa-sha512', 'ecdsa-sha256', 'ecdsa-sha512'] as const

export const apk: SigningFormat = {
  id: 'apk',
  purpose: 'Android packages',
  source: 'Android, APK Signature Scheme v2 and v3; JAR File Specification, Java SE 17',
  asks: ['raw', 'cms'],
  algorithms: apkAlgorithms.map(({ signature }) => signature),
  staysInPlace: true,
  options: {
    schemes: {
      help: 'which signatures are made; v1 by itself and before the others, which are over it',
      values: ['v2+v3', 'v1', 'v2', 'v3'],
      fallback: 'v2+v3',
    },
    existing: {
      help: 'what happens to signatures of other schemes from v2 on; v1 makes all of them void',
      values: ['replace', 'keep'],
      fallback: 'replace',
    },
    follows: {
      help: 'what v1 or v2 says will be there too, so that it cannot be stripped; v2+v3 for v1, none for v2',
      values: ['none', 'v2', 'v3', 'v2+v3'],
    },
    lineage: {
      help: 'the file of apksigner rotate in base64, with v3: the certificates before, of which the last is the signer',
      charactersMax: Math.ceil(LINEAGE_MAX_OCTETS / 3) * 4,
    },
    signerName: { help: 'what v1 is called in the package, 1 to 8 of A-Z 0-9 _ -', fallback: 'CERT' },
  },

  async detect(artifact) {
    if (!(await isZip(artifact))) return false
    try {
      const { entriesEnd } = await layoutOf(artifact)
      return (await parseZip(windowed(artifact), { entriesEnd, isClassic: true })).entries.some(({ name }) => name === MANIFEST)
    } catch {
      return false
    }
  },

  async toBeSigned(artifact, choices) {
    const options = optionsOf(apk, choices)
    const source = windowed(artifact)
    const layout = await layoutOf(artifact)
    const zip = await parseZip(source, { entriesEnd: layout.entriesEnd, isClassic: true })
    if (options['schemes'] === 'v1') return toBeSignedV1(source, zip, choices, options)
    return toBeSignedWhole(artifact, { layout, announced: announcedIn(await archiveSignaturesIn(source, zip)) }, choices, options)
  },

  async extract(signed) {
    const source = windowed(signed)
    const layout = await layoutOf(signed)
    const zip = await parseZip(source, { entriesEnd: layout.entriesEnd, isClassic: true })
    const archive = await archiveSignaturesIn(source, zip)
    const schemes = Object.keys(schemeIds) as Scheme[]
    const found: BlockSigners = new Map(schemes.map((scheme) => [scheme, signersIn(layout.block, scheme)]))
    const digests = new Map<string, Promise<Uint8Array>>()
    const digestWith = (id: APKAlgorithm['digest']): Promise<Uint8Array> => {
      const known = digests.get(id) ?? digestOf(signed, layout, id)
      digests.set(id, known)
      return known
    }
    const whole = [...found].flatMap(([scheme, signers]) =>
      signers.flatMap((signer, i) =>
        signer.signatures.map(({ row, signature }): FoundSignature => ({
          where: `scheme ${scheme}, signer ${i + 1}, ${row.signature}${levelText(signer)}`,
          evidence: {
            type: 'raw',
            signature,
            signatureAlgorithm: row.signature,
            certificate: signer.certificate,
            message: bytesSource(signer.signedData),
          },
          covered: coveredIn(layout),
          async checkCovered() {
            if (!equal(signer.digests.get(row.id) as Uint8Array, await digestWith(row.digest))) throw changed('its digest')
            if (signer.lineage !== undefined) await checkLineage(signer.lineage)
            checkSameSigner(scheme, signer, found)
          },
        })),
      ),
    )
    const v1 = archive.signatures.map((one): FoundSignature => ({
      ...one,
      where: `scheme v1, ${one.where}`,
      async checkCovered() {
        for (const scheme of schemesIn(one)) if (found.get(scheme)?.length === 0) throw stripped(scheme)
        const [missing] = archive.missing
        if (missing !== undefined) throw changed(`the entry ${missing}, which is missing,`)
        await one.checkCovered()
        await checkSameAsV2(one, archive.signatures.length, found)
      },
    }))
    return { signatures: [...v1, ...whole], uncovered: archive.uncovered }
  },
}

type Options = Readonly<Record<string, string>>

async function toBeSignedV1(source: BlobSource, zip: ZipFile, choices: Choices, options: Options): Promise<ToBeSigned> {
  const { signerName = '', follows = 'v2+v3', schemes = '' } = options
  const { signatureAlgorithm } = choices
  if (!v1Algorithms.some((id) => id === signatureAlgorithm)) {
    const facts = { format: 'apk with v1', algorithm: signatureAlgorithm, offered: v1Algorithms.join(', ') }
    throw new TrustError('policyRefused', 'formatAlgorithm', { facts })
  }
  if (!/^[A-Z0-9_-]{1,8}$/.test(signerName)) throw badOption('signerName', signerName, '1 to 8 of A-Z 0-9 _ -')
  if (options['lineage'] !== undefined) throw badOption('schemes', schemes, 'v3 with a lineage')
  const numbers = [...schemeNumbers].filter(([, scheme]) => follows.split('+').includes(scheme)).map(([number]) => number)
  const attributes = numbers.length === 0 ? [] : [{ name: APK_SIGNED, value: numbers.join(', ') }]
  const signing = { signatureAlgorithm, signerName, attributes, isAnew: true }
  const { request, partsWith, isReplaced } = await archiveSignature(source, zip, signing)
  const place = placeFor(zip, isReplaced)
  return {
    requests: [request],
    attach: ([block]) => ({ pieces: piecesWith(partsWith(block), place), isBeside: false }),
  }
}

/** Where Android's tools, and devices that map libraries into memory, want content to begin: a page of 16 KiB at most. */
const ALIGNMENT_OCTETS = 16_384
const ALIGNMENT_FIELD = 0xd935

interface Place {
  readonly before: readonly ZipEntry[]
  readonly behind: readonly ZipEntry[]
}

/** New entries stand where old ones stood, or behind all: content that is aligned stays so. */
function placeFor({ entries }: ZipFile, isReplaced: (entry: ZipEntry) => boolean): Place {
  const first = entries.findIndex(isReplaced)
  if (first === -1) return { before: entries, behind: [] }
  const last = entries.findLastIndex(isReplaced)
  if (!entries.slice(first, last).every(isReplaced)) {
    const facts = { format: 'APK', detail: 'a signature of scheme v1 that lies in several places' }
    throw new TrustError('unsupported', 'artifactUnsupported', { facts })
  }
  return { before: entries.slice(0, first), behind: entries.slice(last + 1) }
}

function piecesWith(parts: readonly (readonly [string, Uint8Array])[], { before, behind }: Place): readonly Piece[] {
  const beforeEnd = endOfLocal(before.at(-1))
  const made: { readonly local: Uint8Array; readonly record: Uint8Array }[] = []
  let at = beforeEnd
  for (const [i, [name, content]] of parts.entries()) {
    const [next] = i === parts.length - 1 ? behind : []
    const end = at + newEntry(name, content, at).local.length
    const entry = newEntry(name, content, at, next === undefined ? undefined : fillTo(next.local.offset, end))
    made.push(entry)
    at += entry.local.length
  }
  const [first] = behind
  const shift = first === undefined ? 0 : at - first.local.offset
  const behindLength = first === undefined ? 0 : endOfLocal(behind.at(-1)) - first.local.offset
  const directory = concat([
    ...before.map(({ record }) => record),
    ...made.map(({ record }) => record),
    ...behind.map((entry) => movedRecord(entry, entry.local.offset + shift)),
  ])
  const count = before.length + made.length + behind.length
  return [
    { offset: 0, length: beforeEnd },
    ...made.map(({ local }) => local),
    { offset: first?.local.offset ?? 0, length: behindLength },
    directory,
    classicEnd(count, directory.length, at + behindLength),
  ].filter(({ length }) => length > 0)
}

const endOfLocal = (entry: ZipEntry | undefined): number => (entry === undefined ? 0 : entry.local.offset + entry.local.length)

/** Fields that move what lies at `end` to where it is aligned as it was at `was`. */
function fillTo(was: number, end: number): Uint8Array {
  const missing = (((was - end) % ALIGNMENT_OCTETS) + ALIGNMENT_OCTETS) % ALIGNMENT_OCTETS
  if (missing === 0) return new Uint8Array()
  const field = new Uint8Array(missing < 6 ? missing + ALIGNMENT_OCTETS : missing)
  const view = new DataView(field.buffer)
  view.setUint16(0, ALIGNMENT_FIELD, true)
  view.setUint16(2, field.length - 4, true)
  view.setUint16(4, ALIGNMENT_OCTETS, true)
  return field
}

/** Android refuses ZIP64: "ZIP64 APK not supported". */
function classicEnd(count: number, length: number, offset: number): Uint8Array {
  const end = endOf(count, length, offset)
  if (end.length > endOf(0, 0, 0).length)
    throw new TrustError('unsupported', 'artifactUnsupported', { facts: { format: 'APK', detail: 'ZIP64' } })
  return end
}

async function toBeSignedWhole(
  artifact: BlobSource,
  { layout, announced }: { readonly layout: Layout; readonly announced: ReadonlySet<Scheme> },
  choices: Choices,
  options: Options,
): Promise<ToBeSigned> {
  const { schemes = '', existing, follows = '', lineage: lineageText } = options
  const wanted = schemes.split('+') as Scheme[]
  const kept = existing === 'keep' ? layout.block.values : new Map<number, Uint8Array>()
  const willHave = (scheme: Scheme): boolean => wanted.includes(scheme) || kept.has(schemeIds[scheme])
  for (const scheme of announced) {
    if (willHave(scheme) || follows.split('+').includes(scheme)) continue
    throw new TrustError('conflict', 'apkSchemeAnnounced', { facts: { scheme } })
  }
  const lineage = lineageText === undefined ? undefined : lineageFor(lineageText, wanted, choices)
  if (lineage !== undefined) await checkLineage(lineage)
  const row = apkAlgorithms.find(({ signature }) => signature === choices.signatureAlgorithm) as APKAlgorithm
  const digest = await digestOf(artifact, layout, row.digest)
  const isV3Also = willHave('v3') || follows.includes('v3')
  const since = willHave('v2') ? V3_SINCE : V2_SINCE
  const statement = { row, digest, certificates: choices.certificates, isV3Also, since, lineage }
  const made = wanted.map((scheme) => ({ scheme, signedData: signedDataFor(scheme, statement) }))
  const [first, ...others] = made.map(({ signedData }) => ({ type: 'raw', message: { octets: signedData } }) as const)
  if (first === undefined) throw new TypeError('no scheme')
  return {
    requests: [first, ...others],
    attach(answers) {
      const values = new Map(kept)
      for (const [i, { scheme, signedData }] of made.entries()) {
        const signature = answers[i]
        if (signature === undefined)
          throw new TrustError('malformed', 'answerOther', { facts: { detail: 'there are fewer than were asked for' } })
        const { subjectPublicKeyInfo } = parseCertificate(choices.certificates[0])
        const signer = prefixed(
          prefixed(signedData),
          ...(scheme === 'v3' ? versionsFrom(since) : []),
          prefixed(prefixed(uint32(row.id), prefixed(signature))),
          prefixed(subjectPublicKeyInfo),
        )
        values.set(schemeIds[scheme], prefixed(signer))
      }
      const block = encodeSigningBlock(values)
      const end = new Uint8Array(layout.end)
      new DataView(end.buffer).setUint32(16, layout.entriesEnd + block.length, true)
      return { pieces: [{ offset: 0, length: layout.entriesEnd }, block, layout.directory, end], isBeside: false }
    },
  }
}

/** The certificates before the signer's, and its own. */
function lineageFor(text: string, wanted: readonly Scheme[], { certificates }: Choices): readonly LineageLevel[] {
  if (wanted.join() !== 'v3') throw badOption('schemes', wanted.join('+'), 'v3 with a lineage')
  const levels = lineageIn('apk', text)
  const at = levels.findIndex(({ certificate }) => equal(certificate, certificates[0]))
  if (at === -1) throw new TrustError('conflict', 'apkLineageOther')
  // those behind the signer's are of keys that came later
  return levels.slice(0, at + 1)
}

const badOption = (option: string, value: string, offered: string): TrustError =>
  new TrustError('malformed', 'formatOption', { facts: { format: 'apk', option, value, offered } })

/** What a signature of v1 says is there too. @throws TrustError `unsupported` */
function schemesIn({ main }: ArchiveFound): readonly Scheme[] {
  const written = main.attributes.get(APK_SIGNED.toLowerCase())?.value ?? ''
  const numbers = written.split(',').map((one) => one.trim())
  return numbers
    .filter((one) => one !== '')
    .map((one) => {
      const scheme = /^\d{1,4}$/.test(one) ? schemeNumbers.get(Number(one)) : undefined
      if (scheme !== undefined) return scheme
      const facts = { format: 'APK', detail: `a scheme that v1 calls ${one.slice(0, 20)}` }
      throw new TrustError('unsupported', 'artifactUnsupported', { facts })
    })
}

const announcedIn = ({ signatures }: ArchiveSignatures): ReadonlySet<Scheme> => new Set(signatures.flatMap(schemesIn))

type BlockSigners = ReadonlyMap<Scheme, readonly Signer[]>

const levelText = ({ lineage }: Signer): string => (lineage === undefined ? '' : `, level ${lineage.length} of its lineage`)

/** Every version of Android must see the same signer, or the first of the lineage of whom the others see. */
function checkSameSigner(scheme: Scheme, { certificate, lineage }: Signer, found: BlockSigners): void {
  if (scheme === 'v2') return
  const oldest = lineage?.[0]?.certificate ?? certificate
  const before = scheme === 'v3.1' ? (found.get('v3') ?? []) : []
  const others = before.length > 0 ? before : (found.get('v2') ?? [])
  if (others.every((other) => equal(other.lineage?.[0]?.certificate ?? other.certificate, oldest))) return
  throw changed('its signer for older versions of Android, who is another,')
}

async function checkSameAsV2({ signedData, content }: ArchiveFound, count: number, found: BlockSigners): Promise<void> {
  const [v2, v3] = [found.get('v2') ?? [], found.get('v3') ?? []]
  const others = v2.length > 0 ? v2 : v3
  if (others.length === 0) return
  const { signers } = await verifySignedData(signedData, { content })
  const isSame = signers.every(({ certificate }) =>
    others.some((other) => equal(other.lineage?.[0]?.certificate ?? other.certificate, certificate.der)),
  )
  if (!isSame || (v2.length > 0 && count !== v2.length))
    throw changed('its signer for older versions of Android, who is another,')
}

interface Layout {
  /** Where the signing block begins, or the directory where there is none. */
  readonly entriesEnd: number
  readonly block: SigningBlock
  readonly directory: Range
  /** The record that ends the file. */
  readonly end: Uint8Array
}

async function layoutOf(source: BlobSource): Promise<Layout> {
  const { directory, endOffset } = await parseZipEnd(source)
  const block = await readSigningBlock(source, directory.offset)
  const end = await source.read(endOffset, source.size - endOffset)
  return { entriesEnd: block.range.offset, block, directory, end }
}

/** All but the block, and the four octets that say where the directory begins behind it. */
const coveredIn = ({ entriesEnd, directory }: Layout): readonly Range[] => [
  { offset: 0, length: entriesEnd },
  { offset: directory.offset, length: directory.length + 16 },
  { offset: directory.offset + directory.length + 20, length: 2 },
]

/** v2, "Integrity-protected Contents": a digest over the digests of chunks of the three parts that are signed. */
async function digestOf(source: BlobSource, { entriesEnd, directory, end }: Layout, algorithm: string): Promise<Uint8Array> {
  const moved = new Uint8Array(end)
  new DataView(moved.buffer).setUint32(16, entriesEnd, true) // as if the block were not there
  const chunks: Uint8Array[] = []
  const add = (chunk: Uint8Array): void => {
    chunks.push(
      new Uint8Array(createHash(algorithm).update(Uint8Array.of(0xa5)).update(uint32(chunk.length)).update(chunk).digest()),
    )
  }
  for (const { offset, length } of [{ offset: 0, length: entriesEnd }, directory])
    for (let at = 0; at < length; at += CHUNK_OCTETS) add(await source.read(offset + at, Math.min(CHUNK_OCTETS, length - at)))
  add(moved)
  const all = createHash(algorithm).update(Uint8Array.of(0x5a)).update(uint32(chunks.length))
  for (const chunk of chunks) all.update(chunk)
  return new Uint8Array(all.digest())
}

interface Statement {
  readonly row: APKAlgorithm
  readonly digest: Uint8Array
  readonly certificates: readonly Uint8Array[]
  readonly isV3Also: boolean
  /** From which version on a device looks at v3. */
  readonly since: number
  readonly lineage: readonly LineageLevel[] | undefined
}

function signedDataFor(scheme: Scheme, { row, digest, certificates, isV3Also, since, lineage }: Statement): Uint8Array {
  const protection = scheme === 'v2' && isV3Also ? [prefixed(uint32(STRIPPING_PROTECTION), uint32(V3_ALSO))] : []
  const rotation = lineage === undefined ? [] : [prefixed(uint32(PROOF_OF_ROTATION), encodeLineage(lineage))]
  return concat([
    prefixed(prefixed(uint32(row.id), prefixed(digest))),
    prefixed(...certificates.map((certificate) => prefixed(certificate))),
    ...(scheme === 'v3' ? versionsFrom(since) : []),
    prefixed(...protection, ...rotation),
  ])
}

const versionsFrom = (since: number): readonly Uint8Array[] => [uint32(since), uint32(FOREVER)]

interface Signer {
  readonly signedData: Uint8Array
  /** DER. */
  readonly certificate: Uint8Array
  /** By the numbers of algorithms. */
  readonly digests: ReadonlyMap<number, Uint8Array>
  readonly signatures: readonly { readonly row: APKAlgorithm; readonly signature: Uint8Array }[]
  /** Of Android's API, first and last; none in v2. */
  readonly versions: readonly number[]
  /** Up to the certificate. */
  readonly lineage?: readonly LineageLevel[]
}

function signersIn(block: SigningBlock, scheme: Scheme): readonly Signer[] {
  const value = block.values.get(schemeIds[scheme])
  if (value === undefined) return []
  const from = blockReader(value)
  const signers = prefixedIn(from.prefixed())
  if (from.more || signers.length === 0) throw badAPK(`its part for ${scheme} has no usable signers`)
  const found = signers.map((signer) => signerIn(signer, scheme, block))
  if (scheme !== 'v2') checkVersions(found)
  return found
}

/** A device looks at the one signer of its version. */
function checkVersions(signers: readonly Signer[]): void {
  let before = -1
  for (const [since = 0, until = 0] of signers.map(({ versions }) => versions).toSorted(([a = 0], [b = 0]) => a - b)) {
    if (since <= before || until < since) throw badAPK('two of its signers are for the same version of Android')
    before = until
  }
}

function signerIn(octets: Uint8Array, scheme: Scheme, block: SigningBlock): Signer {
  const from = blockReader(octets)
  const signedData = from.prefixed()
  const versions = scheme === 'v2' ? [] : [from.uint32(), from.uint32()]
  const signatures = numberedIn(from.prefixed())
  const publicKey = from.prefixed()
  if (from.more) throw badAPK('a signer is followed by something')

  const inner = blockReader(signedData)
  const digests = numberedIn(inner.prefixed())
  const [certificate] = prefixedIn(inner.prefixed())
  const signedVersions = scheme === 'v2' ? [] : [inner.uint32(), inner.uint32()]
  const attributes = prefixedIn(inner.prefixed())
  // apksigner writes an empty part behind
  if (inner.rest().some((octet) => octet !== 0)) throw badAPK('what is signed is followed by something')
  if (certificate === undefined) throw badAPK('a signer has no certificate')
  if (!equal(parseCertificate(certificate).subjectPublicKeyInfo, publicKey)) throw badAPK('a key is not that of its certificate')
  if (versions.some((version, i) => version !== signedVersions[i])) throw badAPK('versions of Android are stated in two ways')
  if ([...digests.keys()].join(' ') !== [...signatures.keys()].join(' '))
    throw badAPK('digests and signatures do not belong together')
  const { lineage } = attributesIn(attributes, scheme, block)
  if (lineage !== undefined && !equal(lineage.at(-1)?.certificate ?? certificate, certificate))
    throw badAPK('its lineage is that of another signer')
  const known = apkAlgorithms.flatMap((row) => {
    const signature = signatures.get(row.id)
    return signature === undefined ? [] : [{ row, signature }]
  })
  if (known.length === 0) {
    const facts = { format: 'APK', detail: 'no signature with an algorithm that is known here' }
    throw new TrustError('unsupported', 'artifactUnsupported', { facts })
  }
  return { signedData, certificate, digests, signatures: known, versions, ...(lineage !== undefined && { lineage }) }
}

function numberedIn(octets: Uint8Array): ReadonlyMap<number, Uint8Array> {
  const found = new Map<number, Uint8Array>()
  for (const part of prefixedIn(octets)) {
    const from = blockReader(part)
    const id = from.uint32()
    if (found.has(id)) throw badAPK('an algorithm is there twice')
    found.set(id, from.prefixed())
    if (from.more) throw badAPK('a digest or a signature is followed by something')
  }
  return found
}

/** What the signer says beside its digests. */
function attributesIn(
  attributes: readonly Uint8Array[],
  scheme: Scheme,
  block: SigningBlock,
): { readonly lineage?: readonly LineageLevel[] } {
  let lineage: readonly LineageLevel[] | undefined
  for (const attribute of attributes) {
    const from = blockReader(attribute)
    const id = from.uint32()
    if (scheme === 'v2' && id === STRIPPING_PROTECTION) {
      if (from.uint32() === V3_ALSO && !block.values.has(schemeIds.v3)) throw stripped('v3')
    } else if (scheme !== 'v2' && id === PROOF_OF_ROTATION) {
      if (lineage !== undefined) throw badAPK('a signer has two lineages')
      lineage = parseLineage(from.rest())
    } else if (scheme === 'v3' && id === ROTATION_SINCE) checkRotated(from.uint32(), block)
  }
  return lineage === undefined ? {} : { lineage }
}

/** v3.1: whoever stripped it would have devices take the older key. */
function checkRotated(since: number, block: SigningBlock): void {
  const signers = signersIn(block, 'v3.1')
  if (!signers.some(({ versions: [first] }) => first === since)) throw stripped('v3.1')
}

const changed = (what: string): TrustError => new TrustError('badProof', 'artifactChanged', { facts: { what } })
const stripped = (scheme: Scheme): TrustError => changed(`its signature of scheme ${scheme}, which is missing,`)
