/**
 * What COSE and JWS have in common: a signer is named by algorithm and certificate, a message may have several, and each of
 * several keys of one signer says in what it signs which others there are.
 *
 * A signature over a list of the others (`OTHERS`, which must be understood) counts only while each of them is there, by the
 * algorithm and the certificate that the list names. Whoever takes one away breaks those that are left.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { fromMessageSignature, toMessageSignature } from '#algorithms/ecdsa.ts'
import { type MessageNames, messageNames, namedSignature } from '#algorithms/message-names.ts'
import { importPublicKey, type PublicKey } from '#algorithms/public-key.ts'
import { signatureAlgorithm, type SignatureAlgorithmId } from '#algorithms/table.ts'
import { concat, equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { digestContent } from '#cms/digests.ts'
import { parseCertificate } from '#x509/certificate.ts'
import type { Beside, BlobSource, Choices, FoundSignature, RawEvidence, RawRequest, UnknownEvidence } from '../format.ts'
import { chunksOf, MESSAGE_MAX_OCTETS, readWhole } from './blob.ts'

/** The header parameter in which a signature lists the others that it goes with. */
export const OTHERS = 'urn:sealworks:others'

/** What stands within a message as a whole: as text it is a third longer, and all of it must stay below what is verified. */
const ATTACHED_MAX_OCTETS = 8 << 20

/** Sent as it is: every key can sign it, and whoever approves can read it. Longer ones are sent as a digest where they can be. */
const SENT_MAX_OCTETS = 64 << 10

export interface MessageSigner {
  readonly by: number
  readonly signatureAlgorithm: SignatureAlgorithmId
  readonly publicKey: PublicKey
  readonly certificates: readonly [Uint8Array, ...Uint8Array[]]
  /** SHA-256 of the certificate. */
  readonly thumbprint: Uint8Array
}

export const certificateThumbprint = (der: Uint8Array): Uint8Array => new Uint8Array(createHash('sha256').update(der).digest())

/** What COSE and JWS call what it signs with. @throws TrustError `unsupported` where they have no name for it */
export const namesOf = ({ signatureAlgorithm: id, publicKey }: MessageSigner): MessageNames =>
  messageNames(id, publicKey.algorithm)

/** @throws TrustError `policyRefused` for a key without a certificate */
export function messageSigners(format: string, choices: Choices): readonly [MessageSigner, ...MessageSigner[]] {
  const signers = [choices, ...(choices.others ?? [])].map(({ certificates, signatureAlgorithm: id }, by) => {
    const [own] = certificates as readonly Uint8Array[]
    if (own === undefined) throw new TrustError('policyRefused', 'formatNeedsCertificate', { facts: { format } })
    const publicKey = importPublicKey(parseCertificate(own).subjectPublicKeyInfo)
    return { by, signatureAlgorithm: id, publicKey, certificates, thumbprint: certificateThumbprint(own) }
  })
  return signers as unknown as readonly [MessageSigner, ...MessageSigner[]]
}

/** @param message all that is signed */
export async function rawRequest({ by, signatureAlgorithm: id }: MessageSigner, message: BlobSource): Promise<RawRequest> {
  const { digest } = signatureAlgorithm(id)
  const asked = { type: 'raw', ...(by > 0 && { by }) } as const
  if (digest === null || message.size <= SENT_MAX_OCTETS)
    return { ...asked, message: { octets: await readWhole(message, 'what is signed as a whole', MESSAGE_MAX_OCTETS) } }
  const digests = await digestContent(chunksOf(message), [digest])
  return { ...asked, message: { digestAlgorithm: digest, digest: digests.get(digest) as Uint8Array } }
}

/** A request for each signer. */
export async function rawRequests(
  signers: readonly [MessageSigner, ...MessageSigner[]],
  messageFor: (signer: MessageSigner) => BlobSource,
): Promise<readonly [RawRequest, ...RawRequest[]]> {
  const requests: RawRequest[] = []
  for (const signer of signers) requests.push(await rawRequest(signer, messageFor(signer)))
  return requests as unknown as readonly [RawRequest, ...RawRequest[]]
}

export interface MessageSignature {
  readonly signer: MessageSigner
  /** As JOSE and COSE have it. */
  readonly signature: Uint8Array
}

/** @returns one for each signer @throws TrustError `malformed` */
export function messageSignatures(
  signers: readonly MessageSigner[],
  answers: readonly Uint8Array[],
): readonly [MessageSignature, ...MessageSignature[]] {
  const signatures = signers.map((signer) => ({
    signer,
    signature: toMessageSignature(answerTo(signer, answers), signer.publicKey.algorithm),
  }))
  return signatures as unknown as readonly [MessageSignature, ...MessageSignature[]]
}

/** @throws TrustError `malformed` when there is none */
export function answerTo({ by }: MessageSigner, answers: readonly Uint8Array[]): Uint8Array {
  const answer = answers[by]
  if (answer === undefined || answer.length === 0)
    throw new TrustError('malformed', 'answerOther', { facts: { detail: 'there is no signature' } })
  return answer
}

/** An artifact that stands in the message, read in small parts. @throws TrustError `tooLarge` */
export async function readAttached(artifact: BlobSource): Promise<Uint8Array> {
  if (artifact.size > ATTACHED_MAX_OCTETS) {
    const facts = { what: 'what stands within the message', limit: ATTACHED_MAX_OCTETS }
    throw new TrustError('tooLarge', 'artifactPartTooLarge', { facts })
  }
  return concat(await Array.fromAsync(chunksOf(artifact)))
}

/** As a message names it. */
export interface Other {
  readonly algorithm: string | number
  readonly thumbprint: Uint8Array
}

/** One signature, as it was read and before anything is believed. */
export interface ReadSignature {
  readonly where: string
  readonly algorithm: string | number
  readonly signature: Uint8Array
  /** That it carries, the signer's first. */
  readonly chain: readonly Uint8Array[]
  readonly thumbprint: Uint8Array | undefined
  readonly others: readonly Other[]
  readonly message: BlobSource
  /** @throws TrustError `unsupported` for a header parameter that must be understood and is not */
  checkCritical(): void
}

/**
 * @param covered of the artifact, by each of them
 * @throws TrustError `malformed`; `badProof` for an algorithm that does not go with the key
 */
export function foundSignatures(
  read: readonly ReadSignature[],
  { certificates = [] }: Beside,
  covered: FoundSignature['covered'],
): readonly FoundSignature[] {
  const judged = read.map((one) => ({ one, evidence: evidenceOf(one, certificates) }))
  const isThere = ({ algorithm, thumbprint }: Other): boolean =>
    judged.some(
      ({ one, evidence }) =>
        evidence.type === 'raw' && one.algorithm === algorithm && equal(certificateThumbprint(evidence.certificate), thumbprint),
    )
  return judged.map(({ one: { where, others }, evidence }) => ({
    where,
    evidence,
    covered,
    async checkCovered() {
      const missing = others.find((other) => !isThere(other))
      if (missing !== undefined)
        throw new TrustError('badProof', 'messageSignatureMissing', { facts: { algorithm: missing.algorithm } })
    },
  }))
}

function evidenceOf(read: ReadSignature, given: readonly Uint8Array[]): RawEvidence | UnknownEvidence {
  try {
    read.checkCritical()
    const [certificate, ...intermediates] = certificatesFor(read, given)
    const { algorithm: key } = importPublicKey(parseCertificate(certificate).subjectPublicKeyInfo)
    return {
      type: 'raw',
      signatureAlgorithm: namedSignature(read.algorithm, key),
      signature: fromMessageSignature(read.signature, key),
      certificate,
      intermediates,
      message: read.message,
    }
  } catch (problem) {
    if (problem instanceof TrustError && (problem.code === 'unsupported' || problem.reason === 'certificateNotGiven'))
      return { type: 'unknown', problem }
    throw problem
  }
}

/** What the message carries, or what was given and is meant: by thumbprint, or by the algorithm that its key goes with. */
function certificatesFor(
  { chain, thumbprint, algorithm }: ReadSignature,
  given: readonly Uint8Array[],
): readonly [Uint8Array, ...Uint8Array[]] {
  const [own, ...above] = chain
  if (own !== undefined) {
    if (thumbprint !== undefined && !equal(certificateThumbprint(own), thumbprint))
      throw new TrustError('malformed', 'messageCertificate')
    return [own, ...above]
  }
  const meant = given.find((each) =>
    thumbprint === undefined ? goesWith(algorithm, each) : equal(certificateThumbprint(each), thumbprint),
  )
  if (meant === undefined) throw new TrustError('unauthenticated', 'certificateNotGiven')
  return [meant]
}

function goesWith(name: string | number, certificate: Uint8Array): boolean {
  try {
    namedSignature(name, importPublicKey(parseCertificate(certificate).subjectPublicKeyInfo).algorithm)
    return true
  } catch (error) {
    if (error instanceof TrustError && error.reason === 'messageNameOther') return false
    throw error
  }
}
