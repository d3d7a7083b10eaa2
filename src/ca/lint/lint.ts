/** Runs every rule over a rehearsed certificate. @module */
import { lintRules } from './registry.ts'
import type { Rehearsal } from './rule.ts'

export interface Finding {
  readonly rule: string
  readonly finding: string
}

/** @returns the first thing that is wrong, or undefined @throws TrustError `malformed` when an extension does not parse */
export function lint(rehearsal: Rehearsal): Finding | undefined {
  for (const { id, check } of lintRules) {
    const finding = check(rehearsal)
    if (finding !== undefined) return { rule: id, finding }
  }
  return undefined
}
