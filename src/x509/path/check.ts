/**
 * Whether one path holds: from the anchor down, every rule of the standard in its order. Signatures were checked when
 * the path was built, and revocation is looked at when all else holds.
 *
 * Source: RFC 5280, 6.1, with the policies of RFC 9618, 5 and the limits of an anchor's own certificate of RFC 5937, 3.
 *
 * @module
 */
import { basicConstraints } from '../extensions/basic-constraints.ts'
import { certificatePolicies, inhibitAnyPolicy, policyConstraints, policyMappings } from '../extensions/certificate-policies.ts'
import { crlDistributionPoints, freshestCRL } from '../extensions/crl-distribution-points.ts'
import { authorityKeyIdentifier } from '../extensions/authority-key-identifier.ts'
import { extKeyUsage } from '../extensions/extended-key-usage.ts'
import { keyUsage, type KeyUsageBit } from '../extensions/key-usage.ts'
import { nameConstraints } from '../extensions/name-constraints.ts'
import { ocspNoCheck } from '../extensions/ocsp-extensions.ts'
import { issuerAltName, subjectAltName } from '../extensions/subject-alternative-name.ts'
import { subjectKeyIdentifier } from '../extensions/subject-key-identifier.ts'
import type { Budget } from './budget.ts'
import type { Link } from './link.ts'
import { type NameSpaces, nameSpaces } from './name-spaces.ts'
import { ANY_POLICY, type PolicyGraph, policyGraph } from './policy-graph.ts'
import { PathRefusal } from './reasons.ts'

/** The inputs of RFC 5280, 6.1.1, beside the path itself. */
export interface PathRules {
  readonly at: Date
  /** Policies that the user accepts, dotted; any unless told. */
  readonly policies?: ReadonlySet<string> | undefined
  readonly requireExplicitPolicy?: boolean
  readonly inhibitPolicyMapping?: boolean
  readonly inhibitAnyPolicy?: boolean
}

/** What path validation does with an extension; all others are refused when they are critical. */
const processed: ReadonlySet<string> = new Set(
  [
    basicConstraints,
    keyUsage,
    extKeyUsage,
    subjectAltName,
    issuerAltName,
    nameConstraints,
    certificatePolicies,
    policyMappings,
    policyConstraints,
    inhibitAnyPolicy,
    crlDistributionPoints,
    freshestCRL,
    authorityKeyIdentifier,
    subjectKeyIdentifier,
    ocspNoCheck,
  ].map(({ oid }) => oid),
)

interface State {
  readonly names: NameSpaces
  readonly policies: PolicyGraph
  explicitPolicy: number
  inhibitAnyPolicy: number
  policyMapping: number
  pathLength: number
}

/**
 * @param path anchor first, the certificate in question last
 * @returns the policies that hold all the way
 * @throws PathRefusal for the first rule that is broken
 */
export function checkPath(path: readonly Link[], rules: PathRules, budget: Budget): ReadonlySet<string> {
  const [anchor, ...below] = path as readonly [Link, ...Link[]]
  const count = below.length
  checkTimes(anchor, rules.at)
  checkCritical(anchor)
  if (count === 0) return new Set() // the certificate in question is an anchor itself
  const state: State = {
    names: nameSpaces(budget),
    policies: policyGraph(),
    explicitPolicy: rules.requireExplicitPolicy === true ? 0 : count + 1,
    inhibitAnyPolicy: rules.inhibitAnyPolicy === true ? 0 : count + 1,
    policyMapping: rules.inhibitPolicyMapping === true ? 0 : count + 1,
    pathLength: count,
  }
  takeAnchorLimits(anchor, state)
  below.forEach((link, i) => {
    const isLast = i === count - 1
    checkTimes(link, rules.at)
    if (isLast || !link.isSelfIssued) state.names.check(link) // 6.1.3 (b) and (c)
    takePolicies(link, state, isLast)
    checkCritical(link)
    if (!isLast) prepareNext(link, state)
  })
  return wrapUp(below.at(-1) as Link, state, rules)
}

function checkTimes({ certificate: { notBefore, notAfter }, label }: Link, at: Date): void {
  if (at < notBefore) throw new PathRefusal('pathNotYet', label, { notBefore: notBefore.toISOString() })
  if (at > notAfter) throw new PathRefusal('pathExpired', label, { notAfter: notAfter.toISOString() })
}

/** 6.1.4 (o) and 6.1.5 (f). Those that are processed are read, so that what is malformed is never passed over. */
function checkCritical({ certificate: { extensions }, label }: Link): void {
  for (const { critical, extnID } of extensions) {
    if (critical && !processed.has(extnID)) throw new PathRefusal('pathCriticalExtension', label, { extension: extnID })
  }
}

/** RFC 5937, 3: an anchor that came as a certificate is held to what the certificate says. */
function takeAnchorLimits(anchor: Link, state: State): void {
  if (anchor.certificate.version === 3) checkIsAuthority(anchor)
  const length = anchor.extension(basicConstraints)?.pathLenConstraint
  if (length !== undefined && length < state.pathLength) state.pathLength = length
  const limits = anchor.extension(nameConstraints)
  if (limits !== undefined) state.names.narrow(limits, anchor)
}

/** 6.1.3 (d) to (f). */
function takePolicies(link: Link, state: State, isLast: boolean): void {
  const policies = link.extension(certificatePolicies)?.map(({ policyIdentifier }) => policyIdentifier)
  if (policies !== undefined && new Set(policies).size !== policies.length)
    throw new PathRefusal('pathUnreadable', link.label, { detail: 'it has a policy twice' }, 'RFC 5280, 4.2.1.4')
  state.policies.addCertificate(policies, state.inhibitAnyPolicy > 0 || (!isLast && link.isSelfIssued))
  if (state.explicitPolicy === 0 && state.policies.isEmpty) throw new PathRefusal('pathPolicy', link.label)
}

/** 6.1.4: what an authority says of those below it. */
function prepareNext(link: Link, state: State): void {
  const mappings = link.extension(policyMappings)
  if (mappings !== undefined) state.policies.map(mappingsOf(link, mappings), state.policyMapping > 0)
  const limits = link.extension(nameConstraints)
  if (limits !== undefined) state.names.narrow(limits, link)
  if (!link.isSelfIssued) {
    if (state.explicitPolicy > 0) state.explicitPolicy--
    if (state.policyMapping > 0) state.policyMapping--
    if (state.inhibitAnyPolicy > 0) state.inhibitAnyPolicy--
  }
  const { requireExplicitPolicy, inhibitPolicyMapping } = link.extension(policyConstraints) ?? {}
  if (requireExplicitPolicy !== undefined) state.explicitPolicy = Math.min(state.explicitPolicy, requireExplicitPolicy)
  if (inhibitPolicyMapping !== undefined) state.policyMapping = Math.min(state.policyMapping, inhibitPolicyMapping)
  state.inhibitAnyPolicy = Math.min(state.inhibitAnyPolicy, link.extension(inhibitAnyPolicy) ?? Infinity)
  checkIsAuthority(link)
  if (!link.isSelfIssued) {
    if (state.pathLength === 0) throw new PathRefusal('pathLength', link.label)
    state.pathLength--
  }
  const length = link.extension(basicConstraints)?.pathLenConstraint
  if (length !== undefined && length < state.pathLength) state.pathLength = length
}

function mappingsOf(
  { label }: Link,
  mappings: readonly { readonly issuerDomainPolicy: string; readonly subjectDomainPolicy: string }[],
): ReadonlyMap<string, ReadonlySet<string>> {
  const found = new Map<string, Set<string>>()
  for (const { issuerDomainPolicy: from, subjectDomainPolicy: to } of mappings) {
    if (from === ANY_POLICY || to === ANY_POLICY) throw new PathRefusal('pathAnyPolicyMapped', label)
    found.set(from, (found.get(from) ?? new Set()).add(to))
  }
  return found
}

/** 6.1.4 (k) and (n). */
function checkIsAuthority(link: Link): void {
  if (link.extension(basicConstraints)?.cA !== true) throw new PathRefusal('pathNotAuthority', link.label)
  checkKeyUsage(link, 'keyCertSign')
}

/** A certificate that does not say what its key is for allows everything. */
export function checkKeyUsage(link: Link, ...oneOf: readonly [KeyUsageBit, ...KeyUsageBit[]]): void {
  const usages = link.extension(keyUsage)
  if (usages === undefined || oneOf.some((usage) => usages.includes(usage))) return
  throw new PathRefusal('pathKeyUsage', link.label, { usage: oneOf.map((usage) => usageWords[usage]).join(' or ') })
}

const usageWords: Readonly<Record<KeyUsageBit, string>> = {
  digitalSignature: 'signatures',
  nonRepudiation: 'binding signatures',
  keyEncipherment: 'the encryption of keys',
  dataEncipherment: 'the encryption of data',
  keyAgreement: 'key agreement',
  keyCertSign: 'signatures on certificates',
  cRLSign: 'signatures on revocation lists',
  encipherOnly: 'encryption alone',
  decipherOnly: 'decryption alone',
}

/** 6.1.5. */
function wrapUp(target: Link, state: State, { policies }: PathRules): ReadonlySet<string> {
  if (state.explicitPolicy > 0) state.explicitPolicy--
  if (target.extension(policyConstraints)?.requireExplicitPolicy === 0) state.explicitPolicy = 0
  const constrained = state.policies.userConstrained(policies)
  if (state.explicitPolicy === 0 && constrained.size === 0) throw new PathRefusal('pathPolicy', target.label)
  target.extension(basicConstraints)
  target.extension(nameConstraints)
  target.extension(policyMappings)
  target.extension(inhibitAnyPolicy)
  return constrained
}
