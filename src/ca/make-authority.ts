/**
 * Making an authority: its key, its certificate by the one above it or by itself, its record and its ceremony entry.
 *
 * @module
 */
import { importPublicKey } from '#algorithms/public-key.ts'
import type { KeyAlgorithmId } from '#algorithms/table.ts'
import { TrustError } from '#base/errors.ts'
import { uuidv7 } from '#base/world.ts'
import { keyReference } from '#keys/key-ring.ts'
import type { Signer } from '#keys/key-store.ts'
import { take } from '#store/batch.ts'
import { parseCertificate } from '#x509/certificate.ts'
import { encodeName, formatName, type Name } from '#x509/name.ts'
import type { Authorities, Authority } from './authorities.ts'
import { checkSlug, checkSlugFree, describe, keepAuthority, keyLabelOf, type Stored, withNewKey } from './authority-record.ts'
import { ceremonyFacts } from './ceremony.ts'
import type { CAContext } from './context.ts'
import { insertIssued, rehearse, selfSigned, signRehearsed, stillIssues } from './issue.ts'
import { allowsKey, type Profile } from './profile.ts'
import { openProfile } from './profiles.ts'

export interface NewAuthority {
  readonly slug: string
  readonly name: Name
  readonly profile: 'root' | 'issuing' | (string & {})
  /** Address of the authority that signs it; absent for a root. */
  readonly issuer?: string
  readonly keyAlgorithm: KeyAlgorithmId
  /** Where its key is made; the default store unless told. */
  readonly keyStore?: string
  /** Never expires: for the hierarchy above birth certificates (IEEE 802.1AR, 8.7). */
  readonly noExpiry?: boolean
  readonly crlValiditySeconds?: number
  readonly crlShards?: number
  readonly crlDeltaSeconds?: number
}

export const CRL_VALIDITY_DEFAULT_SECONDS = 7 * 86400

/** @throws TrustError `malformed`, `policyRefused`, `conflict` when the name is taken or the issuer issues nothing more */
export async function createAuthority(
  context: CAContext,
  authorities: Authorities,
  input: NewAuthority,
  actor: string,
): Promise<Authority> {
  const { keys, world } = context
  const profile = await openAuthorityProfile(context, input)
  const issuer = input.issuer === undefined ? undefined : authorities.byAddress(input.issuer)
  if (issuer !== undefined && issuer.state !== 'active')
    throw new TrustError('conflict', 'authorityRetired', { facts: { authority: issuer.address } })
  await checkSlugFree(context.db, input.slug)

  const stored: Stored = {
    id: uuidv7(world),
    slug: input.slug,
    generation: 1,
    profile: profile.id,
    issuerId: issuer?.id,
    state: 'active',
    crlShards: input.crlShards ?? 1,
    crlValiditySeconds: input.crlValiditySeconds ?? CRL_VALIDITY_DEFAULT_SECONDS,
    crlDeltaSeconds: input.crlDeltaSeconds,
  }
  await withNewKey(keys, keyReference(input.keyStore, keyLabelOf(stored)), input.keyAlgorithm, async (signer) => {
    const holder = holderOf(profile, signer, encodeName(input.name), formatName(input.name))
    const plan = issuer === undefined ? selfSigned(holder, signer) : { ...holder, authority: issuer }
    const issued = await signRehearsed(rehearse(context, plan))
    const authority = describe(stored, parseCertificate(issued.der), signer)
    await keepAuthority(context, authority, async (tx) => {
      await checkSlugFree(tx, stored.slug)
      if (issuer !== undefined) await take(tx, [stillIssues(issuer)])
      // a root's own certificate is recorded under itself, so that every certificate ever signed has its row
      await insertIssued(context, tx, { ...issued, authorityId: authority.issuerId ?? authority.id }, { actor })
      await context.audit.record(tx, {
        actor,
        act: 'ca.create',
        object: `authority:${authority.id}`,
        outcome: 'done',
        facts: ceremonyFacts(context, authority, issuer),
      })
    })
  })
  await authorities.refresh()
  return authorities.byId(stored.id)
}

/** @throws TrustError `malformed`, `notFound`, `policyRefused` */
export async function openAuthorityProfile(
  context: Pick<CAContext, 'db' | 'world'>,
  input: Pick<NewAuthority, 'slug' | 'profile' | 'keyAlgorithm' | 'noExpiry'>,
): Promise<Profile> {
  checkSlug(input.slug)
  const builtIn = await openProfile(context, input.profile)
  if (builtIn.holder !== 'authority')
    throw new TrustError('policyRefused', 'profileNotForAuthorities', { facts: { profile: builtIn.id } })
  if (!allowsKey(builtIn, input.keyAlgorithm))
    throw new TrustError('policyRefused', 'keyNotInProfile', { facts: { algorithm: input.keyAlgorithm, profile: builtIn.id } })
  return input.noExpiry === true ? { ...builtIn, validity: { noExpiry: true } } : builtIn
}

/** The plan of a certificate for an authority, without who signs it. */
export const holderOf = (profile: Profile, signer: Pick<Signer, 'publicKey'>, subject: Uint8Array, subjectText: string) => ({
  profile,
  publicKey: importPublicKey(signer.publicKey),
  subject,
  subjectText,
  productSerial: undefined,
  subjectAltName: undefined,
})
