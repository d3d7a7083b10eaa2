/**
 * Birth certificates for whoever proves births: the key is proven there or by a request, the rules are those of every issuance.
 *
 * What is signed here is not kept yet: its steps go into the batch that keeps the birth, so that there is never one
 * without the other.
 *
 * @module
 */
import { importPublicKey } from '#algorithms/public-key.ts'
import { TrustError } from '#base/errors.ts'
import type { Step } from '#store/batch.ts'
import { parseCertificationRequest } from '#x509/certification-request.ts'
import { encodeName, nameOf } from '#x509/name.ts'
import { type Authorities, chainOf } from './authorities.ts'
import type { CAContext } from './context.ts'
import { matchesPattern, noRules } from './endpoint.ts'
import type { IssuedAnswer } from './enrollment.ts'
import { checkBinding, rehearse, signRehearsed, stepsToInsert, stillIssues } from './issue.ts'
import type { Profile } from './profile.ts'
import { openProfile } from './profiles.ts'
import { provenKey } from './proof.ts'
import { planCertificate } from './request-rules.ts'

export interface BirthWanted {
  /** Address of the issuing authority. */
  readonly authority: string
  readonly profile: string
  /** From the maker's own arc (IEEE 802.1AR, 8.10.4). */
  readonly hardwareType: string | undefined
  /** Object identifiers for certificatePolicies, beside the profile's. */
  readonly policies: readonly string[]
  /** `*` stands for any run of characters. */
  readonly productSerials: readonly string[]
  readonly productSerial: string
  readonly proof: ProvenKey
}

/** A PKCS #10 whose signature is checked here, or the key that was proven otherwise. */
export type ProvenKey =
  | { readonly type: 'request'; readonly der: Uint8Array }
  | { readonly type: 'key'; readonly spki: Uint8Array }

export interface SignedBirth extends Omit<IssuedAnswer, 'state'> {
  /** SHA-256 of the SubjectPublicKeyInfo. */
  readonly keyHash: Uint8Array
  readonly steps: readonly Step[]
}

/** @throws TrustError of any refusal */
export async function signBirth(
  context: CAContext,
  authorities: Authorities,
  wanted: BirthWanted,
  actor: string,
): Promise<SignedBirth> {
  const { productSerial } = wanted
  if (!wanted.productSerials.some((pattern) => matchesPattern(pattern, productSerial)))
    throw new TrustError('forbidden', 'birthSerial', { facts: { productSerial } })
  const authority = authorities.byAddress(wanted.authority)
  const profile = withPolicies(await openBirthProfile(context, wanted.profile), wanted.policies)
  const { request, publicKey } = await holderOf(context, wanted)
  const plan = planCertificate({
    authority,
    profile,
    request,
    publicKey,
    applicant: {
      kind: 'registration-authority',
      mayAskFor(serial) {
        if (serial !== wanted.productSerial) throw new TrustError('forbidden', 'birthRequestOther', { facts: { serial } })
        return true
      },
    },
    endpoint: { rules: { ...noRules, ...(wanted.hardwareType !== undefined && { hardwareType: wanted.hardwareType }) } },
    renewal: false,
  })
  const rehearsed = rehearse(context, plan)
  await checkBinding(context, rehearsed)
  const issued = await signRehearsed(rehearsed)
  return {
    certificateId: issued.id,
    certificate: issued.der,
    chain: chainOf(authorities, authority),
    keyHash: issued.keyHash,
    steps: [stillIssues(authority), ...stepsToInsert(context, issued, { actor })],
  }
}

async function holderOf(context: CAContext, { proof, productSerial }: BirthWanted) {
  if (proof.type === 'request') {
    const request = parseCertificationRequest(proof.der)
    return { request, publicKey: await provenKey(context, request) }
  }
  const publicKey = importPublicKey(proof.spki)
  context.policy.check(publicKey.algorithm, context.world.clock.now())
  const subject = encodeName(nameOf([{ type: 'serialNumber', value: productSerial }]))
  return { request: { subject, requestedExtensions: [] }, publicKey }
}

/** @throws TrustError `policyRefused` for a profile that does not bind a device to one key; `notFound` */
export async function openBirthProfile(context: Pick<CAContext, 'db' | 'world'>, id: string): Promise<Profile> {
  const profile = await openProfile(context, id)
  if (!profile.birth) throw new TrustError('policyRefused', 'profileNotBirth', { facts: { profile: id } })
  return profile
}

/** One object for each profile and list of policies, since certificates of one profile share what was encoded once. */
const variants = new WeakMap<Profile, Map<string, Profile>>()

function withPolicies(profile: Profile, policies: readonly string[]): Profile {
  if (policies.length === 0) return profile
  const known = variants.get(profile) ?? new Map<string, Profile>()
  variants.set(profile, known)
  const key = policies.join(' ')
  const made = known.get(key) ?? {
    ...profile,
    certificatePolicies: [...new Set([...(profile.certificatePolicies ?? []), ...policies])],
  }
  known.set(key, made)
  return made
}

/** A birth certificate that was issued before, for who asks again. @throws TrustError `forbidden` when it was revoked since */
export async function birthAgain(
  { db }: Pick<CAContext, 'db'>,
  authorities: Authorities,
  certificateId: string,
): Promise<Omit<IssuedAnswer, 'state'>> {
  const [row] = await db.query('SELECT der, authority_id, revoked_at FROM certificate WHERE id = ?', certificateId)
  if (row === undefined) throw new TrustError('notFound', 'certificateNotFound', { facts: { certificate: certificateId } })
  if (row['revoked_at'] !== null) throw new TrustError('forbidden', 'answerRevoked')
  const chain = chainOf(authorities, authorities.byId(row['authority_id'] as string))
  return { certificateId, certificate: row['der'] as Uint8Array, chain }
}
