/**
 * Signing: SignedData with its content or detached from it, by one signer or several.
 *
 * Every signature is over signed attributes, so the content is only hashed: it may come in pieces, or as a digest that
 * the caller made, and an artifact of 10 GB needs no memory.
 *
 * Source: RFC 5652, 5 and 11; RFC 5035; RFC 5752; RFC 6211; RFC 8933 (one digest algorithm for content and attributes).
 *
 * @module
 */
import type { SignatureAlgorithmId } from '#algorithms/table.ts'
import { decode, encode } from '#asn1/codec.ts'
import { OBJECT_IDENTIFIER, OCTET_STRING } from '#asn1/types.ts'
import { equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { type Certificate, parseCertificate } from '#x509/certificate.ts'
import { Time } from '#x509/time.ts'
import {
  type Attribute,
  Attributes,
  attributeWith,
  checkNoneTwice,
  CMSAlgorithmProtection,
  signingCertificateOf,
  SigningCertificateV2,
} from './attributes.ts'
import { ContentInfo, contentTypes } from './content-info.ts'
import {
  AlgorithmIdentifier,
  checkDigestFits,
  type Content,
  type DigestId,
  digestContent,
  digestIdentifier,
  digestIdentifierWithNull,
  digestOf,
  usualDigest,
} from './digests.ts'
import { type Planned, withEachOther } from './multiple-signatures.ts'
import { signerIdentifier } from './signature-algorithms.ts'
import { type EntityIdentifier, identifierOf, SignedDataContent, SignerInfo, withoutHeader } from './signed-data.ts'

/** Whoever holds the private key: a key store's signer fits. */
export interface SigningKey {
  /** DER SubjectPublicKeyInfo. */
  readonly publicKey: Uint8Array
  /** @param message the bytes to sign, not their digest @returns the signature as X.509 carries it */
  sign(message: Uint8Array, algorithm: SignatureAlgorithmId): Promise<Uint8Array>
}

export interface Signing {
  readonly key: SigningKey
  /** DER; it is put into the message too. */
  readonly certificate: Uint8Array
  readonly signatureAlgorithm: SignatureAlgorithmId
  /** For Ed25519 and post-quantum signatures, which leave a choice; elsewhere it is the signature's own. */
  readonly digestAlgorithm?: DigestId
  readonly identifyBy?: EntityIdentifier['type']
  /** What the signer claims; only a time stamp proves it. */
  readonly signingTime?: Date
  /** Beside those that are always there: content type, message digest and, but in PKCS #7, signing certificate and algorithm protection. */
  readonly signedAttributes?: readonly Attribute[]
  /** What is added when the signature is known: a time stamp, a counter signature. */
  readonly unsignedAttributes?: (signature: Uint8Array) => Promise<readonly Attribute[]>
}

export interface SignedDataFields {
  /** An OBJECT IDENTIFIER; data when it is left out. */
  readonly contentType?: string
  /** `attached` goes into the message; of `detached` only the digest does. */
  readonly content:
    | { readonly attached: Uint8Array }
    | { readonly detached: Content }
    /** DER that is content as it stands, in the form of PKCS #7 (RFC 2315), which knows fewer attributes. */
    | { readonly element: Uint8Array }
  readonly signers: readonly [Signing, ...Signing[]]
  /** They are keys of one signer: each signature covers the list of the others (RFC 5752). Not in the form of PKCS #7. */
  readonly namingEachOther?: boolean
  /** Those above the signers' own, DER. */
  readonly certificates?: readonly Uint8Array[]
  readonly crls?: readonly Uint8Array[]
  /** Without any certificate, for those who did not ask for them (RFC 3161, 2.4.1). */
  readonly certificatesLeftOut?: boolean
}

/**
 * @returns DER ContentInfo
 * @throws TrustError `conflict` when a key is not that of its certificate, `policyRefused` for a digest that does not go
 *   with its signature, and whatever the key's holder throws
 */
export async function encodeSignedData(fields: SignedDataFields): Promise<Uint8Array> {
  const { contentType = contentTypes.data, content, signers, certificates = [], crls = [] } = fields
  const isPKCS7 = 'element' in content
  const digests = await digestContent(signedContentOf(content), signers.map(digestFor))
  const identifier = isPKCS7 ? digestIdentifierWithNull : digestIdentifier
  const typed = [attributeWith('contentType', OBJECT_IDENTIFIER, contentType)]
  const planned = signers.map((signing) => plan(signing, typed, digests.get(digestFor(signing)) as Uint8Array, isPKCS7))
  const signerInfos = await signAll(planned, fields.namingEachOther === true)
  const signedData = encode(SignedDataContent, {
    version: isPKCS7 || (contentType === contentTypes.data && signerInfos.every(({ version }) => version === 1)) ? 1 : 3,
    digestAlgorithms: [...new Set(signers.map(digestFor))].map(identifier),
    encapContentInfo: { eContentType: contentType, eContent: elementOf(content) },
    certificates:
      fields.certificatesLeftOut === true
        ? undefined
        : distinct([...signers.map(({ certificate }) => certificate), ...certificates]),
    crls: crls.length === 0 ? undefined : distinct(crls),
    signerInfos,
  })
  return encode(ContentInfo, { contentType: contentTypes.signedData, content: signedData })
}

const signedContentOf = (content: SignedDataFields['content']): Content =>
  'element' in content ? withoutHeader(content.element) : 'attached' in content ? content.attached : content.detached

function elementOf(content: SignedDataFields['content']): Uint8Array | undefined {
  if ('element' in content) return content.element
  return 'attached' in content ? encode(OCTET_STRING, content.attached) : undefined
}

/** RFC 5652, 11.4: a signature over a signature. @returns an unsigned attribute for the one that is signed */
export async function counterSignature(signing: Signing, signature: Uint8Array): Promise<Attribute> {
  const digest = digestOf(digestFor(signing), signature)
  const [signerInfo] = await signAll([plan(signing, [], digest, false)], false)
  return attributeWith('counterSignature', SignerInfo, signerInfo as SignerInfo)
}

const digestFor = ({ digestAlgorithm, signatureAlgorithm }: Signing): DigestId =>
  digestAlgorithm ?? usualDigest(signatureAlgorithm)

interface PlannedSigning extends Planned {
  readonly signing: Signing
}

function plan(signing: Signing, typed: readonly Attribute[], messageDigest: Uint8Array, isPKCS7: boolean): PlannedSigning {
  const { key, signatureAlgorithm: algorithm, signingTime } = signing
  const { certificate, attribute } = signingCertificate(signing.certificate)
  if (!equal(certificate.subjectPublicKeyInfo, key.publicKey)) throw new TrustError('conflict', 'cmsKeyOther')
  const digest = digestFor(signing)
  checkDigestFits(algorithm, digest)
  const digestAlgorithm = isPKCS7 ? digestIdentifierWithNull(digest) : digestIdentifier(digest)
  const signatureAlgorithm = decode(AlgorithmIdentifier, signerIdentifier(algorithm))
  const attributes = [
    ...typed,
    attributeWith('messageDigest', OCTET_STRING, messageDigest),
    ...(isPKCS7
      ? []
      : [attribute, attributeWith('cmsAlgorithmProtection', CMSAlgorithmProtection, { digestAlgorithm, signatureAlgorithm })]),
    ...(signingTime === undefined ? [] : [attributeWith('signingTime', Time, signingTime)]),
    ...(signing.signedAttributes ?? []),
  ]
  return { signing, digest, digestAlgorithm, signatureAlgorithm, certificate, attributes }
}

/** All signatures are made before anybody else is asked for anything. */
async function signAll(planned: readonly PlannedSigning[], namingEachOther: boolean): Promise<readonly SignerInfo[]> {
  const named = namingEachOther && planned.length > 1 ? withEachOther(planned) : planned.map(({ attributes }) => attributes)
  const signed: SignerInfo[] = []
  for (const [at, one] of planned.entries()) signed.push(await sign(one, named[at] as readonly Attribute[]))
  const signerInfos: SignerInfo[] = []
  for (const [at, { signing }] of planned.entries()) {
    const signerInfo = signed[at] as SignerInfo
    const unsignedAttrs = (await signing.unsignedAttributes?.(signerInfo.signature)) ?? []
    signerInfos.push(unsignedAttrs.length === 0 ? signerInfo : { ...signerInfo, unsignedAttrs })
  }
  return signerInfos
}

async function sign(
  { signing, digestAlgorithm, certificate }: PlannedSigning,
  attributes: readonly Attribute[],
): Promise<SignerInfo> {
  const { key, signatureAlgorithm: algorithm, identifyBy = 'issuerAndSerialNumber' } = signing
  checkNoneTwice(attributes)
  const signed = encode(Attributes, attributes) // under its own tag and not that of the field (RFC 5652, 5.4)
  const signature = await key.sign(signed, algorithm)
  const sid = identifierOf(certificate, identifyBy)
  const der = signerIdentifier(algorithm)
  return {
    version: sid.type === 'issuerAndSerialNumber' ? 1 : 3,
    sid,
    digestAlgorithm,
    signedAttrs: { der: fieldOf(signed), value: attributes },
    signatureAlgorithm: { der, value: decode(AlgorithmIdentifier, der) },
    signature,
    unsignedAttrs: undefined,
  }
}

/** The same content under `[0] IMPLICIT`. */
function fieldOf(attributes: Uint8Array): Uint8Array {
  const field = attributes.slice()
  field[0] = 0xa0
  return field
}

interface SigningCertificate {
  readonly certificate: Certificate
  /** RFC 5035. */
  readonly attribute: Attribute
}

const signingCertificates = new WeakMap<Uint8Array, SigningCertificate>()

/** Read once for as long as its octets are held: a signer signs thousands of times with the same. */
function signingCertificate(der: Uint8Array): SigningCertificate {
  const known = signingCertificates.get(der)
  if (known !== undefined) return known
  const certificate = parseCertificate(der)
  const attribute = attributeWith('signingCertificateV2', SigningCertificateV2, signingCertificateOf(certificate))
  const made = { certificate, attribute }
  signingCertificates.set(der, made)
  return made
}

function distinct(ders: readonly Uint8Array[]): readonly Uint8Array[] {
  return ders.length === 1 ? ders : [...new Map(ders.map((der) => [der.toHex(), der])).values()]
}
