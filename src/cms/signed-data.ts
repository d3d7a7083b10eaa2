/**
 * SignedData: what it looks like. `sign.ts` makes it and `verify.ts` judges it.
 *
 * Source: RFC 5652, 5 and 10.2.
 *
 * @module
 */
import { ANY } from '#asn1/any.ts'
import {
  captured,
  choice,
  type Codec,
  decode,
  encode,
  explicit,
  implicit,
  type Infer,
  optional,
  sequence,
  type TaggedCodec,
} from '#asn1/codec.ts'
import { INTEGER_OCTETS, OBJECT_IDENTIFIER, OCTET_STRING, SMALL_INTEGER } from '#asn1/types.ts'
import { Reader } from '#asn1/reader.ts'
import { equal } from '#base/bytes.ts'
import type { Certificate } from '#x509/certificate.ts'
import { extensionOf } from '#x509/certificate.ts'
import { keyIdentifierOf, subjectKeyIdentifier } from '#x509/extensions/subject-key-identifier.ts'
import { equalNames } from '#x509/name.ts'
import { SubjectPublicKeyInfo } from '#algorithms/public-key.ts'
import { type Attribute, Attributes, LooseAttributes } from './attributes.ts'
import { badCMS, ContentInfo, contentTypes, looseSetOf, readContent, type ReadForm } from './content-info.ts'
import { AlgorithmIdentifier } from './digests.ts'

/** The signers of a firmware image: maker, integrator, owner, each classical and post-quantum. */
const SIGNERS_MAX = 32
/** The same as for bundles. */
const CERTIFICATES_MAX = 256

const IssuerAndSerialNumber = sequence('IssuerAndSerialNumber', { issuer: ANY, serialNumber: INTEGER_OCTETS })

/** Of a signer or of a recipient. */
export const EntityIdentifier = choice('SignerIdentifier', {
  issuerAndSerialNumber: IssuerAndSerialNumber,
  subjectKeyIdentifier: implicit(0, OCTET_STRING),
})
export type EntityIdentifier = Infer<typeof EntityIdentifier>

export const SignerInfo = sequence('SignerInfo', {
  version: SMALL_INTEGER,
  sid: EntityIdentifier,
  digestAlgorithm: AlgorithmIdentifier,
  signedAttrs: optional(captured(implicit(0, Attributes))),
  signatureAlgorithm: captured(AlgorithmIdentifier),
  signature: OCTET_STRING,
  unsignedAttrs: optional(implicit(1, LooseAttributes)),
})
export type SignerInfo = Infer<typeof SignerInfo>

const certificateSet: TaggedCodec<readonly Uint8Array[]> = looseSetOf('certificates', ANY, { max: CERTIFICATES_MAX })

export const SignedDataContent = sequence('SignedData', {
  version: SMALL_INTEGER,
  digestAlgorithms: looseSetOf('digestAlgorithms', AlgorithmIdentifier, { max: SIGNERS_MAX }),
  encapContentInfo: sequence('EncapsulatedContentInfo', {
    eContentType: OBJECT_IDENTIFIER,
    eContent: optional(explicit(0, ANY)),
  }),
  certificates: optional(implicit(0, certificateSet)),
  crls: optional(implicit(1, certificateSet)),
  signerInfos: looseSetOf('signerInfos', SignerInfo as Codec<SignerInfo>, { max: SIGNERS_MAX }),
})

export interface SignedData {
  readonly contentType: string
  /** What is signed: the octets of the string, or of the element without its header. Absent when it is detached. */
  readonly content: Uint8Array | undefined
  /** The whole element, where it is not an OCTET STRING. */
  readonly contentElement?: Uint8Array
  /** DER, not parsed, and nobody vouches for them. */
  readonly certificates: readonly Uint8Array[]
  readonly crls: readonly Uint8Array[]
  readonly signerInfos: readonly SignerInfo[]
}

const SEQUENCE = 0x30
/** RFC 5652, 5.1; with attribute certificates, which are refused, 4 and 5. */
const VERSIONS: ReadonlySet<number> = new Set([1, 3, 4, 5])

/**
 * Reads a signed message and believes nothing of it: see `verifySignedData`.
 *
 * @throws TrustError `malformed`, `tooLarge`
 */
export function parseSignedData(bytes: Uint8Array, form?: ReadForm): SignedData {
  const content = readContent(bytes, 'signedData', form)
  const {
    version,
    encapContentInfo,
    certificates = [],
    crls = [],
    signerInfos,
  } = decode(SignedDataContent, content, {
    maxOctets: content.length,
  })
  if (!VERSIONS.has(version)) throw badCMS(`its version is ${version}`)
  if (![...certificates, ...crls].every(([tag]) => tag === SEQUENCE))
    throw badCMS('it holds something else than X.509 certificates and lists')
  for (const signerInfo of signerInfos) checkSignerVersion(signerInfo)
  const { eContentType: contentType, eContent } = encapContentInfo
  return { contentType, ...contentOf(contentType, eContent, form?.pkcs7 === true), certificates, crls, signerInfos }
}

/** RFC 5652, 5.2.1: PKCS #7 signs the octets of an element without its identifier and length. */
function contentOf(
  contentType: string,
  element: Uint8Array | undefined,
  isPKCS7: boolean,
): Pick<SignedData, 'content' | 'contentElement'> {
  if (element === undefined) return { content: undefined }
  if (OCTET_STRING.accepts(element[0] as number)) return { content: decode(OCTET_STRING, element, { maxOctets: element.length }) }
  if (!isPKCS7 || contentType === contentTypes.data) throw badCMS('its content is no OCTET STRING')
  return { content: withoutHeader(element), contentElement: element }
}

/** @param element DER */
export function withoutHeader(element: Uint8Array): Uint8Array {
  const from = new Reader(element, { maxOctets: element.length })
  from.readAnyHeader()
  return element.subarray(from.at)
}

/**
 * The same message with one more value of an attribute that its first signer does not sign: a time stamp, or a second
 * signature. Everything that is signed stays as it was.
 *
 * @param bytes DER ContentInfo
 * @throws TrustError `malformed`, `tooLarge`
 */
export function addUnsignedAttribute(bytes: Uint8Array, { attrType, attrValues }: Attribute): Uint8Array {
  const content = readContent(bytes, 'signedData')
  const signedData = decode(SignedDataContent, content, { maxOctets: content.length })
  const [first, ...others] = signedData.signerInfos
  if (first === undefined) throw badCMS('nobody signed it')
  const { unsignedAttrs = [] } = first
  const already = unsignedAttrs.find((attribute) => attribute.attrType === attrType)
  const one = { attrType, attrValues: [...(already?.attrValues ?? []), ...attrValues] }
  const changed = { ...first, unsignedAttrs: [...unsignedAttrs.filter((attribute) => attribute !== already), one] }
  return encode(ContentInfo, {
    contentType: contentTypes.signedData,
    content: encode(SignedDataContent, { ...signedData, signerInfos: [changed, ...others] }),
  })
}

/** RFC 5652, 5.3. */
export function checkSignerVersion({ version, sid }: SignerInfo): void {
  if (version !== (sid.type === 'issuerAndSerialNumber' ? 1 : 3)) throw badCMS(`the version of a signer is ${version}`)
}

/** Whether the identifier means this certificate. */
export function identifies(identifier: EntityIdentifier, certificate: Certificate): boolean {
  if (identifier.type === 'issuerAndSerialNumber') {
    const { issuer, serialNumber } = identifier.value
    return equal(serialNumber, certificate.serialNumber) && equalNames(issuer, certificate.issuer)
  }
  return equal(identifier.value, keyIdentifierIn(certificate))
}

/** How a message names this certificate. */
export const identifierOf = (certificate: Certificate, type: EntityIdentifier['type']): EntityIdentifier =>
  type === 'issuerAndSerialNumber'
    ? { type, value: { issuer: certificate.issuer, serialNumber: certificate.serialNumber } }
    : { type, value: keyIdentifierIn(certificate) }

/** Its own word for it, or ours where it has none. */
const keyIdentifierIn = (certificate: Certificate): Uint8Array =>
  extensionOf(certificate, subjectKeyIdentifier)?.value ??
  keyIdentifierOf(decode(SubjectPublicKeyInfo, certificate.subjectPublicKeyInfo).subjectPublicKey)
