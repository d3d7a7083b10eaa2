/**
 * CMS signatures: detached in a file of their own, or around what they sign; and time-stamp tokens, which are such too.
 *
 * Source: RFC 5652; ETSI EN 319 122-1, 5 and 6 (CAdES-B-B, and B-T with a time stamp); RFC 3161; RFC 5752 (several keys).
 *
 * @module
 */
import { parseOnePEM } from '#asn1/pem.ts'
import { equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { contentTypes, peekContentType } from '#cms/content-info.ts'
import { type Content, type DigestId, digestContent, identifyDigest, usualDigest } from '#cms/digests.ts'
import { parseSignedData, type SignedData, type SignerInfo } from '#cms/signed-data.ts'
import { type Imprint, parseTimeStampResponse, parseTSTInfo } from '#cms/timestamp.ts'
import { chunksOf, MESSAGE_MAX_OCTETS, readWhole, whole } from '../artifact/blob.ts'
import { optionsOf } from '../artifact/options.ts'
import type { BlobSource, FoundSignature, Range, SigningFormat } from '../format.ts'

/** Around the content: certificates, lists and time stamps. */
const AROUND_MAX_OCTETS = 4 << 20
const PEEK_OCTETS = 4096
const PEM_LABELS = ['CMS', 'PKCS7', 'PKCS #7 SIGNED DATA'] as const

export const cms: SigningFormat = {
  id: 'cms',
  purpose: 'any file, for whoever checks certificates: openssl cms, gpgsm, GnuTLS, CAdES verifiers',
  source: 'RFC 5652, ETSI EN 319 122-1 (CAdES-B-B and B-T), RFC 5752',
  asks: ['cms'],
  standsBeside: true,
  severalKeys: true,
  options: {
    content: {
      help: 'whether the signature stands beside the file, or around it (up to 16 MiB)',
      values: ['detached', 'attached'],
      fallback: 'detached',
    },
  },

  async detect(artifact) {
    const head = await artifact.read(0, Math.min(artifact.size, PEEK_OCTETS))
    if (PEM_LABELS.some((label) => isPEM(head, label))) return true
    return peekContentType(head) === contentTypes.signedData
  },

  async toBeSigned(artifact, choices) {
    const { content: placement } = optionsOf(cms, choices)
    const isDetached = placement === 'detached'
    const keys = [choices, ...(choices.others ?? [])]
    const digests = keys.map(({ signatureAlgorithm }) => usualDigest(signatureAlgorithm))
    const content = isDetached
      ? { detached: await digestContent(chunksOf(artifact), digests) }
      : { attached: await readWhole(artifact, 'what is signed as a whole', MESSAGE_MAX_OCTETS) }
    return {
      requests: [
        { type: 'cms', form: 'cades', contentType: contentTypes.data, content, ...(keys.length > 1 && { by: 'all' as const }) },
      ],
      ...(isDetached && { suffix: '.p7s' }),
      attach([message = new Uint8Array()]) {
        if (peekContentType(message) !== contentTypes.signedData)
          throw new TrustError('malformed', 'answerOther', { facts: { detail: 'it is no CMS SignedData' } })
        return { pieces: [message], isBeside: isDetached, suffix: isDetached ? '.p7s' : '.p7m' }
      },
    }
  },

  async extract(signed, { content } = {}) {
    const octets = messageIn(await readWhole(signed, 'the CMS message', MESSAGE_MAX_OCTETS + AROUND_MAX_OCTETS))
    const signedData = parseSignedData(octets, { encoding: 'ber', maxOctets: octets.length })
    const signature = signedData.contentType === contentTypes.tstInfo ? overImprint : overContent
    return { signatures: [await signature(signedData, await rangeIn(signed, signedData.content), content)], uncovered: [] }
  },
}

/** DER or BER of a ContentInfo, from PEM or from the answer of a time-stamping authority too. */
function messageIn(octets: Uint8Array): Uint8Array {
  if (peekContentType(octets) !== '') return octets
  const label = PEM_LABELS.find((one) => isPEM(octets.subarray(0, PEEK_OCTETS), one))
  if (label !== undefined) return parseOnePEM(Buffer.from(octets).toString('latin1'), label)
  return parseTimeStampResponse(octets)
}

const isPEM = (head: Uint8Array, label: string): boolean =>
  Buffer.from(head).toString('latin1').includes(`-----BEGIN ${label}-----`)

async function overContent(
  signedData: SignedData,
  range: Range | undefined,
  content: BlobSource | undefined,
): Promise<FoundSignature> {
  if (signedData.content !== undefined) {
    if (content !== undefined) throw new TrustError('malformed', 'cmsContentTwice')
    return {
      where: 'the message',
      evidence: { type: 'cms', signedData },
      covered: range === undefined ? [] : [range],
      checkCovered: async () => {}, // the signature is over all of it
    }
  }
  if (content === undefined) throw new TrustError('malformed', 'contentNotGiven')
  return {
    where: 'the whole file',
    evidence: { type: 'cms', signedData, content: await contentFor(signedData, content) },
    covered: [whole(content)],
    checkCovered: async () => {}, // the same
  }
}

/** A signer without signed attributes signed the content itself and not its digest. */
const contentFor = async ({ signerInfos }: SignedData, content: BlobSource): Promise<Content> =>
  signerInfos.every(({ signedAttrs }) => signedAttrs !== undefined)
    ? digestContent(chunksOf(content), signerInfos.flatMap(digestNeeded))
    : readWhole(content, 'what is signed as a whole', MESSAGE_MAX_OCTETS)

function digestNeeded({ digestAlgorithm }: SignerInfo): readonly DigestId[] {
  try {
    return [identifyDigest(digestAlgorithm)]
  } catch {
    return [] // refused with its signer
  }
}

/** What is signed is a statement about a digest. */
async function overImprint(
  signedData: SignedData,
  _range: Range | undefined,
  content: BlobSource | undefined,
): Promise<FoundSignature> {
  if (content === undefined) throw new TrustError('malformed', 'contentNotGiven')
  if (signedData.content === undefined) throw new TrustError('malformed', 'cmsContentMissing')
  const { imprint } = parseTSTInfo(signedData.content)
  return {
    where: 'the whole file',
    evidence: { type: 'cms', signedData },
    covered: [whole(content)],
    checkCovered: () => checkImprint(imprint, content),
  }
}

async function checkImprint({ digestAlgorithm, digest }: Imprint, content: BlobSource): Promise<void> {
  const digests = await digestContent(chunksOf(content), [digestAlgorithm])
  if (!equal(digests.get(digestAlgorithm) as Uint8Array, digest))
    throw new TrustError('badProof', 'artifactChanged', { facts: { what: 'its digest' } })
}

/** Where the content lies in the file, when it stands there in one piece. */
async function rangeIn(signed: BlobSource, content: Uint8Array | undefined): Promise<Range | undefined> {
  if (content === undefined || content.length === 0) return undefined
  const offset = Buffer.from(await signed.read(0, signed.size)).indexOf(content)
  return offset < 0 ? undefined : { offset, length: content.length }
}
