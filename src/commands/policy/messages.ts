/**
 * Who may order what of the devices of an area, as a signed document with versions, and whether a command is one of those: what
 * the device asks before it obeys, and the server before it delivers.
 *
 * The document is signed by somebody whom the device's list of trust names itself for commands (pinned). Operators and those
 * who agree are named in it by their certificate, or by name where an authority of that list issues to them. Versions go up,
 * and never back.
 *
 * @module
 */
import { importPublicKey } from '#algorithms/public-key.ts'
import { equal } from '#base/bytes.ts'
import { type Facts, TrustError } from '#base/errors.ts'
import type { Reason } from '#base/sentences.ts'
import { encodeRecord, field, type Infer, integer, list, optional, parseRecord, record, time, word } from '#cbor/record.ts'
import { type MessageTrust, messageTrust, type TrustedSigner, verifyMessage } from '#signing/messages.ts'
import { type Certificate, extensionOf, fingerprint, parseCertificate } from '#x509/certificate.ts'
import { basicConstraints } from '#x509/extensions/basic-constraints.ts'
import { attributeOf, parseName } from '#x509/name.ts'
import { AreaName, type Command, Digest, modes, Name, NONCE_SECONDS, Operation, type SignedBy } from '../messages.ts'

export const POLICY_TYPE = 'application/sealworks-command-policy+cbor'
/** The lists at their longest, and a chain of ML-DSA certificates. */
export const POLICY_MAX_OCTETS = 256 << 10
/** Longer than people take to agree, and shorter than a shift. */
export const LIFE_MAX_SECONDS = 3600
/** Of a command that nobody has to agree to. */
export const LIFE_DEFAULT_SECONDS = 30

const ISSUERS_MAX = 16
const ROLES_MAX = 32
const MEMBERS_MAX = 256
const OPERATIONS_MAX = 256
export const APPROVERS_MAX = 8

const Member = record({
  name: field(1, Name),
  /** SHA-256 of their certificate; without it, the name is that of a certificate of an authority for commands. */
  certificate: optional(2, Digest),
})

const Role = record({ name: field(1, Operation), members: field(2, list(Member, { max: MEMBERS_MAX })) })
const roleNames = list(Operation, { min: 1, max: ROLES_MAX })

const Rule = record({
  operation: field(1, Operation),
  /** Roles whose members may order it. */
  operators: field(2, roleNames),
  /** How many others of these roles have to agree. */
  approvers: optional(3, record({ roles: field(1, roleNames), least: field(2, integer(1, APPROVERS_MAX)) })),
  mode: field(4, word(modes)),
  /** How well it has to be known which hardware holds the device's key. */
  assurance: field(5, integer(0, 4)),
  lifeSeconds: field(6, integer(1, LIFE_MAX_SECONDS)),
})
export type Rule = Infer<typeof Rule>

const Policy = record({
  area: field(1, AreaName),
  version: field(2, integer(1)),
  issuedAt: field(3, time),
  /** Whose counters are believed. */
  issuers: field(4, list(Name, { min: 1, max: ISSUERS_MAX })),
  roles: field(5, list(Role, { min: 1, max: ROLES_MAX })),
  operations: field(6, list(Rule, { max: OPERATIONS_MAX })),
})
export type Policy = Infer<typeof Policy>

const malformed = (detail: string): TrustError => new TrustError('malformed', 'notCommandPolicy', { facts: { detail } })

export const encodePolicy = (policy: Policy): Uint8Array => encodeRecord(Policy, policy)

/** What is signed. @throws TrustError `malformed`, `tooLarge` */
export function parsePolicy(payload: Uint8Array): Policy {
  const policy = parseRecord(Policy, payload, { what: 'the policy', maxOctets: POLICY_MAX_OCTETS })
  const roles = new Set(policy.roles.map(({ name }) => name))
  checkOnce('role', [...roles], policy.roles.length)
  checkOnce('operation', new Set(policy.operations.map(({ operation }) => operation)), policy.operations.length)
  for (const { operation, operators, approvers } of policy.operations)
    for (const role of [...operators, ...(approvers?.roles ?? [])])
      if (!roles.has(role)) throw malformed(`${operation} names the role ${role}, which is not in it`)
  const named = new Map<string, string>()
  for (const { certificate, name } of policy.roles.flatMap(({ members }) => members)) {
    if (certificate === undefined) continue
    const before = named.get(certificate.toHex())
    if (before !== undefined && before !== name) throw malformed(`one certificate is that of ${before} and of ${name}`) // and would count as two
    named.set(certificate.toHex(), name)
  }
  return policy
}

function checkOnce(what: string, different: Iterable<string>, all: number): void {
  if ([...different].length !== all) throw malformed(`it has one ${what} twice`)
}

/**
 * @param anchors DER: whom the device trusts for commands
 * @throws TrustError as `verifyMessage`; `malformed`; `unauthenticated` for a signer that is not pinned, or an authority
 */
export async function readPolicy(message: Uint8Array, anchors: readonly Uint8Array[], at: Date): Promise<Policy> {
  const trust = messageTrust(anchors)
  const { form, payload, signers } = await verifyMessage(message, { typ: POLICY_TYPE, trust, at, maxOctets: POLICY_MAX_OCTETS })
  if (form !== 'cose' || signers.length > 1) throw malformed('it is no COSE_Sign1')
  const [{ certificate }] = signers
  const isPinned = anchors.some((anchor) => equal(anchor, certificate.der))
  const isAuthority = extensionOf(certificate, basicConstraints)?.value.cA === true
  if (!isPinned || isAuthority) throw new TrustError('unauthenticated', 'commandPolicySigner')
  return parsePolicy(payload)
}

/**
 * Whose signatures are looked at: whoever the policy names by certificate, and those of the authorities for commands.
 *
 * @param anchors DER
 */
export function operatorTrust({ roles }: Policy, anchors: readonly Uint8Array[]): MessageTrust {
  const issued = messageTrust(anchors)
  const named = new Set(
    roles.flatMap(({ members }) =>
      members.flatMap(({ certificate }) => (certificate === undefined ? [] : [certificate.toHex()])),
    ),
  )
  const known = new Map<string, TrustedSigner>() // no more than are named
  return {
    async signerFor(chain, thumbprint, at) {
      const [own] = chain
      const name = own === undefined ? '' : fingerprint(own).toHex()
      if (own === undefined || !named.has(name)) return issued.signerFor(chain, thumbprint, at)
      if (thumbprint !== undefined && thumbprint.toHex() !== name) throw new TrustError('malformed', 'messageCertificate')
      const found = known.get(name) ?? signerOf(own)
      known.set(name, found)
      return found
    },
  }
}

function signerOf(der: Uint8Array): TrustedSigner {
  const certificate = parseCertificate(der)
  return { certificate, publicKey: importPublicKey(certificate.subjectPublicKeyInfo) }
}

/** A device as commands see it: what it knows of itself, or what the server knows of it. */
export interface CommandedDevice {
  readonly birthKey: Uint8Array
  /** `acme/P-1` */
  readonly name: string
  readonly area: string
  readonly epoch: number
  readonly assurance: number
}

/** What decides whether a command is new. */
export interface Freshness {
  /** Undefined where the device has no clock that it can go by: it answers only to its own challenges then. */
  readonly now: Date | undefined
  /** The latest time that it ever knew of. */
  readonly lastSeen: Date
  /** The highest counter that it took of this issuer; 0 before the first. */
  readonly counter: number
  /** The last command with that counter. */
  readonly last: Uint8Array | undefined
  /** The nonce that the device gave for this command; undefined without one, or once it was used. */
  readonly nonce: { readonly octets: Uint8Array; readonly ageSeconds: number } | undefined
}

/** How far the clocks of a device and of who orders may differ. */
export const CLOCK_TOLERANCE_SECONDS = 5

/**
 * A device that saw a time that somebody signed obeys nothing before it again.
 *
 * @throws TrustError `conflict` for a policy that says that it was issued later than now
 */
export function checkPolicyTime({ issuedAt }: Policy, now: number): void {
  if (issuedAt.getTime() > now + CLOCK_TOLERANCE_SECONDS * 1000)
    throw new TrustError('conflict', 'commandPolicyNotYet', { facts: { issuedAt: issuedAt.toISOString() } })
}

/** How far a counter may be ahead of the seconds of its command: a million commands more than there were seconds. */
const COUNTER_AHEAD_MAX = 1_000_000

export const commandRefusals = [
  'commandOtherDevice',
  'commandTwin',
  'commandOtherEpoch',
  'commandOtherArea',
  'commandPolicyOther',
  'commandIssuerUnknown',
  'commandOperationUnknown',
  'commandOperatorOther',
  'commandRoleLacks',
  'commandAssurance',
  'commandApproverOther',
  'commandApproverTwice',
  'commandApproversFew',
  'commandChallengeNeeded',
  'commandLifeTooLong',
  'commandReplayed',
  'commandReordered',
  'commandCounterFar',
  'commandClockBack',
  'commandNotYet',
  'commandExpired',
  'commandNonceNone',
  'commandNonceOther',
  'commandNonceOld',
] as const satisfies readonly Reason[]
export type CommandRefusal = (typeof commandRefusals)[number]

export interface Refused {
  readonly reason: CommandRefusal
  readonly facts: Facts
}

const refused = (reason: CommandRefusal, facts: Facts = {}): Refused => ({ reason, facts })

/** @returns why the device is not to obey; undefined when it is to. In this order: for whom, by whom, when. */
export function commandRefusal(
  { command, signers }: { readonly command: Command; readonly signers: readonly SignedBy[] },
  policy: Policy,
  device: CommandedDevice,
  freshness: Freshness,
): Refused | undefined {
  return (
    refusalOfAudience(command, device) ??
    refusalOfSigners(command, signers, policy, device) ??
    refusalOfTime(command, freshness) ??
    refusalOfNonce(command, signers, policy, freshness)
  )
}

function refusalOfAudience({ audience, epoch, area }: Command, device: CommandedDevice): Refused | undefined {
  if (audience.device !== device.name) return refused('commandOtherDevice', { device: audience.device, here: device.name })
  if (!equal(audience.birthKey, device.birthKey)) return refused('commandTwin', { device: audience.device })
  if (epoch !== device.epoch) return refused('commandOtherEpoch', { epoch, here: device.epoch })
  return area === device.area ? undefined : refused('commandOtherArea', { area, here: device.area })
}

/** Who ordered it and who agreed, and whether that is enough. */
export function refusalOfSigners(
  command: Pick<Command, 'area' | 'issuer' | 'operation' | 'operator' | 'mode' | 'notBefore' | 'expiresAt'>,
  signers: readonly TrustedSigner[],
  policy: Policy,
  { assurance }: Pick<CommandedDevice, 'assurance'>,
): Refused | undefined {
  const { area, issuer, operation, operator } = command
  if (policy.area !== area) return refused('commandPolicyOther', { area, here: policy.area })
  if (!policy.issuers.includes(issuer)) return refused('commandIssuerUnknown', { issuer })
  const rule = ruleFor(policy, operation)
  if (rule === undefined) return refused('commandOperationUnknown', { operation, area })
  const names = signers.map((signer) => nameIn(policy, signer))
  if (!names.includes(operator)) return refused('commandOperatorOther', { operator })
  if (!isMember(policy, rule.operators, operator)) return refused('commandRoleLacks', { operator, operation })
  if (assurance < rule.assurance) return refused('commandAssurance', { least: rule.assurance, assurance, operation })
  const others = names.filter((name) => name !== operator)
  const { roles = [], least = 0 } = rule.approvers ?? {}
  const stranger = others.find((name) => name === undefined || !isMember(policy, roles, name))
  if (others.length > 0 && others.includes(stranger))
    return refused('commandApproverOther', { name: stranger ?? 'unknown', operation })
  if (new Set(names).size !== names.length) return refused('commandApproverTwice', { operation })
  if (others.length < least) return refused('commandApproversFew', { agreed: others.length, least, operation })
  if (rule.mode === 'challenge' && command.mode !== 'challenge') return refused('commandChallengeNeeded', { operation })
  const seconds = (command.expiresAt.getTime() - command.notBefore.getTime()) / 1000
  return seconds > rule.lifeSeconds ? refused('commandLifeTooLong', { seconds, limit: rule.lifeSeconds }) : undefined
}

export const ruleFor = ({ operations }: Policy, wanted: string): Rule | undefined =>
  operations.find(({ operation }) => operation === wanted)

const membersOf = ({ roles }: Policy, wanted: readonly string[]) =>
  roles.flatMap(({ name, members }) => (wanted.includes(name) ? members : []))

export const isMember = (policy: Policy, roles: readonly string[], person: string): boolean =>
  membersOf(policy, roles).some(({ name }) => name === person)

/** A certificate that is named belongs to that name alone, whatever it says itself. */
export function nameIn({ roles }: Policy, { certificate }: Pick<TrustedSigner, 'certificate'>): string | undefined {
  const members = roles.flatMap((role) => role.members)
  const { own, commonName } = identityOf(certificate)
  const pinned = members.find((member) => member.certificate !== undefined && equal(member.certificate, own))
  if (pinned !== undefined) return pinned.name
  return members.find((member) => member.certificate === undefined && member.name === commonName)?.name
}

/** Of those who were heard before, and are: a device hears from a few again and again. */
const identities = new WeakMap<Certificate, { readonly own: Uint8Array; readonly commonName: string | undefined }>()

function identityOf(certificate: Certificate) {
  const known = identities.get(certificate)
  if (known !== undefined) return known
  const found = { own: fingerprint(certificate.der), commonName: attributeOf(parseName(certificate.subject), 'CN') }
  identities.set(certificate, found)
  return found
}

function refusalOfTime({ id, issuer, counter, notBefore, expiresAt }: Command, freshness: Freshness): Refused | undefined {
  const { now, lastSeen } = freshness
  if (counter === freshness.counter && freshness.last !== undefined && equal(id, freshness.last))
    return refused('commandReplayed', { issuer, counter })
  if (counter <= freshness.counter) return refused('commandReordered', { issuer, counter, here: freshness.counter })
  // whoever orders one thing does not keep everybody from ordering anything after it
  if (counter > notBefore.getTime() / 1000 + COUNTER_AHEAD_MAX) return refused('commandCounterFar', { issuer, counter })
  if (now === undefined) return undefined
  const tolerance = CLOCK_TOLERANCE_SECONDS * 1000
  const at = now.getTime()
  if (at < lastSeen.getTime() - tolerance)
    return refused('commandClockBack', { now: now.toISOString(), lastSeen: lastSeen.toISOString() })
  if (at < notBefore.getTime() - tolerance) return refused('commandNotYet', { notBefore: notBefore.toISOString() })
  return at > expiresAt.getTime() + tolerance ? refused('commandExpired', { expiresAt: expiresAt.toISOString() }) : undefined
}

function refusalOfNonce(
  { mode, operator, operation }: Command,
  signers: readonly SignedBy[],
  policy: Policy,
  { now, nonce }: Freshness,
): Refused | undefined {
  if (mode === 'time') return now === undefined ? refused('commandChallengeNeeded', { operation }) : undefined
  if (nonce === undefined) return refused('commandNonceNone')
  const signed = signers.find((signer) => nameIn(policy, signer) === operator)?.nonce
  if (signed === undefined || !equal(signed, nonce.octets)) return refused('commandNonceOther', { operator })
  return nonce.ageSeconds > NONCE_SECONDS ? refused('commandNonceOld', { seconds: NONCE_SECONDS }) : undefined
}
