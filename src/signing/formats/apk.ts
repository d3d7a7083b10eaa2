/**
 * Android packages: schemes v2 and v3, which sign the whole file. Not v1, which is a JAR signature for Android before 7,
 * not v4, and no rotation lineage.
 *
 * Source: Android, APK Signature Scheme v2 and v3.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import type { SignatureAlgorithmId } from '#algorithms/table.ts'
import { concat, equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { parseCertificate } from '#x509/certificate.ts'
import {
  badAPK,
  blockReader,
  encodeSigningBlock,
  prefixed,
  prefixedIn,
  readSigningBlock,
  type SigningBlock,
  uint32,
} from '../artifact/apk-block.ts'
import { bytesSource, windowed } from '../artifact/blob.ts'
import { optionsOf } from '../artifact/options.ts'
import { isZip, parseZip, parseZipEnd } from '../artifact/zip.ts'
import type { BlobSource, FoundSignature, Range, SigningFormat } from '../format.ts'

type Scheme = 'v2' | 'v3'
const schemeIds = { v2: 0x7109871a, v3: 0xf05368c0 } as const satisfies Record<Scheme, number>
/** In what v2 signs: which later scheme is there too, so that it cannot be stripped. */
const STRIPPING_PROTECTION = 0xbeeff00d
const V3_ALSO = 3

const algorithms = [
  { id: 0x0101, signature: 'rsa-pss-sha256', digest: 'sha256' },
  { id: 0x0102, signature: 'rsa-pss-sha512', digest: 'sha512' },
  { id: 0x0103, signature: 'rsa-sha256', digest: 'sha256' },
  { id: 0x0104, signature: 'rsa-sha512', digest: 'sha512' },
  { id: 0x0201, signature: 'ecdsa-sha256', digest: 'sha256' },
  { id: 0x0202, signature: 'ecdsa-sha512', digest: 'sha512' },
] as const satisfies readonly { readonly id: number; readonly signature: SignatureAlgorithmId; readonly digest: string }[]
type Row = (typeof algorithms)[number]

/** Digests are made over pieces of this size, so that devices can make them side by side. */
const CHUNK_OCTETS = 1 << 20
const MANIFEST = 'AndroidManifest.xml'
/** Android 7 knows v2, Android 9 v3. */
const V2_SINCE = 24
const V3_SINCE = 28
const FOREVER = 0x7fffffff

export const apk: SigningFormat = {
  id: 'apk',
  purpose: 'Android packages, for Android 7 and later',
  source: 'Android, APK Signature Scheme v2 and v3',
  algorithms: algorithms.map(({ signature }) => signature),
  options: {
    schemes: { help: 'which signatures are made', values: ['v2+v3', 'v2', 'v3'], fallback: 'v2+v3' },
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
    const { schemes = '' } = optionsOf(apk, choices)
    const row = algorithms.find(({ signature }) => signature === choices.signatureAlgorithm) as Row
    const layout = await layoutOf(artifact)
    await parseZip(windowed(artifact), { entriesEnd: layout.entriesEnd, isClassic: true })
    const digest = await digestOf(artifact, layout, row.digest)
    const made = (schemes.split('+') as Scheme[]).map((scheme) => ({
      scheme,
      signedData: signedDataFor(scheme, { row, digest, certificates: choices.certificates, isV3Also: schemes === 'v2+v3' }),
    }))
    const [first, ...others] = made.map(({ signedData }) => ({ type: 'raw', message: { octets: signedData } }) as const)
    if (first === undefined) throw new TypeError('no scheme')
    return {
      requests: [first, ...others],
      attach(answers) {
        const values = new Map<number, Uint8Array>()
        for (const [i, { scheme, signedData }] of made.entries()) {
          const signature = answers[i]
          if (signature === undefined)
            throw new TrustError('malformed', 'answerOther', { facts: { detail: 'there are fewer than were asked for' } })
          const { subjectPublicKeyInfo } = parseCertificate(choices.certificates[0])
          const signer = prefixed(
            prefixed(signedData),
            ...(scheme === 'v3' ? versionsOf(schemes === 'v2+v3') : []),
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
  },

  async extract(signed) {
    const layout = await layoutOf(signed)
    await parseZip(windowed(signed), { entriesEnd: layout.entriesEnd, isClassic: true })
    const digests = new Map<string, Promise<Uint8Array>>()
    const digestWith = (id: Row['digest']): Promise<Uint8Array> => {
      const known = digests.get(id) ?? digestOf(signed, layout, id)
      digests.set(id, known)
      return known
    }
    const signatures = (['v2', 'v3'] as const).flatMap((scheme) =>
      signersIn(layout.block, scheme).flatMap((signer, i) =>
        signer.signatures.map(({ row, signature }): FoundSignature => ({
          where: `scheme ${scheme}, signer ${i + 1}, ${row.signature}`,
          evidence: {
            type: 'raw',
            signature,
            signatureAlgorithm: row.signature,
            certificate: signer.certificate,
            message: bytesSource(signer.signedData),
          },
          covered: coveredIn(layout),
          async checkCovered() {
            if (!equal(signer.digests.get(row.id) as Uint8Array, await digestWith(row.digest)))
              throw new TrustError('badProof', 'artifactChanged', { facts: { what: 'its digest' } })
          },
        })),
      ),
    )
    return { signatures, uncovered: [] }
  },
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
  readonly row: Row
  readonly digest: Uint8Array
  readonly certificates: readonly Uint8Array[]
  readonly isV3Also: boolean
}

function signedDataFor(scheme: Scheme, { row, digest, certificates, isV3Also }: Statement): Uint8Array {
  const protection = scheme === 'v2' && isV3Also ? [prefixed(uint32(STRIPPING_PROTECTION), uint32(V3_ALSO))] : []
  return concat([
    prefixed(prefixed(uint32(row.id), prefixed(digest))),
    prefixed(...certificates.map((certificate) => prefixed(certificate))),
    ...(scheme === 'v3' ? versionsOf(isV3Also) : []),
    prefixed(...protection),
  ])
}

/** From which version on, and to which, a device looks at the signer. */
const versionsOf = (isV2Also: boolean): readonly Uint8Array[] => [uint32(isV2Also ? V3_SINCE : V2_SINCE), uint32(FOREVER)]

interface Signer {
  readonly signedData: Uint8Array
  /** DER. */
  readonly certificate: Uint8Array
  /** By the numbers of algorithms. */
  readonly digests: ReadonlyMap<number, Uint8Array>
  readonly signatures: readonly { readonly row: Row; readonly signature: Uint8Array }[]
}

function signersIn(block: SigningBlock, scheme: Scheme): readonly Signer[] {
  const value = block.values.get(schemeIds[scheme])
  if (value === undefined) return []
  const from = blockReader(value)
  const signers = prefixedIn(from.prefixed())
  if (from.more || signers.length === 0) throw badAPK(`its part for ${scheme} has no usable signers`)
  return signers.map((signer) => signerIn(signer, scheme, block))
}

function signerIn(octets: Uint8Array, scheme: Scheme, block: SigningBlock): Signer {
  const from = blockReader(octets)
  const signedData = from.prefixed()
  const versions = scheme === 'v3' ? [from.uint32(), from.uint32()] : []
  const signatures = numberedIn(from.prefixed())
  const publicKey = from.prefixed()
  if (from.more) throw badAPK('a signer is followed by something')

  const inner = blockReader(signedData)
  const digests = numberedIn(inner.prefixed())
  const [certificate] = prefixedIn(inner.prefixed())
  const signedVersions = scheme === 'v3' ? [inner.uint32(), inner.uint32()] : []
  const attributes = prefixedIn(inner.prefixed())
  // apksigner writes an empty part behind
  if (inner.rest().some((octet) => octet !== 0)) throw badAPK('what is signed is followed by something')
  if (certificate === undefined) throw badAPK('a signer has no certificate')
  if (!equal(parseCertificate(certificate).subjectPublicKeyInfo, publicKey)) throw badAPK('a key is not that of its certificate')
  if (versions.some((version, i) => version !== signedVersions[i])) throw badAPK('versions of Android are stated in two ways')
  if ([...digests.keys()].join(' ') !== [...signatures.keys()].join(' '))
    throw badAPK('digests and signatures do not belong together')
  if (scheme === 'v2') checkNotStripped(attributes, block)
  const known = algorithms.flatMap((row) => {
    const signature = signatures.get(row.id)
    return signature === undefined ? [] : [{ row, signature }]
  })
  if (known.length === 0) {
    const facts = { format: 'APK', detail: 'no signature with an algorithm that is known here' }
    throw new TrustError('unsupported', 'artifactUnsupported', { facts })
  }
  return { signedData, certificate, digests, signatures: known }
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

function checkNotStripped(attributes: readonly Uint8Array[], { values }: SigningBlock): void {
  for (const attribute of attributes) {
    const from = blockReader(attribute)
    if (from.uint32() === STRIPPING_PROTECTION && from.uint32() === V3_ALSO && !values.has(schemeIds.v3))
      throw new TrustError('badProof', 'artifactChanged', { facts: { what: 'its signature of scheme v3, which is missing,' } })
  }
}
