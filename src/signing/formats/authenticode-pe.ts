/**
 * Authenticode for portable executables: programs, libraries and drivers of Windows, and what UEFI firmware starts.
 *
 * Source: Microsoft, Windows Authenticode Portable Executable Signature Format, version 1.0 (2008); PE Format, "The
 * Attribute Certificate Table"; UEFI Specification 2.10, 32.2.
 *
 * @module
 */
import { choice, decode, encode, explicit, implicit, optional, sequence, setOf } from '#asn1/codec.ts'
import { ANY } from '#asn1/any.ts'
import { BIT_STRING, IA5String, OBJECT_IDENTIFIER, OCTET_STRING } from '#asn1/types.ts'
import { concat, equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { type DigestId, usualDigest } from '#cms/digests.ts'
import { optionsOf } from '../artifact/options.ts'
import {
  badPE,
  CERTIFICATE_ALIGNMENT,
  checksumOf,
  hashedRanges,
  type ImageSums,
  isPE,
  pageHashesOf,
  paddingOf,
  parsePE,
  type PEImage,
  sumsOf,
  wordSumOf,
} from '../artifact/pe.ts'
import {
  AUTHENTICODE_ALGORITHMS,
  AUTHENTICODE_MAX_OCTETS,
  type AuthenticodeSignature,
  checkAnswer,
  checkDigest,
  indirectDataRequest,
  nest,
  parseAuthenticode,
  SpcString,
  withoutPadding,
} from '../artifact/spc.ts'
import type { BlobSource, SigningFormat } from '../format.ts'

const SPC_PE_IMAGE_DATA = '1.3.6.1.4.1.311.2.1.15'
const PAGE_HASHES_SHA256 = '1.3.6.1.4.1.311.2.3.2'

const WIN_CERTIFICATE_HEADER_OCTETS = 8
const REVISION_2 = 0x0200
const TYPE_PKCS_SIGNED_DATA = 0x0002
/** Firmware looks at each; a file has one, a boot loader two or three. */
const ENTRIES_MAX = 8

const SpcLink = choice('SpcLink', {
  url: implicit(0, IA5String),
  moniker: implicit(1, sequence('SpcSerializedObject', { classId: OCTET_STRING, serializedData: OCTET_STRING })),
  file: explicit(2, SpcString),
})
const SpcPeImageData = sequence('SpcPeImageData', { flags: BIT_STRING, file: optional(explicit(0, SpcLink)) })

const PageHashes = setOf('SpcPageHashes', sequence('SpcAttribute', { type: OBJECT_IDENTIFIER, values: setOf('values', ANY) }))

/** What every signing program writes there: nobody reads it any more. */
const imageData = encode(SpcPeImageData, {
  flags: { octets: new Uint8Array(), unusedBits: 0 },
  file: { type: 'file', value: { type: 'unicode', value: '<<<Obsolete>>>' } },
})

export const authenticodePE: SigningFormat = {
  id: 'authenticode-pe',
  purpose: 'programs, libraries and drivers of Windows (exe, dll, sys); boot loaders and kernels of UEFI (efi)',
  source: 'Windows Authenticode Portable Executable Signature Format 1.0',
  asks: ['authenticode'],
  algorithms: AUTHENTICODE_ALGORITHMS,
  signerPurpose: 'code-signing',
  staysInPlace: true,
  options: {
    existing: {
      help: 'what becomes of signatures that are there: replaced, or kept with the new one nested (Windows) or behind them (UEFI)',
      values: ['replace', 'nest', 'append'],
      fallback: 'replace',
    },
    programName: { help: 'what Windows calls the program when it asks whether to run it' },
    programUrl: { help: 'where it links to' },
  },

  detect: isPE,

  async toBeSigned(artifact, choices) {
    const { existing, programName, programUrl } = optionsOf(authenticodePE, choices)
    const image = await parsePE(artifact)
    const digestAlgorithm = usualDigest(choices.signatureAlgorithm)
    const before = existing === 'replace' ? [] : await entriesIn(artifact, image)
    const sums = await sumsOf(artifact, image, digestAlgorithm)
    const statement = { type: SPC_PE_IMAGE_DATA, value: imageData, digestAlgorithm, digest: sums.digest }
    return {
      requests: [indirectDataRequest(statement, { programName, programUrl })],
      attach([message]) {
        const signature = checkAnswer(message, SPC_PE_IMAGE_DATA)
        const [first, ...others] = before
        const entries = first !== undefined && existing === 'nest' ? [nest(first, signature), ...others] : [...before, signature]
        return { pieces: piecesWith(tableOf(entries), image, sums), isBeside: false }
      },
    }
  },

  async extract(signed) {
    const image = await parsePE(signed)
    const digests = new Map<DigestId, Promise<ImageSums>>()
    const sums = (id: DigestId): Promise<ImageSums> => {
      const known = digests.get(id) ?? sumsOf(signed, image, id)
      digests.set(id, known)
      return known
    }
    const entries = await entriesIn(signed, image)
    const signatures = entries.flatMap((entry, i) =>
      parseAuthenticode(entry, SPC_PE_IMAGE_DATA).map((signature, nested) => ({
        where: `certificate table, entry ${i + 1}${nested === 0 ? '' : `, nested signature ${nested}`}`,
        evidence: { type: 'cms', signedData: signature.signedData } as const,
        covered: hashedRanges(image),
        async checkCovered() {
          await checkDigest(signature.statement, async (id) => (await sums(id)).digest)
          await checkPageHashes(signed, image, signature)
        },
      })),
    )
    return { signatures, uncovered: [] }
  },
}

/** DER of each. @throws TrustError `malformed` for padding that is not the least of zeros, `unsupported`, `tooLarge` */
async function entriesIn(source: BlobSource, { end, tableLength }: PEImage): Promise<readonly Uint8Array[]> {
  if (tableLength > AUTHENTICODE_MAX_OCTETS)
    throw new TrustError('tooLarge', 'artifactPartTooLarge', {
      facts: { what: 'its certificate table', limit: AUTHENTICODE_MAX_OCTETS },
    })
  const table = await source.read(end, tableLength)
  const view = new DataView(table.buffer, table.byteOffset, table.length)
  const entries: Uint8Array[] = []
  for (let at = 0; at < table.length;) {
    if (entries.length === ENTRIES_MAX) throw badPE(`its certificate table has more than ${ENTRIES_MAX} entries`)
    if (table.length - at < WIN_CERTIFICATE_HEADER_OCTETS) throw badPE('an entry of its certificate table is cut short')
    const length = view.getUint32(at, true)
    const next = at + length + (-length & (CERTIFICATE_ALIGNMENT - 1))
    if (length <= WIN_CERTIFICATE_HEADER_OCTETS || next > table.length)
      throw badPE('an entry of its certificate table has no usable length')
    if (view.getUint16(at + 4, true) !== REVISION_2 || view.getUint16(at + 6, true) !== TYPE_PKCS_SIGNED_DATA)
      throw new TrustError('unsupported', 'artifactUnsupported', {
        facts: { format: 'PE', detail: 'an entry of the certificate table that is no PKCS #7 signature' },
      })
    entries.push(withoutPadding(table.subarray(at + WIN_CERTIFICATE_HEADER_OCTETS, next), CERTIFICATE_ALIGNMENT))
    at = next
  }
  return entries
}

function tableOf(entries: readonly Uint8Array[]): Uint8Array {
  return concat(
    entries.map((der) => {
      const length = WIN_CERTIFICATE_HEADER_OCTETS + der.length
      const entry = new Uint8Array(length + (-length & (CERTIFICATE_ALIGNMENT - 1)))
      const view = new DataView(entry.buffer)
      view.setUint32(0, entry.length, true)
      view.setUint16(4, REVISION_2, true)
      view.setUint16(6, TYPE_PKCS_SIGNED_DATA, true)
      entry.set(der, WIN_CERTIFICATE_HEADER_OCTETS)
      return entry
    }),
  )
}

function piecesWith(table: Uint8Array, image: PEImage, { wordSum }: ImageSums) {
  const padding = paddingOf(image)
  const tableOffset = image.end + padding.length
  const directory = new Uint8Array(8)
  const view = new DataView(directory.buffer)
  view.setUint32(0, tableOffset, true)
  view.setUint32(4, table.length, true)
  const checksum = new Uint8Array(4)
  const sums = [wordSum, wordSumOf(directory), wordSumOf(table)]
  new DataView(checksum.buffer).setUint32(0, checksumOf(sums, tableOffset + table.length), true)
  const [first, second, third] = hashedRanges(image)
  if (first === undefined || second === undefined || third === undefined) throw new TypeError('an image has three ranges')
  return [first, checksum, second, directory, third, padding, table]
}

/** Windows loads by them; the digest over the whole image holds already, so they can only be wrong by mistake or malice. */
async function checkPageHashes(source: BlobSource, image: PEImage, { statement }: AuthenticodeSignature): Promise<void> {
  const { file } = decode(SpcPeImageData, statement.value, { maxOctets: statement.value.length })
  if (file?.type !== 'moniker') return
  const attributes = decode(PageHashes, file.value.serializedData, { maxOctets: file.value.serializedData.length })
  for (const { type, values } of attributes) {
    if (type !== PAGE_HASHES_SHA256) continue // those with SHA-1 prove nothing
    const [value, another] = values
    if (value === undefined || another !== undefined) throw badPE('its page hashes are not in one piece')
    const stated = decode(OCTET_STRING, value, { maxOctets: value.length })
    if (!equal(stated, await pageHashesOf(source, image, 'sha256')))
      throw new TrustError('badProof', 'artifactChanged', { facts: { what: 'the hash of a page' } })
  }
}
