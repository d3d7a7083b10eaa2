/**
 * Certificates between authorities: ours for another's key, and others' for ours.
 *
 * What an offline root signs for an authority on a connected machine is one of these too.
 *
 * Source: RFC 5280, 3.2 and 4.2.1.9 and 4.2.1.10; RFC 9810, 4.6 (cross-certification).
 *
 * @module
 */
import { importPublicKey, type PublicKey } from '#algorithms/public-key.ts'
import { equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { toWholeSeconds } from '#base/world.ts'
import { take } from '#store/batch.ts'
import { extensionOf, fingerprint, parseCertificate } from '#x509/certificate.ts'
import { parseCertificationRequest } from '#x509/certification-request.ts'
import { readExtension } from '#x509/extensions/extension.ts'
import { subjectKeyIdentifier } from '#x509/extensions/subject-key-identifier.ts'
import { equalNames, formatName, parseName } from '#x509/name.ts'
import type { Authorities, Authority } from './authorities.ts'
import { keepFurther, noteChange } from './authority-record.ts'
import type { CAContext } from './context.ts'
import { checkAuthorityCertificate, refused, trustedIssuerOf } from './foreign-certificate.ts'
import { type Issued, rehearse, signRehearsed, stepsToInsert, stillIssues } from './issue.ts'
import type { NameConstraintRules, Profile } from './profile.ts'
import { openProfile } from './profiles.ts'
import { provenKey } from './proof.ts'
import { activeOne } from './rotate.ts'

export interface CrossSignature {
  /** Address of the authority of ours that signs. */
  readonly authority: string
  /** DER: a request of the other authority, or its certificate. */
  readonly of: { readonly request: Uint8Array } | { readonly certificate: Uint8Array }
  /** Of an authority; `issuing` unless told. */
  readonly profile?: string
  /** How many authorities may stand below the other; the profile's unless told. */
  readonly pathLength?: number
  readonly nameConstraints?: NameConstraintRules
  /** `none`: never expires. The profile's unless told. */
  readonly validity?: { readonly days: number } | { readonly noExpiry: true }
}

/** @throws TrustError `policyRefused`, `badProof`, `conflict` */
export async function crossSign(
  context: CAContext,
  authorities: Authorities,
  wanted: CrossSignature,
  actor: string,
): Promise<Issued> {
  const { db, audit } = context
  const authority = activeOne(authorities, wanted.authority)
  const base = await openProfile(context, wanted.profile ?? 'issuing')
  if (base.holder !== 'authority')
    throw new TrustError('policyRefused', 'profileNotForAuthorities', { facts: { profile: base.id } })
  const other = await read(context, wanted.of)
  // as relying parties compare names: whoever has the name may speak of what is revoked (RFC 5280, 6.3.3 (b))
  const ours = [...authorities.list(), ...authorities.trusted().filter(({ kind }) => kind === 'offline')]
  if (ours.some(({ certificate }) => equalNames(certificate.subject, other.subject)))
    throw refused('its name is that of an authority here, which gets its certificates by rotation')
  const profile: Profile = {
    ...base,
    withoutOCSP: true, // who signs for others may be an offline root, and CRLs of authorities are short
    keyAlgorithms: [other.publicKey.algorithm],
    ...(wanted.pathLength !== undefined && { pathLenConstraint: wanted.pathLength }),
    ...(wanted.nameConstraints !== undefined && { nameConstraints: wanted.nameConstraints }),
    ...(wanted.validity !== undefined && { validity: wanted.validity }),
  }
  const subjectText = formatName(parseName(other.subject))
  const { publicKey, subject, identifier } = other
  const plan = {
    authority,
    profile,
    publicKey,
    subject,
    subjectText,
    productSerial: undefined,
    subjectAltName: undefined,
    ...(identifier !== undefined && { subjectKeyIdentifier: identifier }),
    ...(other.until !== undefined && { period: withinLife(context, profile, authority, other.until) }),
  }
  const issued = await signRehearsed(rehearse(context, plan))
  await db.transaction(async (tx) => {
    await take(tx, [stillIssues(authority), ...stepsToInsert(context, issued, { actor })])
    await audit.record(tx, {
      actor,
      act: 'ca.cross-sign',
      object: `authority:${authority.id}`,
      outcome: 'done',
      facts: {
        certificate: issued.id,
        subject: subjectText,
        keyFingerprint: fingerprint(publicKey.spki).toHex(),
        certificateFingerprint: fingerprint(issued.der).toHex(),
        notAfter: new Date(issued.notAfter).toISOString(),
        ...(profile.pathLenConstraint !== undefined && { pathLength: profile.pathLenConstraint }),
      },
    })
  })
  return issued
}

interface Other {
  readonly subject: Uint8Array
  readonly publicKey: PublicKey
  /** What its own certificates name it by. */
  readonly identifier: Uint8Array | undefined
  /** The end of its own certificate. */
  readonly until: number | undefined
}

async function read(context: CAContext, of: CrossSignature['of']): Promise<Other> {
  if ('request' in of) {
    const request = parseCertificationRequest(of.request)
    const publicKey = await provenKey(context, request)
    const identifier = readExtension(request.requestedExtensions, subjectKeyIdentifier)?.value
    return { subject: request.subject, publicKey, identifier, until: undefined }
  }
  const certificate = parseCertificate(of.certificate)
  checkAuthorityCertificate(certificate, context.world.clock.now())
  return {
    subject: certificate.subject,
    publicKey: importPublicKey(certificate.subjectPublicKeyInfo),
    identifier: extensionOf(certificate, subjectKeyIdentifier)?.value,
    until: certificate.notAfter.getTime(),
  }
}

const DAY_MILLISECONDS = 86_400_000

/** Nobody vouches for an authority for longer than it does itself, or than its own certificate lasts. */
function withinLife(
  { world, settings }: CAContext,
  { validity }: Profile,
  { certificate }: Authority,
  until: number,
): { readonly notBefore: number; readonly notAfter: number } {
  const now = world.clock.now()
  const wanted = 'days' in validity ? now + validity.days * DAY_MILLISECONDS : Number.POSITIVE_INFINITY
  return {
    notBefore: toWholeSeconds(now - settings.backdateSeconds * 1000),
    notAfter: toWholeSeconds(Math.min(wanted, until, certificate.notAfter.getTime())),
  }
}

/**
 * Takes a certificate that another authority issued for one of ours: it is offered with the chain from now on.
 *
 * @param der its issuer was imported before, as trusted
 * @returns the authority of ours that it is for
 */
export async function importCrossCertificate(
  context: CAContext,
  authorities: Authorities,
  der: Uint8Array,
  actor: string,
): Promise<Authority> {
  const { db, audit, world } = context
  const certificate = parseCertificate(der)
  const now = world.clock.now()
  const authority = authorities
    .list()
    .find(
      (one) =>
        equal(one.certificate.subjectPublicKeyInfo, certificate.subjectPublicKeyInfo) &&
        equalNames(one.certificate.subject, certificate.subject),
    )
  if (authority === undefined) throw refused('its key and name are not those of an authority here')
  checkAuthorityCertificate(certificate, now)
  const issuer = await trustedIssuerOf(context, authorities, certificate, now)
  const known = [authority.certificate, ...authorities.further(authority).map((one) => one.certificate)]
  if (known.some((one) => equal(one.der, der)))
    throw new TrustError('conflict', 'authorityKnown', { facts: { authority: authority.address } })
  await db.transaction(async (tx) => {
    await noteChange(tx)
    await keepFurther(tx, context, { authorityId: authority.id, kind: 'cross', der })
    await audit.record(tx, {
      actor,
      act: 'ca.import-cross',
      object: `authority:${authority.id}`,
      outcome: 'done',
      facts: {
        address: authority.address,
        issuer: issuer.address,
        certificateFingerprint: fingerprint(der).toHex(),
        notAfter: certificate.notAfter.toISOString(),
      },
    })
  })
  await authorities.refresh()
  return authorities.byId(authority.id)
}
