/**
 * What a detached CMS message in an artifact is over: digests of a part of the artifact, which is read once.
 *
 * @module
 */
import { type Content, type DigestId, digestContent, identifyDigest } from '#cms/digests.ts'
import type { SignedData } from '#cms/signed-data.ts'
import { TrustError } from '#base/errors.ts'
import type { BlobSource, Range } from '../format.ts'
import { chunksOf, MESSAGE_MAX_OCTETS } from './blob.ts'

/** @throws TrustError `tooLarge` where a signer signed the content itself (without signed attributes) and it is long */
export async function detachedContent({ signerInfos }: SignedData, source: BlobSource, range: Range): Promise<Content> {
  if (signerInfos.every(({ signedAttrs }) => signedAttrs !== undefined)) {
    const needed = signerInfos.flatMap(({ digestAlgorithm }): readonly DigestId[] => {
      try {
        return [identifyDigest(digestAlgorithm)]
      } catch {
        return [] // refused with its signer
      }
    })
    return digestContent(chunksOf(source, range), needed)
  }
  if (range.length > MESSAGE_MAX_OCTETS) {
    const facts = { what: 'what is signed as a whole', limit: MESSAGE_MAX_OCTETS }
    throw new TrustError('tooLarge', 'artifactPartTooLarge', { facts })
  }
  return source.read(range.offset, range.length)
}
