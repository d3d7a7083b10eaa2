/**
 * What imported lists of trusted authorities revoke, for who believes certificates of others: makers of TPMs, say.
 *
 * The latest list counts, also once it is past its time: what was taken back by then is not given back by waiting. A
 * certificate that no list speaks of is not known to be revoked.
 *
 * @module
 */
import { equal } from '#base/bytes.ts'
import { type Certificate, serialHex } from '#x509/certificate.ts'
import { extensionOfList, parseCertificateList } from '#x509/crl.ts'
import { reasonCode } from '#x509/extensions/crl-extensions.ts'
import type { RevocationPort } from '#x509/path/verify.ts'
import type { Authorities } from './authorities.ts'
import type { CAContext } from './context.ts'
import { latestImportedCRL } from './trusted.ts'

type Revoked = Extract<Awaited<ReturnType<NonNullable<RevocationPort['lookUp']>>>, { readonly state: 'revoked' }>

/** Keeps what it read of each list until a newer one is imported. */
export function importedRevocations(
  context: Pick<CAContext, 'db'>,
  authorities: Pick<Authorities, 'trusted'>,
): Required<Pick<RevocationPort, 'lookUp'>> {
  const read = new Map<string, { readonly crlNumber: string; readonly revoked: ReadonlyMap<string, Revoked> }>()

  async function revokedBy(authority: { readonly id: string; readonly address: string }): Promise<ReadonlyMap<string, Revoked>> {
    const [row] = await context.db.query('SELECT crl_number FROM imported_crl WHERE authority_id = ?', authority.id)
    if (row === undefined) return new Map()
    const known = read.get(authority.id)
    if (known !== undefined && known.crlNumber === row['crl_number']) return known.revoked
    const { der, crlNumber } = await latestImportedCRL(context, authority) // whose signature was checked when it came
    const revoked = new Map<string, Revoked>()
    for (const entry of parseCertificateList(der).entries()) {
      const reason = extensionOfList(entry, reasonCode)?.value ?? 'unspecified'
      revoked.set(entry.serialNumber.toHex(), { state: 'revoked', revokedAt: entry.revokedAt, reason })
    }
    read.set(authority.id, { crlNumber: String(crlNumber), revoked })
    return revoked
  }

  return {
    async lookUp(certificate: Certificate, issuer: Certificate) {
      const authority = authorities.trusted().find(({ certificate: trusted }) => isSameAuthority(trusted, issuer))
      if (authority === undefined) return undefined
      return (await revokedBy(authority)).get(serialHex(certificate))
    },
  }
}

/** One authority may have several certificates for its key. */
const isSameAuthority = (one: Certificate, other: Certificate): boolean =>
  equal(one.subjectPublicKeyInfo, other.subjectPublicKeyInfo) && equal(one.subject, other.subject)
