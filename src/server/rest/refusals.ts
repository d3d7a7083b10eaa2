/** Refusals that depend on what is asked for, kept in the audit log as those of a whole route are. @module */
import type { Audit } from '#audit/audit.ts'
import { asTrustError } from '#base/errors.ts'

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
