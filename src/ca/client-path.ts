/**
 * Whether the issuer of a client certificate may still be trusted: all the way up, and now.
 *
 * Own issuers are validated once and the result kept for a short time; what changes at once, that one of the
 * authorities above was revoked or has ended, is looked at with every request. Certificates of others are validated
 * each time, since a request of theirs is rare and nothing of ours records their state.
 *
 * @module
 */
import { hash } from 'node:crypto'
import { TrustError } from '#base/errors.ts'
import type { Certificate } from '#x509/certificate.ts'
import { sentenceOf } from '#x509/path/reasons.ts'
import { type Verdict, verifyCertificate } from '#x509/path/verify.ts'
import type { Authorities, Authority, TrustedAuthority } from './authorities.ts'
import type { CAContext } from './context.ts'
import { importedLists, intermediatesOf, verifyHere } from './verification.ts'

/** How long a validation of one of our own issuers holds; revocation and end count at once all the same. */
export const ISSUER_PATH_MILLISECONDS = 60_000

/** Stations of others, with their chains of a few kB: more than an installation lists. */
const SHOWN_MAX = 256

export interface ClientPaths {
  /** @throws TrustError `forbidden` when the issuer, or an authority above it, is revoked, has ended, or is not trusted */
  checkIssuer(issuer: Authority | TrustedAuthority): Promise<void>
  /**
   * The trusted authority, of those listed, that vouches for a certificate of another.
   *
   * @param chain what the peer showed, its own first; DER @param addresses of the trusted authorities that count
   * @returns undefined when none of those listed is trusted only
   * @throws TrustError `forbidden` when none of them vouches for it, or the one that does is itself no longer vouched for
   */
  foreignIssuer(chain: readonly Uint8Array[], addresses: readonly string[]): Promise<TrustedAuthority | undefined>
}

export function clientPaths(context: Pick<CAContext, 'db' | 'world' | 'policy'>, authorities: Authorities): ClientPaths {
  const { clock } = context.world
  /** An authority that was changed is another object, so that nothing of before holds for it. */
  const validated = new WeakMap<Certificate, { readonly at: number; readonly verdict: Promise<Verdict> }>()

  /** By the certificate of its holder, what came with it: a TLS session that goes on brings the holder's own alone. */
  const shownBefore = new Map<string, readonly Uint8Array[]>()

  function validate(issuer: Authority | TrustedAuthority): Promise<Verdict> {
    const now = clock.now()
    const known = validated.get(issuer.certificate)
    if (known !== undefined && Math.abs(now - known.at) < ISSUER_PATH_MILLISECONDS) return known.verdict
    // one of ours without the policy of algorithms: devices come here to leave an old algorithm behind
    const own = 'signer' in issuer
    const verdict = verifyHere(own ? { db: context.db } : context, authorities, {
      certificate: issuer.certificate,
      at: new Date(now),
    })
    validated.set(issuer.certificate, { at: now, verdict })
    // what could not be found out is asked again, and so is what was refused: it may have been mended
    const forget = (): void => void validated.delete(issuer.certificate)
    verdict.then(({ valid }) => (valid ? undefined : forget()), forget)
    return verdict
  }

  function checkNow(issuer: Authority | TrustedAuthority): void {
    const now = clock.now()
    for (let at: Authority | TrustedAuthority | undefined = issuer; at !== undefined; at = authorities.issuerOf(at)) {
      const facts = { issuer: at.address }
      if (at.state === 'revoked') throw new TrustError('forbidden', 'issuerRevoked', { facts })
      if ('kind' in at && at.state === 'retired') throw new TrustError('forbidden', 'issuerNoLongerTrusted', { facts })
      if (at.certificate.notAfter.getTime() < now) throw new TrustError('forbidden', 'issuerExpired', { facts })
    }
  }

  async function checkIssuer(issuer: Authority | TrustedAuthority): Promise<void> {
    checkNow(issuer)
    const verdict = await validate(issuer)
    if (!verdict.valid) {
      const facts = { issuer: issuer.address, detail: sentenceOf(verdict.failure) }
      throw new TrustError('forbidden', 'issuerPath', { facts })
    }
  }

  return {
    checkIssuer,
    async foreignIssuer([own = new Uint8Array(0), ...brought], addresses) {
      const holder = hash('sha256', own, 'base64')
      const shown = brought.length > 0 ? brought : (shownBefore.get(holder) ?? [])
      const listed = authorities.trusted().filter(({ address }) => addresses.includes(address))
      let refusal: string | undefined
      for (const issuer of listed) {
        const lists = await importedLists(context, [issuer])
        const verdict = await verifyCertificate({
          certificate: own,
          intermediates: [...shown, ...intermediatesOf(authorities)],
          anchors: [issuer.certificate],
          at: new Date(clock.now()),
          purpose: 'tls-client',
          policy: context.policy,
          // who imports the lists of an authority keeps them current, and relies on them
          revocation: { demand: lists.length > 0 ? 'required' : 'known', lists },
        })
        if (verdict.valid) {
          // the path ended here; one below a root is trusted because of what is above it
          await checkIssuer(issuer)
          if (shownBefore.size >= SHOWN_MAX) shownBefore.clear()
          shownBefore.set(holder, shown)
          return issuer
        }
        if (verdict.failure.reason !== 'pathIssuerMissing') refusal = sentenceOf(verdict.failure)
      }
      if (refusal !== undefined) throw new TrustError('forbidden', 'clientPath', { facts: { detail: refusal } })
      return undefined
    },
  }
}
