/**
 * Why a path is refused: a closed list, each with the place in the standard that asks for it. The words for people
 * are in `#base/sentences.ts`.
 *
 * @module
 */
import type { Facts } from '#base/errors.ts'
import { type Reason, sentence } from '#base/sentences.ts'

/** Where each rule is written. */
export const pathReasons = {
  pathIssuerMissing: 'RFC 5280, 6.1 (a)',
  pathSignature: 'RFC 5280, 6.1.3 (a)(1)',
  pathNotYet: 'RFC 5280, 6.1.3 (a)(2)',
  pathExpired: 'RFC 5280, 6.1.3 (a)(2)',
  pathRevoked: 'RFC 5280, 6.1.3 (a)(3)',
  pathRevocationUnknown: 'RFC 5280, 6.1.3 (a)(3)',
  pathNotAuthority: 'RFC 5280, 6.1.4 (k)',
  pathKeyUsage: 'RFC 5280, 6.1.4 (n)',
  pathLength: 'RFC 5280, 6.1.4 (l)',
  pathNameExcluded: 'RFC 5280, 6.1.3 (c)',
  pathNameNotPermitted: 'RFC 5280, 6.1.3 (b)',
  pathNameUnreadable: 'RFC 5280, 4.2.1.10',
  pathPolicy: 'RFC 9618, 5.4 and 5.6',
  pathAnyPolicyMapped: 'RFC 5280, 6.1.4 (a)',
  pathCriticalExtension: 'RFC 5280, 6.1.4 (o) and 6.1.5 (f)',
  pathUnreadable: 'RFC 5280, 4',
  pathAlgorithm: 'RFC 5280, 6.1.3 (a)(1)',
  pathKey: 'RFC 5280, 6.1.4 (d)',
  pathPurpose: 'RFC 5280, 4.2.1.12',
  pathPeerName: 'RFC 9525, 6',
  pathTooDeep: 'RFC 4158, 2.4.2',
  pathTooMuchWork: 'RFC 4158, 2.4.2',
  pathProfile: 'RFC 5280, 4',
} as const satisfies Partial<Record<Reason, string>>
export type PathReason = keyof typeof pathReasons

/** One rule that one certificate breaks. */
export interface PathFailure {
  readonly reason: PathReason
  /** Where the rule is written; finer than the reason's own place where the check knows better. */
  readonly section: string
  /** Subject of the certificate, RFC 4514. */
  readonly subject: string
  readonly facts: Facts
}

/** Thrown and caught inside this folder only: a check stops at the first rule that is broken. */
export class PathRefusal extends Error {
  override readonly name = 'PathRefusal'
  readonly failure: PathFailure

  constructor(reason: PathReason, subject: string, facts: Facts = {}, section: string = pathReasons[reason]) {
    super(reason)
    this.failure = { reason, section, subject, facts: { subject, ...facts } }
  }
}

/** For people: which certificate, what is wrong, what to do. */
export const sentenceOf = ({ reason, facts }: Pick<PathFailure, 'reason' | 'facts'>): string => sentence(reason, facts)
