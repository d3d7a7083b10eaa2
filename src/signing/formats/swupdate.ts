/**
 * Update archives of SWUpdate: a description that names every file with its digest, a signature over the description, the
 * files. The signature is a CMS message, or that of an RSA key and nothing around it, as the device's SWUpdate was built.
 *
 * Source: SWUpdate 2022.12, "Update images from verified source" and "SWUpdate: syntax and tags with the default parser";
 * cpio (see `artifact/cpio.ts`).
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { importPublicKey } from '#algorithms/public-key.ts'
import { certificateSignatureOf, type SignatureAlgorithmId } from '#algorithms/table.ts'
import { TrustError } from '#base/errors.ts'
import { contentTypes, peekContentType } from '#cms/content-info.ts'
import { digestContent, usualDigest } from '#cms/digests.ts'
import { parseSignedData } from '#cms/signed-data.ts'
import { parseCertificate } from '#x509/certificate.ts'
import { bytesSource, chunksOf } from '../artifact/blob.ts'
import { type CpioEntry, cpioEntryLike, cpioPadding, cpioSum, parseCpio } from '../artifact/cpio.ts'
import { detachedContent } from '../artifact/detached.ts'
import { isGroup, isList, parseLibconfig, type Setting } from '../artifact/libconfig.ts'
import { optionsOf } from '../artifact/options.ts'
import type { Beside, BlobSource, CMSEvidence, RawEvidence, SigningFormat, UnknownEvidence } from '../format.ts'

const DESCRIPTION = 'sw-description'
const SIGNATURE = 'sw-description.sig'
/** Tens of files for tens of boards, at some hundred octets each. */
const DESCRIPTION_MAX_OCTETS = 1 << 20
/** A message with a chain and a time stamp. */
const SIGNATURE_MAX_OCTETS = 64 << 10
const DETECT_OCTETS = 110 + DESCRIPTION.length

/** What SWUpdate checks without CMS. */
const RAW_ALGORITHMS: readonly SignatureAlgorithmId[] = ['rsa-sha256', 'rsa-pss-sha256']

export const swupdate: SigningFormat = {
  id: 'swupdate',
  purpose: 'update archives for SWUpdate (swu)',
  source: 'SWUpdate 2022.12, signed images',
  asks: ['cms', 'raw'],
  algorithms: [
    'rsa-sha256',
    'rsa-sha384',
    'rsa-sha512',
    'rsa-pss-sha256',
    'rsa-pss-sha384',
    'rsa-pss-sha512',
    'ecdsa-sha256',
    'ecdsa-sha384',
    'ecdsa-sha512',
  ],
  signerPurpose: 'code-signing',
  options: {
    signature: {
      help: 'as the SWUpdate of the device was built: a CMS message, or what an RSA key signs and nothing around it',
      values: ['cms', 'raw'],
      fallback: 'cms',
    },
  },

  async detect(artifact) {
    if (artifact.size < DETECT_OCTETS) return false
    const head = Buffer.from(await artifact.read(0, DETECT_OCTETS + 1)).toString('latin1')
    return /^07070[12]/.test(head) && head.slice(110) === `${DESCRIPTION}\0`
  },

  async toBeSigned(artifact, choices) {
    const { signature: form } = optionsOf(swupdate, choices)
    if (form === 'raw' && !RAW_ALGORITHMS.includes(choices.signatureAlgorithm)) {
      const facts = { format: 'swupdate', algorithm: choices.signatureAlgorithm, offered: RAW_ALGORITHMS.join(', ') }
      throw new TrustError('policyRefused', 'formatAlgorithm', { facts })
    }
    const archive = await archiveOf(artifact)
    const [uncovered] = archive.uncovered
    if (uncovered !== undefined) throw bad(`${uncovered}, so that no signature would cover it`)
    await checkFiles(artifact, archive)
    const { entry, octets } = archive.description
    const after = archive.signature?.entry.end ?? entry.end
    const request =
      form === 'raw'
        ? ({ type: 'raw', message: { octets } } as const)
        : ({
            type: 'cms',
            form: 'cades',
            contentType: contentTypes.data,
            content: { detached: await digestContent(octets, [usualDigest(choices.signatureAlgorithm)]) },
          } as const)
    return {
      requests: [request],
      attach([answer = new Uint8Array()]) {
        if (answer.length === 0 || (form === 'cms' && peekContentType(answer) !== contentTypes.signedData))
          throw new TrustError('malformed', 'answerOther', { facts: { detail: `it is no ${form} signature` } })
        const added = cpioEntryLike(entry, SIGNATURE, answer)
        const rest = { offset: after, length: archive.end - after }
        const padding = cpioPadding(entry.end + added.length + rest.length)
        return { pieces: [{ offset: 0, length: entry.end }, added, rest, padding], isBeside: false }
      },
    }
  },

  async extract(signed, beside = {}) {
    const archive = await archiveOf(signed)
    const { description, signature, images, uncovered } = archive
    if (signature === undefined) return { signatures: [], uncovered }
    const evidence = await evidenceIn(signature.octets, description.octets, beside)
    const covered = [description.entry.data, ...images.map(({ entry }) => entry.data)].filter(({ length }) => length > 0)
    const checkCovered = (): Promise<void> => checkFiles(signed, archive)
    return { signatures: [{ where: SIGNATURE, evidence, covered, checkCovered }], uncovered }
  },
}

async function evidenceIn(
  signature: Uint8Array,
  description: Uint8Array,
  { certificates: [certificate] = [], signatureAlgorithm }: Beside,
): Promise<CMSEvidence | RawEvidence | UnknownEvidence> {
  const message = bytesSource(description)
  if (peekContentType(signature) === contentTypes.signedData) {
    const signedData = parseSignedData(signature)
    const content = await detachedContent(signedData, message, { offset: 0, length: message.size })
    return { type: 'cms', signedData, content }
  }
  if (certificate === undefined) return { type: 'unknown', problem: new TrustError('unauthenticated', 'certificateNotGiven') }
  const { algorithm } = importPublicKey(parseCertificate(certificate).subjectPublicKeyInfo)
  return {
    type: 'raw',
    signature,
    signatureAlgorithm: signatureAlgorithm ?? certificateSignatureOf(algorithm),
    certificate,
    message,
  }
}

interface Held {
  readonly entry: CpioEntry
  readonly octets: Uint8Array
}

interface Archive {
  readonly description: Held
  readonly signature?: Held
  /** With what the description says of each. */
  readonly images: readonly { readonly entry: CpioEntry; readonly sha256: string }[]
  readonly end: number
  readonly uncovered: readonly string[]
}

/** @throws TrustError `malformed`, `unsupported`, `tooLarge`; `badProof` for a file that is named and not there */
async function archiveOf(source: BlobSource): Promise<Archive> {
  const { entries, end } = await parseCpio(source)
  const [first, ...others] = entries
  if (first?.name !== DESCRIPTION) throw bad(`its first entry is not ${DESCRIPTION}`)
  const description = { entry: first, octets: await contentOf(source, first, DESCRIPTION_MAX_OCTETS) }
  const [second] = others
  const signature =
    second?.name === SIGNATURE ? { entry: second, octets: await contentOf(source, second, SIGNATURE_MAX_OCTETS) } : undefined
  const files = new Map((signature === undefined ? others : others.slice(1)).map((entry) => [entry.name, entry]))
  const uncovered: string[] = []
  const digests = new Map<string, string>()
  for (const { filename, sha256 } of namedIn(parseLibconfig(textOf(description.octets)))) {
    if (!files.has(filename))
      throw new TrustError('badProof', 'artifactChanged', { facts: { what: `${filename}, which is missing,` } })
    if (sha256 === undefined) uncovered.push(`${filename} is named without its SHA-256`)
    else if ((digests.get(filename) ?? sha256) !== sha256) throw bad(`${filename} is named with two digests`)
    else digests.set(filename, sha256)
  }
  const images: { entry: CpioEntry; sha256: string }[] = []
  for (const entry of files.values()) {
    const sha256 = digests.get(entry.name)
    if (sha256 !== undefined) images.push({ entry, sha256 })
    else if (!uncovered.some((text) => text.startsWith(`${entry.name} `))) uncovered.push(`${entry.name} is not named`)
  }
  return { description, ...(signature !== undefined && { signature }), images, end, uncovered }
}

async function contentOf(source: BlobSource, { name, data, sum }: CpioEntry, limit: number): Promise<Uint8Array> {
  if (data.length > limit) throw new TrustError('tooLarge', 'artifactPartTooLarge', { facts: { what: name, limit } })
  const octets = await source.read(data.offset, data.length)
  if (sum !== undefined && cpioSum(octets) !== sum) throw bad(`${name} has another sum than its entry says`)
  return octets
}

function textOf(octets: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(octets)
  } catch {
    throw bad(`${DESCRIPTION} is no UTF-8 text; an encrypted one is signed before`)
  }
}

/** Wherever it stands: which of them a device installs is its choice, so each must be covered. */
function* namedIn(setting: Setting): Generator<{ readonly filename: string; readonly sha256: string | undefined }> {
  if (isList(setting)) for (const item of setting) yield* namedIn(item)
  if (!isGroup(setting)) return
  const filename = setting.group.get('filename')
  const sha256 = setting.group.get('sha256')
  if (typeof filename === 'string')
    yield { filename, sha256: typeof sha256 === 'string' && /^[0-9a-f]{64}$/i.test(sha256) ? sha256.toLowerCase() : undefined }
  for (const inner of setting.group.values()) yield* namedIn(inner)
}

/** @throws TrustError `badProof` */
async function checkFiles(source: BlobSource, { images }: Archive): Promise<void> {
  for (const { entry, sha256 } of images) {
    const hash = createHash('sha256')
    let sum = 0
    for await (const chunk of chunksOf(source, entry.data)) {
      hash.update(chunk)
      if (entry.sum !== undefined) sum = cpioSum(chunk, sum)
    }
    if (hash.digest('hex') !== sha256 || (entry.sum !== undefined && sum !== entry.sum))
      throw new TrustError('badProof', 'artifactChanged', { facts: { what: entry.name } })
  }
}

const bad = (detail: string): TrustError => new TrustError('malformed', 'badArtifact', { facts: { format: 'SWUpdate', detail } })
