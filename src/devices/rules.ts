/**
 * Who may do what with devices, as data: an act needs a rule, all of whose conditions are known to hold. Whatever no rule
 * allows is refused, and the refusal is in the audit log with the rule that came nearest.
 *
 * @module
 */
import type { Audit } from '#audit/audit.ts'
import { type Facts, TrustError } from '#base/errors.ts'

/** What is asked of the world before an act. What nobody looked at does not hold. */
export type Condition =
  | 'ticket-open' // of a production order for this model, at this node
  | 'station-known'
  | 'variant-allowed' // by the model, and its assurance level is reached
  | 'evidence-good'
  | 'unique' // serial, key and chip
  | 'asker-owns' // speaks for the organization whose epoch is open
  | 'asker-buys' // speaks for the organization that is offered the device
  | 'offer-open'
  | 'accepted'
  | 'agreed' // by as many people as the act needs
  | 'present' // somebody was at the device
  | 'maker-states' // the manufacturer signed that this is so
  | 'time-over' // the public waiting time
  | 'no-objection'
  | 'birth-good' // the birth certificate is usable
  | 'claimed-here'
  | 'area-admits' // model, assurance level, owner, state
  | 'shown-by-device' // by a usable certificate of its own
  | 'in-use'
  | 'area-administrator' // of the area it goes to
  | 'gateway-admits' // owner, area, assurance level, count
  | 'certificate-usable'
  | 'name-matches' // what it calls itself is what its certificate says
  | 'own-subtree'
  | 'conduit' // a rule between the two areas
  | 'role-has-operation'
  | 'strongly-signed-in' // people with a second factor
  | 'assurance-reached'
  | 'not-locked' // for maintenance
  | 'release-approved'
  | 'director-agrees' // model, revision, counter, area, wave
  | 'maker-of-model'

export interface Rule {
  readonly act: Act
  readonly conditions: readonly Condition[]
}

export const acts = [
  'birth.issue',
  'ownership.offer',
  'ownership.accept',
  'ownership.release',
  'ownership.recover',
  'enroll.first',
  'enroll.renew',
  'enroll.area',
  'enroll.proxied',
  'gateway.bind',
  'gateway.move',
  'connect',
  'publish',
  'command',
  'update',
  'license.issue',
] as const
export type Act = (typeof acts)[number]

/** An act with two rows may be done by either. Nobody seizes a device: there is no rule by which a maker takes one back. */
export const rules: readonly Rule[] = [
  { act: 'birth.issue', conditions: ['ticket-open', 'station-known', 'variant-allowed', 'evidence-good', 'unique'] },
  { act: 'ownership.offer', conditions: ['asker-owns', 'agreed'] },
  { act: 'ownership.accept', conditions: ['offer-open', 'asker-buys'] },
  { act: 'ownership.release', conditions: ['asker-owns', 'accepted'] },
  { act: 'ownership.recover', conditions: ['present', 'maker-states', 'time-over', 'no-objection'] },
  { act: 'enroll.first', conditions: ['birth-good', 'claimed-here', 'area-admits'] },
  { act: 'enroll.renew', conditions: ['shown-by-device', 'in-use', 'area-admits'] },
  { act: 'enroll.area', conditions: ['shown-by-device', 'area-administrator', 'area-admits'] },
  { act: 'enroll.proxied', conditions: ['gateway-admits', 'in-use', 'area-admits'] },
  { act: 'gateway.bind', conditions: ['asker-owns', 'gateway-admits'] },
  { act: 'gateway.move', conditions: ['asker-owns', 'gateway-admits', 'agreed'] },
  { act: 'connect', conditions: ['certificate-usable', 'name-matches'] },
  { act: 'publish', conditions: ['certificate-usable', 'own-subtree'] },
  { act: 'publish', conditions: ['certificate-usable', 'conduit'] },
  {
    act: 'command',
    conditions: ['certificate-usable', 'role-has-operation', 'strongly-signed-in', 'assurance-reached', 'agreed', 'not-locked'],
  },
  { act: 'update', conditions: ['release-approved', 'director-agrees'] },
  { act: 'license.issue', conditions: ['maker-of-model'] },
]

export type Decision = { readonly isAllowed: true } | { readonly isAllowed: false; readonly missing: Condition | undefined }

/** @param holding what is known to hold @returns for a refusal the first condition missing of the rule that came furthest */
export function decide(act: string, holding: ReadonlySet<Condition>): Decision {
  let furthest = -1
  let missing: Condition | undefined
  for (const rule of rules) {
    if (rule.act !== act) continue
    const at = rule.conditions.findIndex((condition) => !holding.has(condition))
    if (at === -1) return { isAllowed: true }
    if (at > furthest) [furthest, missing] = [at, rule.conditions[at]]
  }
  return { isAllowed: false, missing }
}

export interface Asked {
  readonly actor: string
  readonly act: Act
  /** What it is done to, as the audit log names it. */
  readonly object: string
  readonly facts?: Facts
}

/** @throws TrustError `forbidden`, once the refusal is in the audit log */
export async function checkRules(
  { audit }: { readonly audit: Audit },
  { actor, act, object, facts = {} }: Asked,
  holding: ReadonlySet<Condition>,
): Promise<void> {
  const decision = decide(act, holding)
  if (decision.isAllowed) return
  const missing = decision.missing ?? 'a rule'
  const reason = 'ruleRefuses'
  await audit.refuse({ actor, act, object, reason, facts: { ...facts, rule: act, missing } })
  throw new TrustError('forbidden', reason, { facts: { rule: act, missing } })
}
