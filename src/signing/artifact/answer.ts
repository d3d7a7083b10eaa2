/**
 * Answers what a format asks to be signed. The key comes in as a port: what holds it is somebody else's matter.
 *
 * @module
 */
import { signatureAlgorithm, type SignatureAlgorithmId } from '#algorithms/table.ts'
import { ANY } from '#asn1/any.ts'
import { decode } from '#asn1/codec.ts'
import { TrustError } from '#base/errors.ts'
import type { Attribute } from '#cms/attributes.ts'
import { attributeTypes } from '#cms/attributes.ts'
import type { DigestId } from '#cms/digests.ts'
import { encodeSignedData, type SigningKey } from '#cms/sign.ts'
import type { CMSRequest, RawRequest, SignatureRequest } from '../format.ts'

/** Where Windows looks for an RFC 3161 token. */
export const AUTHENTICODE_TIME_STAMP = '1.3.6.1.4.1.311.3.3.1'

export interface AnsweringKey extends SigningKey {
  /** Where a key can be used on a digest that somebody else made. @returns the signature as X.509 carries it */
  signDigest?(digest: Uint8Array, algorithm: SignatureAlgorithmId): Promise<Uint8Array>
}

export interface Answering {
  readonly key: AnsweringKey
  /** The signer's, then those above it; DER. */
  readonly certificates: readonly [Uint8Array, ...Uint8Array[]]
  readonly signatureAlgorithm: SignatureAlgorithmId
  /** What the signer claims; CAdES wants it said. */
  readonly signingTime?: Date
  /** Asks an authority. @param signature what the time stamp is to be over @returns DER TimeStampToken */
  readonly timeStamp?: (signature: Uint8Array) => Promise<Uint8Array>
}

/**
 * @returns what `attach` takes
 * @throws TrustError `unsupported` when the key cannot sign a digest; `policyRefused` when the digest is not that of the
 *   signature; and whatever the key's holder throws
 */
export const answer = (request: SignatureRequest, answering: Answering): Promise<Uint8Array> =>
  request.type === 'raw' ? answerRaw(request, answering) : answerCMS(request, answering)

async function answerRaw({ message }: RawRequest, { key, signatureAlgorithm: id }: Answering): Promise<Uint8Array> {
  if ('octets' in message) return key.sign(message.octets, id)
  checkDigest(id, message.digestAlgorithm)
  if (key.signDigest === undefined) throw new TrustError('unsupported', 'digestNotSignable', { facts: { algorithm: id } })
  return key.signDigest(message.digest, id)
}

function checkDigest(id: SignatureAlgorithmId, digest: DigestId): void {
  if (signatureAlgorithm(id).digest !== digest)
    throw new TrustError('policyRefused', 'cmsAlgorithmsDiffer', { facts: { detail: `${digest} with ${id}` } })
}

function answerCMS({ form, contentType, content, attributes = [] }: CMSRequest, answering: Answering): Promise<Uint8Array> {
  const { key, signatureAlgorithm: algorithm, signingTime, timeStamp } = answering
  const [certificate, ...certificates] = answering.certificates
  const isAuthenticode = form === 'authenticode'
  const type = isAuthenticode ? AUTHENTICODE_TIME_STAMP : attributeTypes.timeStampToken
  return encodeSignedData({
    contentType,
    content: isAuthenticode && 'attached' in content ? { element: decode(ANY, content.attached) } : content,
    certificates,
    signers: [
      {
        key,
        certificate,
        signatureAlgorithm: algorithm,
        signedAttributes: attributes,
        ...(signingTime !== undefined && { signingTime }),
        ...(timeStamp !== undefined && {
          unsignedAttributes: async (signature: Uint8Array): Promise<readonly Attribute[]> => [
            { attrType: type, attrValues: [await timeStamp(signature)] },
          ],
        }),
      },
    ],
  })
}
