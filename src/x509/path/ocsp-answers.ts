/**
 * What a responder's signed answers say of a certificate.
 *
 * Source: RFC 6960, 3.2, 4.2.2.1 (times) and 4.2.2.2 (who may answer); RFC 9654, 2.1 (nonce); RFC 5019, 4.
 *
 * @module
 */
import { hash } from 'node:crypto'
import { SubjectPublicKeyInfo } from '#algorithms/public-key.ts'
import { decode } from '#asn1/codec.ts'
import { equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { extKeyUsage, keyPurposes } from '../extensions/extended-key-usage.ts'
import { ocspNoCheck } from '../extensions/ocsp-extensions.ts'
import { equalNames } from '../name.ts'
import { type BasicResponse, issuerHashes } from '../ocsp.ts'
import type { Budget } from './budget.ts'
import { type Link, linkOf } from './link.ts'
import { PathRefusal } from './reasons.ts'
import type { Status } from './revocation-lists.ts'

/** A responder's clock may be ahead of ours by this much. */
export const CLOCK_SKEW_MILLISECONDS = 5 * 60_000
/** How old an answer without nextUpdate may be: RFC 6960 says newer ones are always to be had. */
export const ANSWER_AGE_MAX_MILLISECONDS = 24 * 3_600_000

export interface AnswerQuestion {
  readonly link: Link
  readonly issuer: Link
  readonly answers: readonly BasicResponse[]
  readonly at: Date
  /** What was asked with it; an answer must repeat it. */
  readonly nonce?: Uint8Array | undefined
  /** Whether a responder's certificate, signed by the issuer, may be trusted: is it revoked itself? */
  readonly isResponderGood: (responder: Link) => Promise<boolean>
  readonly budget: Budget
}

/** @returns undefined when no answer speaks of the certificate */
export async function statusByAnswers(question: AnswerQuestion): Promise<Status | undefined> {
  let why: string | undefined
  for (const answer of question.answers) {
    const single = singleFor(answer, question)
    if (single === undefined) continue
    if (question.nonce !== undefined && !(answer.nonce !== undefined && equal(answer.nonce, question.nonce))) {
      why = 'the OCSP answer does not repeat the nonce'
    } else if (!isFresh(single, answer, question.at)) {
      why = 'the OCSP answer is not current'
    } else if (!(await isAuthorized(answer, question))) {
      why = 'the OCSP answer is not signed by one who may answer'
    } else if (single.status.type === 'unknown') {
      why = 'the OCSP responder does not know it'
    } else if (single.status.type === 'good') {
      return { state: 'good' }
    } else {
      return { state: 'revoked', revokedAt: single.status.revokedAt, reason: single.status.reason ?? 'unspecified' }
    }
  }
  return why === undefined ? undefined : { state: 'unknown', detail: why }
}

function singleFor(answer: BasicResponse, { link, issuer }: AnswerQuestion): BasicResponse['responses'][number] | undefined {
  if (answer.extensions.some(({ critical }) => critical)) return undefined
  return answer.responses.find(({ hashAlgorithm, issuerNameHash, issuerKeyHash, serialNumber }) => {
    if (hashAlgorithm === undefined || !equal(serialNumber, link.certificate.serialNumber)) return false
    const { certificate } = issuer
    const expected = issuerHashes(
      { subject: link.certificate.issuer, subjectPublicKeyInfo: certificate.subjectPublicKeyInfo },
      hashAlgorithm,
    )
    return equal(expected.issuerNameHash, issuerNameHash) && equal(expected.issuerKeyHash, issuerKeyHash)
  })
}

function isFresh(
  { thisUpdate, nextUpdate }: { readonly thisUpdate: Date; readonly nextUpdate?: Date },
  { producedAt }: BasicResponse,
  at: Date,
): boolean {
  const now = at.getTime()
  const until = nextUpdate?.getTime() ?? thisUpdate.getTime() + ANSWER_AGE_MAX_MILLISECONDS
  const begins = Math.max(thisUpdate.getTime(), producedAt.getTime())
  return begins - CLOCK_SKEW_MILLISECONDS <= now && now <= until + CLOCK_SKEW_MILLISECONDS
}

/** RFC 6960, 4.2.2.2: the issuer itself, or one to whom it gave this right in a certificate of its own. */
async function isAuthorized(answer: BasicResponse, question: AnswerQuestion): Promise<boolean> {
  const { issuer } = question
  if (names(answer, issuer) && (await signs(answer, issuer, question))) return true
  for (const der of answer.certs) {
    const responder = linkIn(der)
    if (responder === undefined || !names(answer, responder)) continue
    if (await mayAnswer(responder, question)) return signs(answer, responder, question)
  }
  return false
}

async function mayAnswer(responder: Link, { issuer, at, budget, isResponderGood }: AnswerQuestion): Promise<boolean> {
  const { notBefore, notAfter } = responder.certificate
  if (responder.issuer !== issuer.subject || at < notBefore || at > notAfter) return false
  try {
    if (responder.extension(extKeyUsage)?.includes(keyPurposes.OCSPSigning) !== true) return false
    if (!(await budget.signedCertificate(responder, issuer))) return false
    if (responder.extension(ocspNoCheck) !== undefined) return true
    return await isResponderGood(responder)
  } catch (error) {
    return refusedOnly(error)
  }
}

async function signs(answer: BasicResponse, by: Link, { budget, link }: AnswerQuestion): Promise<boolean> {
  const { signatureAlgorithm, signature, tbsResponseData: message } = answer
  try {
    return await budget.signed(
      { signatureAlgorithm, signature, message },
      by,
      link.label,
      hash('sha256', message, 'hex') + signature.toHex(),
    )
  } catch (error) {
    return refusedOnly(error)
  }
}

/** A responder that cannot be used is as good as none; work that ran out ends all. */
function refusedOnly(error: unknown): false {
  if (error instanceof PathRefusal && error.failure.reason !== 'pathTooMuchWork') return false
  throw error
}

function names({ responderID }: BasicResponse, { certificate }: Link): boolean {
  if (responderID.type === 'byName') {
    try {
      return equalNames(responderID.value, certificate.subject)
    } catch (error) {
      if (error instanceof TrustError) return false
      throw error
    }
  }
  const { subjectPublicKey } = decode(SubjectPublicKeyInfo, certificate.subjectPublicKeyInfo)
  return equal(new Uint8Array(hash('sha1', subjectPublicKey, 'buffer')), responderID.value)
}

function linkIn(der: Uint8Array): Link | undefined {
  try {
    return linkOf(der)
  } catch (error) {
    if (error instanceof TrustError) return undefined
    throw error
  }
}
