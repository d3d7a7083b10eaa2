/**
 * Key ceremony records: what was made when an authority came to be, by whom, and where its key lies.
 *
 * A record is the audit entry of the act itself, so that it is in the log with its proof, and there is no second copy
 * that could say something else. People print it and sign it.
 *
 * @module
 */
import { listAuditEntries } from '#audit/log.ts'
import type { Facts } from '#base/errors.ts'
import { keyStoreOf } from '#keys/key-ring.ts'
import { fingerprint, serialHex } from '#x509/certificate.ts'
import { formatName, parseName } from '#x509/name.ts'
import type { Authority, TrustedAuthority } from './authorities.ts'
import type { CAContext } from './context.ts'
import { DEFAULT_ORGANIZATION } from './tables.ts'

/** @param issuer undefined when it signed itself */
export const ceremonyFacts = (
  { keys, settings }: Pick<CAContext, 'keys' | 'settings'>,
  { address, profile, keyAlgorithm, keyLabel, certificate }: Authority,
  issuer: Authority | TrustedAuthority | undefined,
): Facts => ({
  address,
  profile,
  keyAlgorithm,
  keyStore: keyStoreOf(keyLabel) ?? keys.id,
  keyLabel,
  subject: formatName(parseName(certificate.subject)),
  serialNumber: serialHex(certificate),
  issuer: issuer?.address ?? 'itself',
  issuerName: formatName(parseName(certificate.issuer)),
  notBefore: certificate.notBefore.toISOString(),
  notAfter: certificate.notAfter.toISOString(),
  certificateFingerprint: fingerprint(certificate.der).toHex(),
  keyFingerprint: fingerprint(certificate.subjectPublicKeyInfo).toHex(),
  programVersion: settings.programVersion,
})

export interface Ceremony {
  /** Id of the audit entry that this is. */
  readonly entryId: string
  readonly logIndex: number | undefined
  readonly act: string
  readonly at: Date
  readonly actor: string
  readonly facts: Facts
}

/** Acts that make, replace, or end a key or a certificate of an authority. */
const CEREMONIES = ['ca.create', 'ca.request', 'ca.import', 'ca.renew', 'ca.rekey', 'ca.retire', 'ca.destroy-key'] as const

/** Far more than one authority has in its life. */
const CEREMONIES_MAX = 100

/** Oldest first. @param authorityId of an authority, a request for one, or a trusted one */
export async function ceremoniesOf({ db }: Pick<CAContext, 'db'>, authorityId: string): Promise<readonly Ceremony[]> {
  const found: Ceremony[] = []
  for (const act of CEREMONIES) {
    const filter = { object: `authority:${authorityId}`, act, outcome: 'done' } as const
    const { entries } = await listAuditEntries(db, {
      organizationId: DEFAULT_ORGANIZATION,
      filter,
      cursor: undefined,
      limit: CEREMONIES_MAX,
    })
    found.push(...entries.map(({ id, logIndex, at, actor, facts }) => ({ entryId: id, logIndex, act, at, actor, facts })))
  }
  return found.toSorted((a, b) => (a.entryId < b.entryId ? -1 : 1))
}
