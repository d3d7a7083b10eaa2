/**
 * Who signed an artifact, by which chain, when, and whether the octets are untouched: the same for every format.
 *
 * Octets and values in, a report out. What cannot be parsed is refused by the format; what can be and is wrong is said of
 * each signature by itself.
 *
 * Source: RFC 5652, 5; RFC 5280, 6; RFC 3161, 4 (what a time stamp still proves when its signer was revoked).
 *
 * @module
 */
import { createVerify } from 'node:crypto'
import { importPublicKey, paddedKey, verifySignature } from '#algorithms/public-key.ts'
import { keyAlgorithm, signatureAlgorithm, type SignatureAlgorithmId } from '#algorithms/table.ts'
import type { AlgorithmPolicy } from '#algorithms/policy.ts'
import { TrustError } from '#base/errors.ts'
import { attributeTypes } from '#cms/attributes.ts'
import { contentTypes } from '#cms/content-info.ts'
import { type DigestId, digestOf } from '#cms/digests.ts'
import { parseTSTInfo, verifyTimeStamp } from '#cms/timestamp.ts'
import { type VerifiedSigner, verifySignedData } from '#cms/verify.ts'
import { type Certificate, parseCertificate } from '#x509/certificate.ts'
import type { Purpose } from '#x509/path/purpose-names.ts'
import { type RevocationInput, type Verdict, verifyCertificate } from '#x509/path/verify.ts'
import type { Beside, BlobSource, CMSEvidence, Extracted, FoundSignature, RawEvidence, SigningFormat } from '../format.ts'
import { AUTHENTICODE_TIME_STAMP } from './answer.ts'
import { chunksOf, MESSAGE_MAX_OCTETS, readWhole } from './blob.ts'
import { type Requirement, shortOf } from './requirement.ts'

export interface Judging {
  readonly at: Date
  /** DER. */
  readonly anchors: readonly Uint8Array[]
  /** Who is trusted for time; those of signers without it. */
  readonly timeStampAnchors?: readonly Uint8Array[]
  /** Certificates that may stand between, beside those that the signature carries; DER. */
  readonly intermediates?: readonly Uint8Array[]
  readonly revocation?: RevocationInput
  readonly policy?: AlgorithmPolicy
  /** In place of what the format's verifiers want; null for any. */
  readonly purpose?: Purpose | null
  /** Beyond valid signatures; nothing when left out. */
  readonly requirement?: Requirement
}

/** A certificate's standing at the time of the signature, and what came later. */
export interface Standing {
  readonly valid: boolean
  /** As of the proven time, or of now where no time is proven. */
  readonly atSigning: Verdict
  /** As of now, where that is another time. */
  readonly now?: Verdict
  /** It was revoked after the proven time, which a signature from before outlives. */
  readonly revokedLater?: Date
}

export interface TimeStampReport {
  readonly valid: boolean
  readonly genTime?: Date
  readonly authority?: Certificate
  readonly standing?: Standing
  /** Why it proves nothing. */
  readonly problem?: TrustError
}

export interface SignatureReport {
  readonly where: string
  /** `unknown`: it cannot be judged here, by its algorithm or for want of its certificate. */
  readonly verdict: 'valid' | 'invalid' | 'unknown'
  /** Why it is not valid, unless its certificate's standing says so. */
  readonly problem?: TrustError
  /** Whether what is signed is as it was; undefined when that is not known. */
  readonly untouched?: boolean
  readonly signer?: Certificate
  readonly signatureAlgorithm?: SignatureAlgorithmId
  readonly digestAlgorithm?: DigestId
  /** How many further signatures by the same signer it names: all of them are there. */
  readonly announced?: number
  /** What the signer claims. */
  readonly signingTime?: Date
  /** What a time stamp proves: it was there by then. */
  readonly provenTime?: Date
  readonly timeStamps: readonly TimeStampReport[]
  readonly standing?: Standing
}

export interface ArtifactReport {
  readonly format: string
  /** At least one signature is valid, none is invalid, nothing is there that they do not cover, and they are what is required. */
  readonly valid: boolean
  readonly signatures: readonly SignatureReport[]
  readonly uncovered: readonly string[]
  /** Why the signatures are not what is required. */
  readonly unmet?: TrustError
}

/** @throws TrustError `malformed`, `unsupported`, `tooLarge` for what cannot be read; `unauthenticated` when nobody signed */
export async function verifyArtifact(
  format: SigningFormat,
  signed: BlobSource,
  { beside, ...judging }: Judging & { readonly beside?: Beside },
): Promise<ArtifactReport> {
  if (beside?.content !== undefined && format.standsBeside !== true) throw new TrustError('malformed', 'messageContentTwice')
  const { signatures: found, uncovered }: Extracted = await format.extract(signed, beside)
  if (found.length === 0) throw new TrustError('unauthenticated', 'artifactUnsigned')
  const reports: SignatureReport[] = []
  for (const one of found) {
    const purpose = judging.purpose === undefined ? format.signerPurpose : (judging.purpose ?? undefined)
    reports.push(...(await reportOf(one, { ...judging, purpose }, beside?.certificates ?? [])))
  }
  const isSigned = reports.some(({ verdict }) => verdict === 'valid') && reports.every(({ verdict }) => verdict !== 'invalid')
  const { requirement, at } = judging
  const unmet = requirement === undefined ? undefined : shortOf(requirement, reports, at)
  const valid = isSigned && uncovered.length === 0 && unmet === undefined
  return { format: format.id, valid, signatures: reports, uncovered, ...(unmet !== undefined && { unmet }) }
}

type Context = Omit<Judging, 'purpose' | 'requirement'> & { readonly purpose: Purpose | undefined }

/** A report for each signer of the message. */
async function reportOf(
  found: FoundSignature,
  context: Context,
  certificates: readonly Uint8Array[],
): Promise<readonly SignatureReport[]> {
  try {
    const { evidence } = found
    if (evidence.type === 'unknown')
      return [{ where: found.where, verdict: 'unknown', problem: evidence.problem, timeStamps: [] }]
    if (evidence.type === 'raw') return [await reportRaw(found, evidence, context)]
    return await reportCMS(found, evidence, context, certificates)
  } catch (problem) {
    if (!(problem instanceof TrustError)) throw problem
    const { where } = found
    const isUnknown = problem.code === 'unsupported' || problem.reason === 'cmsSignerUnknown'
    const untouched = problem.reason === 'cmsContentChanged' || problem.reason === 'artifactChanged' ? false : undefined
    return [
      {
        where,
        verdict: isUnknown ? 'unknown' : 'invalid',
        problem,
        timeStamps: [],
        ...(untouched !== undefined && { untouched }),
      },
    ]
  }
}

async function reportRaw(found: FoundSignature, evidence: RawEvidence, context: Context): Promise<SignatureReport> {
  const { signatureAlgorithm: algorithm } = evidence
  const signer = parseCertificate(evidence.certificate)
  if (!(await isRawSignature(evidence, signer))) throw new TrustError('badProof', 'rawSignature')
  await found.checkCovered()
  const standing = await standingOf(signer, evidence.intermediates ?? [], undefined, context)
  return {
    where: found.where,
    verdict: standing.valid ? 'valid' : 'invalid',
    untouched: true,
    signer,
    signatureAlgorithm: algorithm,
    timeStamps: [],
    standing,
  }
}

/** The message is read in pieces where the algorithm takes its digest. */
async function isRawSignature(evidence: RawEvidence, { subjectPublicKeyInfo }: Certificate): Promise<boolean> {
  const { signature, signatureAlgorithm: algorithm, message } = evidence
  const publicKey = importPublicKey(subjectPublicKeyInfo)
  const scheme = signatureAlgorithm(algorithm)
  if (keyAlgorithm(publicKey.algorithm).family !== scheme.family) return false
  if (scheme.digest === null) {
    const octets = await readWhole(message, 'what is signed', MESSAGE_MAX_OCTETS)
    return verifySignature({ algorithm, octets: signature }, publicKey, octets)
  }
  const verifier = createVerify(scheme.digest)
  for await (const chunk of chunksOf(message)) verifier.update(chunk)
  return verifier.verify(paddedKey(scheme, publicKey.key), signature)
}

async function reportCMS(
  found: FoundSignature,
  { signedData, content }: CMSEvidence,
  context: Context,
  certificates: readonly Uint8Array[],
): Promise<readonly SignatureReport[]> {
  const { where } = found
  const verified = await verifySignedData(signedData, { certificates, ...(content !== undefined && { content }) })
  await found.checkCovered()
  const isTimeStamp = verified.contentType === contentTypes.tstInfo
  // an authority states a time for whoever asks: that is no signature of a file by anybody
  if (isTimeStamp && context.purpose !== 'time-stamping') throw new TrustError('policyRefused', 'signatureIsTimeStamp')
  const stated = isTimeStamp && signedData.content !== undefined ? parseTSTInfo(signedData.content).genTime : undefined
  const reports: SignatureReport[] = verified.unknownSigners.map(({ why }) => ({
    where,
    verdict: 'unknown',
    problem: why,
    timeStamps: [],
  }))
  for (const signer of verified.signers)
    reports.push(await reportSigner(where, signer, [...verified.certificates, ...certificates], verified.crls, context, stated))
  return reports
}

async function reportSigner(
  where: string,
  verified: VerifiedSigner,
  certificates: readonly Uint8Array[],
  crls: readonly Uint8Array[],
  context: Context,
  stated: Date | undefined,
): Promise<SignatureReport> {
  const { certificate: signer, signatureAlgorithm: algorithm, digestAlgorithm, signingTime, announced } = verified
  const timeStamps: TimeStampReport[] = []
  const digestWith = (id: DigestId): Uint8Array => digestOf(id, verified.signerInfo.signature)
  for (const token of tokensOf(verified)) timeStamps.push(await reportTimeStamp(token, digestWith, certificates, context))
  const proven = timeStamps.flatMap(({ valid, genTime }) => (valid && genTime !== undefined ? [genTime.getTime()] : []))
  const provenTime = proven.length === 0 ? undefined : new Date(Math.min(...proven))
  const standing = await standingOf(signer, certificates, provenTime ?? stated, { ...context, crls }, stated !== undefined)
  const strange = strangeIn(verified)
  return {
    where,
    verdict: !standing.valid ? 'invalid' : strange === undefined ? 'valid' : 'unknown',
    ...(strange !== undefined && { problem: strange }),
    untouched: true,
    signer,
    signatureAlgorithm: algorithm,
    digestAlgorithm,
    ...(announced > 0 && { announced }),
    ...(signingTime !== undefined && { signingTime }),
    ...(provenTime !== undefined && { provenTime }),
    timeStamps,
    standing,
  }
}

/** What signers state that does not change what the signature is worth. */
const INFORMATIVE: ReadonlySet<string> = new Set([
  ...Object.values(attributeTypes),
  '1.2.840.113549.1.9.16.2.4', // content hints (RFC 2634, 2.9), and what follows of ESS
  '1.2.840.113549.1.9.16.2.7', // content identifier
  '1.2.840.113549.1.9.16.2.10', // content reference
  '1.2.840.113549.1.9.16.2.11', // encryption key preference (RFC 8551, 2.5.3)
  '1.3.6.1.4.1.311.16.4', // the same as Outlook writes it
  '1.2.840.113549.1.9.16.2.46', // binary signing time (RFC 6019)
  '1.2.840.113549.1.9.16.2.16', // commitment type (ETSI EN 319 122-1, 5.2.3), and what follows of CAdES
  '1.2.840.113549.1.9.16.2.17', // signer location
  '1.2.840.113549.1.9.16.2.20', // content time stamp
  '0.4.0.1733.2.1', // MIME type
  '0.4.0.19122.1.1', // signer attributes
  '1.3.6.1.4.1.311.2.1.11', // SpcStatementType (Authenticode), and what follows of it
  '1.3.6.1.4.1.311.2.1.12', // SpcSpOpusInfo
  '1.2.840.113549.1.9.25.4', // sequence number (PKCS #9), which osslsigncode gives nested signatures
  '1.3.6.1.4.1.311.10.3.28', // an identifier of Windows itself
])

/** A signed statement that is not understood might be one that limits the signature: a policy, a label. */
function strangeIn({ signedAttributes }: VerifiedSigner): TrustError | undefined {
  const strange = signedAttributes.find(({ attrType }) => !INFORMATIVE.has(attrType))
  if (strange === undefined) return undefined
  return new TrustError('unsupported', 'cmsAttributeUnknown', { facts: { attribute: strange.attrType } })
}

/** More than any signer has; each costs a signature and a path. */
const TIME_STAMPS_MAX = 4

const tokensOf = ({ signerInfo: { unsignedAttrs = [] } }: VerifiedSigner): readonly Uint8Array[] =>
  unsignedAttrs
    .filter(({ attrType }) => attrType === attributeTypes.timeStampToken || attrType === AUTHENTICODE_TIME_STAMP)
    .flatMap(({ attrValues }) => attrValues)
    .slice(0, TIME_STAMPS_MAX)

/** A time stamp that cannot be believed proves nothing; the signature is then judged as of now. */
export async function reportTimeStamp(
  token: Uint8Array,
  digestWith: (id: DigestId) => Uint8Array,
  beside: readonly Uint8Array[],
  context: Omit<Context, 'purpose'>,
): Promise<TimeStampReport> {
  try {
    const { info, signer, certificates, crls } = await verifyTimeStamp(token, { digestWith, certificates: beside })
    const { genTime } = info
    const asked = { ...context, anchors: context.timeStampAnchors ?? context.anchors, purpose: 'time-stamping' as const, crls }
    const standing = await standingOf(signer.certificate, [...certificates, ...beside], genTime, asked, true)
    return { valid: standing.valid, genTime, authority: signer.certificate, standing }
  } catch (problem) {
    if (!(problem instanceof TrustError)) throw problem
    return { valid: false, problem }
  }
}

/** RFC 3161, 4: an authority that was revoked for one of these made honest time stamps until then. */
const HONEST_UNTIL_REVOKED: ReadonlySet<string> = new Set([
  'unspecified',
  'affiliationChanged',
  'superseded',
  'cessationOfOperation',
])

/**
 * With a proven time the certificate must have been good then, and may have ended or been revoked since. Whether it was
 * revoked is asked as of now, when most is known, and as of then where it has ended, since lists leave out what has.
 */
async function standingOf(
  certificate: Certificate,
  carried: readonly Uint8Array[],
  proven: Date | undefined,
  context: Context & { readonly crls?: readonly Uint8Array[] },
  isAuthorityForTime = false,
): Promise<Standing> {
  const { at, anchors, intermediates = [], purpose, policy, revocation, crls = [] } = context
  const evidence = revocation && { ...revocation, lists: [...(revocation.lists ?? []), ...crls] }
  const ask = (when: Date): Promise<Verdict> =>
    verifyCertificate({
      certificate,
      anchors,
      intermediates: [...carried, ...intermediates],
      purpose,
      at: when,
      ...(policy !== undefined && { policy }),
      ...(evidence !== undefined && { revocation: evidence }),
    })
  const now = await ask(at)
  if (proven === undefined || proven.getTime() >= at.getTime()) return { valid: now.valid, atSigning: now }
  const revoked = revocationIn(now)
  if (revoked !== undefined) {
    const outlives = revoked.at > proven && (!isAuthorityForTime || HONEST_UNTIL_REVOKED.has(revoked.because))
    const atSigning = await askWithoutRevocation(proven)
    return { valid: outlives && atSigning.valid, atSigning, now, ...(outlives && { revokedLater: revoked.at }) }
  }
  // good now means not revoked, and what has ended is asked about as of then
  const atSigning = now.valid ? await askWithoutRevocation(proven) : await ask(proven)
  return { valid: atSigning.valid, atSigning, now }

  function askWithoutRevocation(when: Date): Promise<Verdict> {
    return verifyCertificate({
      certificate,
      anchors,
      intermediates: [...carried, ...intermediates],
      purpose,
      at: when,
      ...(policy !== undefined && { policy }),
    })
  }
}

function revocationIn(verdict: Verdict): { readonly at: Date; readonly because: string } | undefined {
  if (verdict.valid || verdict.failure.reason !== 'pathRevoked') return undefined
  const { revokedAt, because } = verdict.failure.facts
  return { at: new Date(String(revokedAt)), because: String(because) }
}
