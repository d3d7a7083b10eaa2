/** Runs every rule over a rehearsed certificate. @module */
import { lintRules } from './registry.ts'
import type { LintRule, Rehearsal } from './rule.ts'

const rulesForEach: readonly LintRule[] = lintRules.filter(({ scope }) => scope === 'each')

export interface Finding {
  readonly rule: string
  readonly finding: string
}

/**
 * @param template `passed` when a certificate of the same profile, issuer and kind of key passed before
 * @returns the first thing that is wrong, or undefined
 * @throws TrustError `malformed` when an extension does not parse
 */
export function lint(rehearsal: Rehearsal, template: 'unknown' | 'passed'): Finding | undefined {
  for (const { id, check } of template === 'passed' ? rulesForEach : lintRules) {
    const finding = check(rehearsal)
    if (finding !== undefined) return { rule: id, finding }
  }
  return undefined
}
