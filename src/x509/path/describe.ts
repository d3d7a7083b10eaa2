/**
 * A verdict in words: what is printed, what is sent as JSON, what a test compares.
 *
 * @module
 */
import { sentenceOf } from './reasons.ts'
import type { Verdict } from './verify.ts'

export interface VerdictDescription {
  readonly valid: boolean
  /** One sentence or two for people. */
  readonly summary: string
  /** Key of the rule that is broken; null when none is. */
  readonly reason: string | null
  /** Where the rule is written. */
  readonly section: string | null
  /** Subject of the certificate that breaks it. */
  readonly certificate: string | null
  /** From the trusted one down. Empty when nothing could be read. */
  readonly path: readonly StepDescription[]
  /** Policies that hold all the way. */
  readonly policies: readonly string[]
}

export interface StepDescription {
  readonly subject: string
  readonly sha256: string
  readonly notAfter: string
  readonly revocation: 'good' | 'revoked' | 'unknown' | 'unasked'
  /** Why it is not known; null when it is. */
  readonly detail: string | null
}

export function describeVerdict(verdict: Verdict): VerdictDescription {
  const path = verdict.path.map(({ subject, fingerprint, certificate, revocation, detail = null }) => ({
    subject,
    sha256: fingerprint,
    notAfter: certificate.notAfter.toISOString(),
    revocation,
    detail,
  }))
  if (!verdict.valid) {
    const { reason, section, subject } = verdict.failure
    const unread = verdict.unread === 0 ? '' : ` Certificates at hand that cannot be read: ${verdict.unread}.`
    return {
      valid: false,
      summary: `${sentenceOf(verdict.failure)}${unread}`,
      reason,
      section,
      certificate: subject,
      path,
      policies: [],
    }
  }
  const [anchor, target] = [path[0], path.at(-1)]
  const summary = `"${target?.subject ?? ''}" is valid: "${anchor?.subject ?? ''}", which is trusted, vouches for it.${doubtOf(path)}`
  return { valid: true, summary, reason: null, section: null, certificate: null, path, policies: verdict.policies }
}

/** What a person must know before relying on it. */
function doubtOf(path: readonly StepDescription[]): string {
  const [, ...below] = path // an anchor is not revoked, it is no longer trusted
  const unknown = below.filter(({ revocation }) => revocation === 'unknown' || revocation === 'unasked')
  if (unknown.length === 0) return ''
  const which =
    unknown.length === below.length ? 'any of its certificates' : unknown.map(({ subject }) => `"${subject}"`).join(', ')
  return ` Whether ${which} was revoked is not known.`
}
