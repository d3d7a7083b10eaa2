/**
 * A certificate of an authority that was made elsewhere: what it must be before anything here relies on it.
 *
 * Source: RFC 5280, 6.1.3 and 6.1.4, for one certificate and those above it.
 *
 * @module
 */
import { identifySignature, type PublicKey } from '#algorithms/public-key.ts'
import { TrustError } from '#base/errors.ts'
import { type Certificate, extensionOf, verifyCertificateSignature } from '#x509/certificate.ts'
import { basicConstraints } from '#x509/extensions/basic-constraints.ts'
import { knownExtension } from '#x509/extensions/registry.ts'
import { keyUsage } from '#x509/extensions/key-usage.ts'
import { equalNames } from '#x509/name.ts'
import type { Authorities, TrustedAuthority } from './authorities.ts'
import type { CAContext } from './context.ts'

/** @throws TrustError `policyRefused` naming what is wrong */
export function checkAuthorityCertificate(certificate: Certificate, now: number): void {
  const constraints = extensionOf(certificate, basicConstraints)
  if (constraints?.value.cA !== true) throw refused('it is not for an authority (basicConstraints)')
  const usage = extensionOf(certificate, keyUsage)?.value
  if (usage !== undefined && !usage.includes('keyCertSign')) throw refused('its key usage does not include keyCertSign')
  if (certificate.notAfter.getTime() < now) throw refused(`it ended on ${certificate.notAfter.toISOString()}`)
  const unknown = certificate.extensions.find(({ critical, extnID }) => critical && knownExtension(extnID) === undefined)
  if (unknown !== undefined) throw refused(`its critical extension ${unknown.extnID} is not known here`)
}

/** Whether this key, under this name, signed it. A key of another family, or a signature algorithm not known here, signed nothing. */
export async function isSignedBy(
  certificate: Certificate,
  issuer: { readonly certificate: Pick<Certificate, 'subject'>; readonly publicKey: PublicKey },
): Promise<boolean> {
  return (
    equalNames(certificate.issuer, issuer.certificate.subject) &&
    (await verifyCertificateSignature(certificate, issuer.publicKey))
  )
}

/**
 * The trusted authority that issued it, with a path that its depth allows up to the root.
 *
 * @throws TrustError `policyRefused` when none did, or by an algorithm that is refused
 */
export async function trustedIssuerOf(
  { policy }: Pick<CAContext, 'policy'>,
  authorities: Authorities,
  certificate: Certificate,
  now: number,
): Promise<TrustedAuthority> {
  for (const issuer of authorities.trusted()) {
    if (!(await isSignedBy(certificate, issuer))) continue
    policy.check(identifySignature(certificate.signatureAlgorithm), now)
    policy.check(issuer.publicKey.algorithm, now)
    checkPathAbove(authorities, issuer, now)
    return issuer
  }
  throw refused('no trusted authority here issued it: import its issuer first, the root before those below')
}

/** RFC 5280, 6.1.4 (k) to (m): each above may have as many authorities below it as there are. */
function checkPathAbove(authorities: Authorities, issuer: TrustedAuthority, now: number): void {
  let below = 1
  for (
    let at: TrustedAuthority | undefined = issuer;
    at !== undefined;
    at = authorities.issuerOf(at) as TrustedAuthority | undefined
  ) {
    const { certificate, address } = at
    const limit = extensionOf(certificate, basicConstraints)?.value.pathLenConstraint
    if (limit !== undefined && limit < below) throw refused(`${address} above it allows ${limit} authorities below itself`)
    if (certificate.notAfter.getTime() < now) throw refused(`${address} above it has ended`)
    if (!equalNames(certificate.subject, certificate.issuer)) below++ // self-issued ones do not count
  }
}

export const refused = (finding: string): TrustError =>
  new TrustError('policyRefused', 'foreignCertificate', { facts: { finding } })
