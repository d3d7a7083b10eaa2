/**
 * Is a certificate good, as this installation sees it: its own roots and those that it trusts are the anchors, and its
 * own records say what is revoked.
 *
 * @module
 */
import { equal } from '#base/bytes.ts'
import type { Certificate } from '#x509/certificate.ts'
import type { Status } from '#x509/path/revocation-lists.ts'
import { type Verdict, type VerifyInput, verifyCertificate } from '#x509/path/verify.ts'
import type { Authorities, Authority, TrustedAuthority } from './authorities.ts'
import type { CAContext } from './context.ts'

export type VerificationInput = Omit<VerifyInput, 'anchors' | 'revocation'> & {
  /** Lists of others, DER. */
  readonly lists?: readonly Uint8Array[]
  /** DER OCSPResponses of others. */
  readonly answers?: readonly Uint8Array[]
  /** Also for certificates of others. Those that were issued here are always looked up. */
  readonly requireRevocation?: boolean
}

/** Roots of ours that are not revoked, and what was imported for trust. */
export const anchorsOf = (authorities: Authorities): readonly Certificate[] => [
  ...authorities
    .list()
    .filter(({ issuerId, state }) => issuerId === undefined && state !== 'revoked')
    .map(({ certificate }) => certificate),
  ...authorities.trusted().flatMap(({ issuerId, certificate }) => (issuerId === undefined ? [certificate] : [])),
]

/** What may stand between an anchor and a certificate. */
export const intermediatesOf = (authorities: Authorities): readonly Certificate[] => [
  ...authorities
    .list()
    .flatMap((authority) => [
      ...(authority.issuerId === undefined ? [] : [authority.certificate]),
      ...authorities.further(authority).map(({ certificate }) => certificate),
    ]),
  ...authorities.trusted().flatMap(({ issuerId, certificate }) => (issuerId === undefined ? [] : [certificate])),
]

export async function verifyHere(
  context: Pick<CAContext, 'db'> & Partial<Pick<CAContext, 'policy'>>,
  authorities: Authorities,
  { lists = [], answers = [], requireRevocation = false, ...input }: VerificationInput,
): Promise<Verdict> {
  await authorities.refresh() // what another process revoked counts here at once
  return verifyCertificate({
    ...input,
    ...(context.policy !== undefined && { policy: context.policy }),
    anchors: anchorsOf(authorities),
    intermediates: [...(input.intermediates ?? []), ...intermediatesOf(authorities)],
    revocation: {
      demand: requireRevocation ? 'required' : 'known',
      lists: [...lists, ...(await importedLists(context, authorities.trusted()))],
      answers,
      port: { lookUp: (certificate, issuer) => recordedStatus(context, authorities, certificate, issuer) },
    },
  })
}

/** Of one whose key is not here nobody but its list knows what it revoked. */
export async function importedLists(
  { db }: Pick<CAContext, 'db'>,
  trusted: readonly Pick<TrustedAuthority, 'id'>[],
): Promise<readonly Uint8Array[]> {
  const lists: Uint8Array[] = []
  for (const { id } of trusted) {
    const [row] = await db.query('SELECT der FROM imported_crl WHERE authority_id = ?', id)
    if (row !== undefined) lists.push(row['der'] as Uint8Array)
  }
  return lists
}

/** What the record of a certificate says. One that we should have issued and did not is forged, whatever its signature. */
async function recordedStatus(
  { db }: Pick<CAContext, 'db'>,
  authorities: Authorities,
  certificate: Certificate,
  issuer: Certificate,
): Promise<Status | undefined> {
  const issuedHere = (one: Authority): boolean => equal(one.certificate.subjectPublicKeyInfo, issuer.subjectPublicKeyInfo)
  const authority = authorities.bySubject(issuer.subject).find(issuedHere)
  if (authority === undefined) return undefined
  const sql = 'SELECT der, revoked_at, revocation_reason FROM certificate WHERE serial_number = ? AND authority_id = ?'
  const [row] = await db.query(sql, certificate.serialNumber, authority.id)
  if (row === undefined && isOwn(authorities, certificate)) return { state: 'good' }
  if (row === undefined || !equal(row['der'] as Uint8Array, certificate.der))
    return { state: 'unknown', detail: 'it is not in the records of its issuer, which is here', isFinal: true }
  if (row['revoked_at'] === null) return { state: 'good' }
  const reason = row['revocation_reason'] as Extract<Status, { state: 'revoked' }>['reason'] | null
  return { state: 'revoked', revokedAt: new Date(row['revoked_at'] as number), reason: reason ?? 'unspecified' }
}

/** Links between generations and cross certificates are kept with their authorities, not among the certificates. */
const isOwn = (authorities: Authorities, { der }: Certificate): boolean =>
  authorities.list().some((authority) => authorities.further(authority).some(({ certificate }) => equal(certificate.der, der)))
