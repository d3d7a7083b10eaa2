/** Refusals that depend on what is asked for, kept in the audit log as those of a whole route are. @module */
import type { Audit } from '#audit/audit.ts'
import { asTrustError, type TrustErrorCode } from '#base/errors.ts'

export interface Attempt {
  readonly actor: string
  readonly act: string
  readonly object: string
}

/** @throws whatever `check` throws, once it is in the audit log */
export async function orRecord(audit: Audit, attempt: Attempt, check: () => void): Promise<void> {
  try {
    check()
  } catch (thrown) {
    await audit.refuse({ ...attempt, reason: asTrustError(thrown).reason })
    throw thrown
  }
}

/** What was refused, whatever was asked for; what failed otherwise is for the log of the server. */
const REFUSALS: ReadonlySet<TrustErrorCode> = new Set([
  'policyRefused',
  'badProof',
  'conflict',
  'forbidden',
  'quotaExceeded',
  'unsupported',
])

/** @throws whatever `work` throws, once it is in the audit log when it is a refusal (decision 9) */
export async function recordingRefusals<T>(audit: Audit, attempt: Attempt, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (thrown) {
    const { code, reason, facts } = asTrustError(thrown)
    if (REFUSALS.has(code)) await audit.refuse({ ...attempt, reason, facts: { ...facts, code } })
    throw thrown
  }
}
