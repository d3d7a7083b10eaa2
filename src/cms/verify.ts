/**
 * Verifying: who signed this content, with what, and which certificates lead on. Whether a signer is to be trusted is
 * path validation's to say (`#x509/path`): nothing here looks at issuers, times or rights.
 *
 * Source: RFC 5652, 5.4, 5.6 and 11; RFC 5035, 3; RFC 5752, 4.6; RFC 6211; RFC 8933.
 *
 * @module
 */
import { importPublicKey, verifySignature } from '#algorithms/public-key.ts'
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
  attributeTypes,
  attributeLabel,
  checkAlgorithmProtection,
  checkNamed,
  checkNoneTwice,
  checkSigningCertificate,
  checkSigningCertificateSHA1,
  CMSAlgorithmProtection,
  SigningCertificate,
  SigningCertificateV2,
  valueOf,
} from './attributes.ts'
import { badCMS, contentTypes } from './content-info.ts'
import {
  AlgorithmIdentifier,
  type Content,
  type ContentDigests,
  type DigestId,
  digestContent,
  digestOf,
  identifyDigest,
} from './digests.ts'
import { type Announced, announcedIn } from './multiple-signatures.ts'
import { identifySigner } from './signature-algorithms.ts'
import { checkSignerVersion, type EntityIdentifier, identifies, type SignedData, SignerInfo } from './signed-data.ts'

export interface VerifiedSigner {
  readonly signerInfo: SignerInfo
  /** Whose key made the signature; still to be validated up to a trust anchor. */
  readonly certificate: Certificate
  readonly signatureAlgorithm: SignatureAlgorithmId
  readonly digestAlgorithm: DigestId
  /** Empty when the content itself was signed. */
  readonly signedAttributes: readonly Attribute[]
  /** What the signer claims. */
  readonly signingTime: Date | undefined
  /** How many further signatures of the same signer it names (RFC 5752): all of them are there. */
  readonly announced: number
}

export interface VerifiedSignedData {
  readonly contentType: string
  /** Absent when the signature is detached. */
  readonly content: Uint8Array | undefined
  /** At least one. */
  readonly signers: readonly VerifiedSigner[]
  /** Signers who were not judged, because their algorithm or their certificate is not known here. */
  readonly unknownSigners: readonly { readonly sid: EntityIdentifier; readonly why: TrustError }[]
  /** For building paths; DER, and nobody vouches for them. */
  readonly certificates: readonly Uint8Array[]
  readonly crls: readonly Uint8Array[]
}

export interface Beside {
  /**
   * What a detached signature is over: whole, in pieces, or as digests. Pieces are read once and not kept; a signer whose
   * digest is not among those given cannot be judged.
   */
  readonly content?: Content
  /** Certificates that may be the signers', DER, when the message may not carry them. */
  readonly certificates?: readonly Uint8Array[]
}

/** Certificates that claim one identifier are tried up to here. */
const CANDIDATES_MAX = 4

/**
 * One wrong signature refuses the whole message; a signer that cannot be judged (a second, post-quantum signature, say)
 * does not, while another is there that can. A signature that another names must be there, with its certificate.
 *
 * @throws TrustError `badProof` when the content or a signature is wrong, or one that is named is missing; `unauthenticated` when nobody signed, or nobody
 *   who is known here; `malformed`; `policyRefused` for algorithms that do not go together
 */
export async function verifySignedData(signed: SignedData, beside: Beside = {}): Promise<VerifiedSignedData> {
  const { contentType, content, certificates, crls, signerInfos } = signed
  if (signerInfos.length === 0) throw new TrustError('unauthenticated', 'cmsNotSigned')
  if (content !== undefined && beside.content !== undefined) throw new TrustError('malformed', 'cmsContentTwice')
  const covered = content ?? beside.content
  if (covered === undefined) throw new TrustError('malformed', 'cmsContentMissing')
  const needed = signerInfos.flatMap(digestNeeded)
  const digests = covered instanceof Map ? (covered as ContentDigests) : await digestContent(covered, needed)
  const given = [...(beside.certificates ?? []), ...certificates].map(parseCertificate)
  const announced = announcedIn(signerInfos)

  const signers: VerifiedSigner[] = []
  const unknownSigners: { sid: EntityIdentifier; why: TrustError }[] = []
  for (const signerInfo of signerInfos) {
    try {
      const verified = await verifySigner(signerInfo, { contentType, covered, digests, given })
      signers.push({ ...verified, announced: announced.get(signerInfo)?.length ?? 0 })
    } catch (why) {
      if (!(why instanceof TrustError) || (why.code !== 'unsupported' && why.reason !== 'cmsSignerUnknown')) throw why
      unknownSigners.push({ sid: signerInfo.sid, why })
    }
  }
  const [first] = unknownSigners
  if (signers.length === 0) throw first?.why ?? new TrustError('unauthenticated', 'cmsSignerUnknown')
  for (const { signerInfo } of signers) checkAnnounced(announced.get(signerInfo) ?? [], signers)
  return { contentType, content, signers, unknownSigners, certificates, crls }
}

/**
 * What is named must be judged too. One whose algorithm is not known here is there, which its name vouches for; one without
 * its certificate might as well have been taken away.
 *
 * @throws TrustError `badProof`
 */
function checkAnnounced(announced: readonly Announced[], signers: readonly VerifiedSigner[]): void {
  for (const { signerInfo, cert, algorithms } of announced) {
    const judged = signers.find((one) => one.signerInfo === signerInfo)
    if (judged !== undefined && cert !== undefined) checkNamed(cert, judged.certificate)
    if (judged === undefined && isKnownAlgorithm(algorithms)) {
      const { algorithm } = signerInfo.signatureAlgorithm.value
      throw new TrustError('badProof', 'cmsSignatureMissing', { facts: { algorithm } })
    }
  }
}

/** As it is named: in its own field, which nobody signed, anybody can write it so that it is not known. */
function isKnownAlgorithm({ bodyHashAlg, signAlg }: Announced['algorithms']): boolean {
  try {
    identifySigner(encode(AlgorithmIdentifier, signAlg), identifyDigest(bodyHashAlg))
    return true
  } catch (error) {
    if (error instanceof TrustError && error.code === 'unsupported') return false
    throw error
  }
}

/** An algorithm that is not known is refused with its signer and not here. */
function digestNeeded({ digestAlgorithm }: SignerInfo): readonly DigestId[] {
  try {
    return [identifyDigest(digestAlgorithm)]
  } catch {
    return []
  }
}

interface Covered {
  /** Undefined for a counter signature, which has none (RFC 5652, 11.4). */
  readonly contentType: string | undefined
  readonly covered: Content
  readonly digests: ContentDigests
  readonly given: readonly Certificate[]
}

async function verifySigner(
  signerInfo: SignerInfo,
  { contentType, covered, digests, given }: Covered,
): Promise<Omit<VerifiedSigner, 'announced'>> {
  const { sid, digestAlgorithm: digestIdentifier, signatureAlgorithm: identifier, signature, signedAttrs } = signerInfo
  const digestAlgorithm = identifyDigest(digestIdentifier)
  const signatureAlgorithm = identifySigner(identifier.der, digestAlgorithm)
  const attributes = signedAttrs?.value ?? []
  checkNoneTwice(attributes)
  checkUnsigned(signerInfo)
  let message: Uint8Array
  if (signedAttrs === undefined) message = bareContent(contentType, covered)
  else {
    const digest = digests.get(digestAlgorithm)
    if (digest === undefined)
      throw new TrustError('unsupported', 'cmsAlgorithm', { facts: { role: 'digest', algorithm: digestAlgorithm } })
    checkContent(attributes, contentType, digest)
    message = signedFormOf(signedAttrs.der)
  }
  const protection = valueOf(attributes, 'cmsAlgorithmProtection', CMSAlgorithmProtection)
  if (protection !== undefined)
    checkAlgorithmProtection(protection, { digestAlgorithm: digestIdentifier, signatureAlgorithm: identifier.value })

  const certificate = await signerAmong(given, sid, message, { algorithm: signatureAlgorithm, octets: signature })
  const named = valueOf(attributes, 'signingCertificateV2', SigningCertificateV2)
  if (named !== undefined) checkSigningCertificate(named, certificate)
  const namedBefore = valueOf(attributes, 'signingCertificate', SigningCertificate)
  if (namedBefore !== undefined) checkSigningCertificateSHA1(namedBefore, certificate)
  const signingTime = valueOf(attributes, 'signingTime', Time)
  return { signerInfo, certificate, signatureAlgorithm, digestAlgorithm, signedAttributes: attributes, signingTime }
}

/** RFC 5652, 11.1 to 11.3: what only a signer can say. */
const ONLY_SIGNED: ReadonlySet<string> = new Set([
  attributeTypes.contentType,
  attributeTypes.messageDigest,
  attributeTypes.signingTime,
])

function checkUnsigned({ unsignedAttrs = [] }: SignerInfo): void {
  const wrong = unsignedAttrs.find(({ attrType }) => ONLY_SIGNED.has(attrType))
  if (wrong !== undefined) throw badCMS(`the attribute ${attributeLabel(wrong.attrType)} is not signed`)
}

/** RFC 5652, 5.6 and 11.1, 11.2. */
function checkContent(attributes: readonly Attribute[], contentType: string | undefined, digest: Uint8Array): void {
  const type = valueOf(attributes, 'contentType', OBJECT_IDENTIFIER)
  if (type !== contentType) throw badCMS('the signed attributes name another content type than the message')
  const messageDigest = valueOf(attributes, 'messageDigest', OCTET_STRING)
  if (messageDigest === undefined) throw badCMS('the signed attributes have no message digest')
  if (!equal(messageDigest, digest)) throw new TrustError('badProof', 'cmsContentChanged')
}

/**
 * Without signed attributes the signature is over the content itself (RFC 5652, 5.4), which must be data. Content that
 * could be signed attributes is refused: their signature could have been moved here from another message.
 */
function bareContent(contentType: string | undefined, covered: Content): Uint8Array {
  if (!(covered instanceof Uint8Array)) throw new TrustError('unsupported', 'cmsContentStreamed')
  if (contentType !== contentTypes.data) throw badCMS('content other than data is signed without signed attributes')
  if (isSignedAttributes(covered)) throw badCMS('its content is the signed attributes of another message')
  return covered
}

function isSignedAttributes(octets: Uint8Array): boolean {
  try {
    return decode(Attributes, octets).some(({ attrType }) => attrType === attributeTypes.messageDigest)
  } catch {
    return false
  }
}

const SET = 0x31

/** What is signed has the tag of a SET OF, not that of the field (RFC 5652, 5.4). It was read as DER, in DER's order. */
function signedFormOf(field: Uint8Array): Uint8Array {
  const signed = new Uint8Array(field)
  signed[0] = SET
  return signed
}

/** The certificate whose key made the signature, among those that fit the identifier. */
async function signerAmong(
  given: readonly Certificate[],
  sid: EntityIdentifier,
  message: Uint8Array,
  signature: { readonly algorithm: SignatureAlgorithmId; readonly octets: Uint8Array },
): Promise<Certificate> {
  const candidates = certificatesFor(sid, given)
  if (candidates.length === 0) throw new TrustError('unauthenticated', 'cmsSignerUnknown')
  for (const certificate of candidates) {
    const publicKey = importPublicKey(certificate.subjectPublicKeyInfo)
    if (await verifySignature(signature, publicKey, message)) return certificate
  }
  throw new TrustError('badProof', 'cmsSignature', { facts: { detail: 'it does not fit the key of the signer' } })
}

function certificatesFor(sid: EntityIdentifier, given: readonly Certificate[]): readonly Certificate[] {
  const found = new Map<string, Certificate>()
  for (const certificate of given) {
    if (found.size < CANDIDATES_MAX && identifies(sid, certificate)) found.set(certificate.der.toHex(), certificate)
  }
  return [...found.values()]
}

/** Counter signatures of a signer, not judged. @throws TrustError `malformed` */
export function counterSignaturesOf({ unsignedAttrs = [] }: SignerInfo): readonly SignerInfo[] {
  const attributes = unsignedAttrs.filter(({ attrType }) => attrType === attributeTypes.counterSignature)
  return attributes
    .flatMap(({ attrValues }) => attrValues)
    .map((value) => {
      const signerInfo = decode(SignerInfo, value)
      checkSignerVersion(signerInfo)
      return signerInfo
    })
}

/** RFC 5652, 11.4. @throws TrustError as {@link verifySignedData} */
export async function verifyCounterSignature(
  counter: SignerInfo,
  signature: Uint8Array,
  certificates: readonly Uint8Array[],
): Promise<Omit<VerifiedSigner, 'announced'>> {
  if (counter.signedAttrs === undefined) throw badCMS('a counter signature has no signed attributes')
  const digest = identifyDigest(counter.digestAlgorithm)
  const digests: ContentDigests = new Map([[digest, digestOf(digest, signature)]])
  return verifySigner(counter, { contentType: undefined, covered: signature, digests, given: certificates.map(parseCertificate) })
}
