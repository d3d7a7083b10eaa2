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
import { contentTypes } from '#cms/content-info.ts'
import type { DigestId } from '#cms/digests.ts'
import { encodeSignedData, type SignedDataFields, type SigningKey } from '#cms/sign.ts'
import type { AnsweredBy, AskedFor, CMSRequest, KeyChoice, RawRequest, SignatureRequest } from '../format.ts'

/** The content type of all that Authenticode signs. */
export const SPC_INDIRECT_DATA = '1.3.6.1.4.1.311.2.1.4'
/** Where Windows looks for an RFC 3161 token. */
export const AUTHENTICODE_TIME_STAMP = '1.3.6.1.4.1.311.3.3.1'

export interface AnsweringKey extends SigningKey {
  /** Where a key can be used on a digest that somebody else made. @returns the signature as X.509 carries it */
  signDigest?(digest: Uint8Array, algorithm: SignatureAlgorithmId): Promise<Uint8Array>
}

/** One key, and what goes with it. */
export interface AnsweringWith extends KeyChoice {
  readonly key: AnsweringKey
}

export interface Answering extends AnsweringWith {
  /** Further keys of the signer, in the order of `Choices.others`. */
  readonly others?: readonly AnsweringWith[]
  /** What the signer claims; CAdES wants it said. */
  readonly signingTime?: Date
  /** Asks an authority. @param signature what the time stamp is to be over @returns DER TimeStampToken */
  readonly timeStamp?: (signature: Uint8Array) => Promise<Uint8Array>
}

/**
 * @returns what `attach` takes
 * @throws TrustError `unsupported` when the key cannot sign a digest; `policyRefused` when the digest is not that of the
 *   signature; `malformed` for a key that the signer has not; and whatever the key's holder throws
 */
export const answer = (request: SignatureRequest, answering: Answering): Promise<Uint8Array> =>
  request.type === 'raw' ? answerRaw(request, answering) : answerCMS(request, answering)

/** @returns undefined for what no format asks for: another content could be taken for a time stamp, say */
export function askedFor(request: SignatureRequest): AskedFor | undefined {
  if (request.type === 'raw') return 'raw'
  const { form, contentType } = request
  if (form === 'authenticode') return contentType === SPC_INDIRECT_DATA ? 'authenticode' : undefined
  return contentType === contentTypes.data ? 'cms' : undefined
}

/** @throws TrustError `malformed` for a key that is not there */
export function keysFor<K>(by: AnsweredBy | undefined, keys: readonly K[]): readonly K[] {
  if (by === 'all') return keys
  const key = keys[by ?? 0]
  if (key === undefined) throw new TrustError('malformed', 'signerKeyMissing', { facts: { key: by ?? 0 } })
  return [key]
}

const keysIn = (answering: Answering): readonly AnsweringWith[] => [answering, ...(answering.others ?? [])]

async function answerRaw({ message, by }: RawRequest, answering: Answering): Promise<Uint8Array> {
  const [{ key, signatureAlgorithm: id }] = keysFor(by, keysIn(answering)) as readonly [AnsweringWith]
  if ('octets' in message) return key.sign(message.octets, id)
  checkDigest(id, message.digestAlgorithm)
  if (key.signDigest === undefined) throw new TrustError('unsupported', 'digestNotSignable', { facts: { algorithm: id } })
  return key.signDigest(message.digest, id)
}

function checkDigest(id: SignatureAlgorithmId, digest: DigestId): void {
  if (signatureAlgorithm(id).digest !== digest)
    throw new TrustError('policyRefused', 'cmsAlgorithmsDiffer', { facts: { detail: `${digest} with ${id}` } })
}

async function answerCMS(request: CMSRequest, answering: Answering): Promise<Uint8Array> {
  const { form, contentType, content, attributes = [], by } = request
  const { signingTime, timeStamp } = answering
  const keys = keysFor(by, keysIn(answering))
  const isAuthenticode = form === 'authenticode'
  // its verifiers read one signer and no more
  if (isAuthenticode && keys.length > 1)
    throw new TrustError('policyRefused', 'formatOneKey', { facts: { format: 'Authenticode' } })
  const type = isAuthenticode ? AUTHENTICODE_TIME_STAMP : attributeTypes.timeStampToken
  const signers = keys.map(({ key, certificates: [certificate], signatureAlgorithm: algorithm }) => ({
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
  }))
  return encodeSignedData({
    contentType,
    content: isAuthenticode && 'attached' in content ? { element: decode(ANY, content.attached) } : content,
    certificates: keys.flatMap(({ certificates: [, ...above] }) => above),
    signers: signers as unknown as SignedDataFields['signers'], // keysFor gives one at least
    namingEachOther: true,
  })
}
