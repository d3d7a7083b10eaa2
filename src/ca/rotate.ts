/**
 * A new certificate for an authority: with the same key (renewal), or with a new one as its next generation (rekey).
 *
 * A root that gets a new key is linked with its former one both ways, so that who trusts either reaches both.
 *
 * Source: RFC 9810, 4.4 (root CA key update).
 *
 * @module
 */
import type { KeyAlgorithmId } from '#algorithms/table.ts'
import { TrustError } from '#base/errors.ts'
import { toWholeSeconds, uuidv7 } from '#base/world.ts'
import { keyReference, keyStoreOf } from '#keys/key-ring.ts'
import { take } from '#store/batch.ts'
import type { Transaction } from '#store/database.ts'
import { parseCertificate } from '#x509/certificate.ts'
import { formatName, parseName } from '#x509/name.ts'
import type { Authorities, Authority } from './authorities.ts'
import { describe, keepAuthority, keepFurther, keyLabelOf, noteChange, type Stored, withNewKey } from './authority-record.ts'
import { ceremonyFacts } from './ceremony.ts'
import type { CAContext } from './context.ts'
import { followRekey, forgetEndpoints } from './endpoint.ts'
import { type Issued, NO_EXPIRY, rehearse, selfSigned, signRehearsed, stepsToInsert, stillIssues } from './issue.ts'
import { holderOf, openAuthorityProfile } from './make-authority.ts'
import type { Profile } from './profile.ts'

/** The same key and names with a new end. @throws TrustError `conflict` when it cannot be renewed here */
export async function renewAuthority(
  context: CAContext,
  authorities: Authorities,
  address: string,
  actor: string,
): Promise<Authority> {
  const { db, audit } = context
  const authority = activeOne(authorities, address)
  const issuer = issuerForNew(authorities, authority)
  const profile = await profileOf(context, authority, authority.keyAlgorithm)
  const holder = {
    ...holderOf(profile, authority.signer, authority.certificate.subject, subjectOf(authority)),
    subjectKeyIdentifier: authority.keyIdentifier,
  }
  const plan = issuer === undefined ? selfSigned(holder, authority.signer) : { ...holder, authority: issuer }
  const issued = await signRehearsed(rehearse(context, plan))
  const renewed = describe({ ...authority, issuerId: issuer?.id }, parseCertificate(issued.der), authority.signer)
  await db.transaction(async (tx) => {
    await noteChange(tx)
    if (issuer !== undefined) await take(tx, [stillIssues(issuer)])
    await replaceCertificate(context, tx, authority, renewed)
    await take(tx, stepsToInsert(context, { ...issued, authorityId: issuer?.id ?? authority.id }, { actor }))
    await audit.record(tx, {
      actor,
      act: 'ca.renew',
      object: `authority:${authority.id}`,
      outcome: 'done',
      facts: ceremonyFacts(context, renewed, issuer),
    })
  })
  await authorities.refresh()
  return authorities.byId(authority.id)
}

/** The former certificate stays known, and counts as superseded. @throws TrustError `conflict` when another process changed it */
export async function replaceCertificate(
  context: CAContext,
  tx: Transaction,
  { id, address, issuerId, certificate }: Authority,
  renewed: Pick<Authority, 'issuerId' | 'certificate'>,
): Promise<void> {
  const changed = await tx.query(
    'UPDATE authority SET certificate = ?, issuer_id = ?, version = version + 1 WHERE id = ? AND certificate = ? RETURNING id',
    renewed.certificate.der,
    renewed.issuerId ?? null,
    id,
    certificate.der,
  )
  if (changed.length === 0) throw new TrustError('conflict', 'authorityChanged', { facts: { authority: address } })
  await keepFurther(tx, context, { authorityId: id, kind: 'earlier', der: certificate.der })
  await tx.query(
    "UPDATE certificate SET state = 'superseded', version = version + 1 WHERE serial_number = ? AND authority_id = ? AND state = 'active'",
    certificate.serialNumber,
    issuerId ?? id,
  )
}

export interface Rekey {
  /** The former one's unless told. */
  readonly keyAlgorithm?: KeyAlgorithmId
}

/**
 * A new key under the same name. Endpoints issue with it from the same moment on; the former generation is retired, and
 * goes on to speak of what it issued.
 */
export async function rekeyAuthority(
  context: CAContext,
  authorities: Authorities,
  address: string,
  { keyAlgorithm }: Rekey,
  actor: string,
): Promise<Authority> {
  const { keys, world, audit, db } = context
  const former = activeOne(authorities, address)
  checkNewest(authorities, former)
  const issuer = issuerForNew(authorities, former)
  const algorithm = keyAlgorithm ?? former.keyAlgorithm
  const profile = await profileOf(context, former, algorithm)
  const stored: Stored = { ...storedOf(former), id: uuidv7(world), generation: former.generation + 1, issuerId: issuer?.id }
  const label = keyReference(keyStoreOf(former.keyLabel), keyLabelOf(stored))
  await withNewKey(keys, label, algorithm, async (signer) => {
    const holder = holderOf(profile, signer, former.certificate.subject, subjectOf(former))
    const plan = issuer === undefined ? selfSigned(holder, signer) : { ...holder, authority: issuer }
    const issued = await signRehearsed(rehearse(context, plan))
    const authority = describe(stored, parseCertificate(issued.der), signer)
    const links = issuer === undefined ? await linksBetween(context, former, authority, profile) : []
    await keepAuthority(context, authority, async (tx) => {
      if (issuer !== undefined) await take(tx, [stillIssues(issuer)])
      await retireIn(tx, former)
      await followRekey(context, tx, { from: former, to: authority }, actor)
      await take(tx, stepsToInsert(context, { ...issued, authorityId: issuer?.id ?? authority.id }, { actor }))
      for (const { subject, kind, link } of links) {
        await take(tx, stepsToInsert(context, link, { actor }))
        await keepFurther(tx, context, { authorityId: subject.id, kind, der: link.der })
      }
      await audit.record(tx, {
        actor,
        act: 'ca.rekey',
        object: `authority:${authority.id}`,
        outcome: 'done',
        facts: { ...ceremonyFacts(context, authority, issuer), replaces: former.address },
      })
    })
  })
  forgetEndpoints(db)
  await authorities.refresh()
  return authorities.byId(stored.id)
}

/** @throws TrustError `conflict` when another process was faster */
export async function retireIn(tx: Transaction, { id, address }: Pick<Authority, 'id' | 'address'>): Promise<void> {
  const changed = await tx.query(
    "UPDATE authority SET state = 'retired', version = version + 1 WHERE id = ? AND state = 'active' RETURNING id",
    id,
  )
  if (changed.length === 0) throw new TrustError('conflict', 'authorityRetired', { facts: { authority: address } })
}

interface Link {
  /** The authority whose key is in it. */
  readonly subject: Authority
  readonly kind: 'newWithOld' | 'oldWithNew'
  readonly link: Issued
}

/**
 * RFC 9810, 4.4.1: each key certified by the other. The old key's certificate has the old one's ends; the new key's
 * begins with the key and ends with the old key, whose trust it carries on.
 */
async function linksBetween(context: CAContext, former: Authority, next: Authority, profile: Profile): Promise<readonly Link[]> {
  const end = Math.min(former.certificate.notAfter.getTime(), next.certificate.notAfter.getTime())
  const link = async (issuer: Authority, subject: Authority, notBefore: Date): Promise<Issued> => {
    const plan = {
      ...holderOf(anyKey(profile, subject), subject.signer, subject.certificate.subject, subjectOf(subject)),
      authority: issuer,
      subjectKeyIdentifier: subject.keyIdentifier,
      period: { notBefore: toWholeSeconds(notBefore.getTime()), notAfter: end },
    }
    return signRehearsed(rehearse(context, plan))
  }
  return [
    { subject: next, kind: 'newWithOld', link: await link(former, next, next.certificate.notBefore) },
    { subject: former, kind: 'oldWithNew', link: await link(next, former, former.certificate.notBefore) },
  ]
}

/** A profile may have dropped the old key's algorithm since: the link is about a key that is there. */
const anyKey = (profile: Profile, { keyAlgorithm }: Authority): Profile =>
  profile.keyAlgorithms.includes(keyAlgorithm) ? profile : { ...profile, keyAlgorithms: [...profile.keyAlgorithms, keyAlgorithm] }

/** @throws TrustError `conflict` */
export function activeOne(authorities: Authorities, address: string): Authority {
  const authority = authorities.byAddress(address)
  if (authority.state !== 'active')
    throw new TrustError('conflict', 'authorityRetired', { facts: { authority: authority.address } })
  return authority
}

/** @throws TrustError `conflict` */
export function checkNewest(authorities: Authorities, { slug, address }: Authority): void {
  const newest = authorities.byAddress(slug)
  if (newest.address !== address)
    throw new TrustError('conflict', 'authorityNotNewest', { facts: { authority: address, newest: newest.address } })
}

/** Who signs anew: the issuer's newest generation. @throws TrustError `conflict` when its key is not here, or it issues nothing more */
function issuerForNew(authorities: Authorities, { address, ...authority }: Authority): Authority | undefined {
  const issuer = authorities.issuerOf(authority)
  if (issuer === undefined) return undefined
  if (!('signer' in issuer))
    throw new TrustError('conflict', 'authorityExternal', { facts: { authority: address, issuer: issuer.address } })
  return activeOne(authorities, issuer.slug)
}

const subjectOf = ({ certificate }: Authority): string => formatName(parseName(certificate.subject))

const storedOf = ({
  slug,
  generation,
  profile,
  issuerId,
  state,
  crlShards,
  crlValiditySeconds,
  crlDeltaSeconds,
  id,
}: Authority): Stored => ({
  id,
  slug,
  generation,
  profile,
  issuerId,
  state,
  crlShards,
  crlValiditySeconds,
  crlDeltaSeconds,
})

/** One that never expires goes on so. */
const profileOf = (
  context: CAContext,
  { slug, profile, certificate }: Authority,
  keyAlgorithm: KeyAlgorithmId,
): Promise<Profile> =>
  openAuthorityProfile(context, { slug, profile, keyAlgorithm, noExpiry: certificate.notAfter.getTime() === NO_EXPIRY })
