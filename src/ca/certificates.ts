/**
 * Certificate records: found, and taken out of use.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import type { Reason } from '#base/sentences.ts'
import type { Queries, Row, SqlValue } from '#store/database.ts'
import { publish } from '#store/outbox.ts'
import type { Certificate } from '#x509/certificate.ts'
import type { Authorities } from './authorities.ts'
import { noteCertificateChange } from './authority-record.ts'
import type { CAContext } from './context.ts'
import { lately } from './lately.ts'
import { DEFAULT_ORGANIZATION } from './tables.ts'

/** Decision 12. `expired` is not stored: it follows from the clock. */
export type CertificateState = 'issued-unconfirmed' | 'active' | 'superseded' | 'held' | 'revoked' | 'expired'

/** Reasons that may be given; `certificateHold` and `removeFromCRL` belong to hold and release. RFC 5280, 5.3.1. */
export const revocationReasons = [
  'unspecified',
  'keyCompromise',
  'cACompromise',
  'affiliationChanged',
  'superseded',
  'cessationOfOperation',
  'privilegeWithdrawn',
] as const
export type RevocationReason = (typeof revocationReasons)[number]

export interface CertificateRecord {
  readonly id: string
  readonly authorityId: string
  readonly serialNumber: Uint8Array
  readonly profile: string
  readonly endpointId: string | undefined
  /** RFC 4514 */
  readonly subject: string
  readonly productSerial: string | undefined
  readonly notBefore: Date
  readonly notAfter: Date
  readonly state: CertificateState
  readonly revokedAt: Date | undefined
  readonly revocationReason: RevocationReason | 'certificateHold' | undefined
  readonly der: Uint8Array
  readonly createdAt: Date
}

const recordOf = (row: Row, now: number): CertificateRecord => ({
  id: row['id'] as string,
  authorityId: row['authority_id'] as string,
  serialNumber: row['serial_number'] as Uint8Array,
  profile: row['profile'] as string,
  endpointId: (row['endpoint_id'] as string | null) ?? undefined,
  subject: row['subject'] as string,
  productSerial: (row['product_serial'] as string | null) ?? undefined,
  notBefore: new Date(row['not_before'] as number),
  notAfter: new Date(row['not_after'] as number),
  state: stateOf(row, now),
  revokedAt: row['revoked_at'] === null ? undefined : new Date(row['revoked_at'] as number),
  revocationReason: (row['revocation_reason'] as CertificateRecord['revocationReason'] | null) ?? undefined,
  der: row['der'] as Uint8Array,
  createdAt: new Date(row['created_at'] as number),
})

function stateOf(row: Row, now: number): CertificateState {
  const stored = row['state'] as CertificateState
  return stored !== 'revoked' && (row['not_after'] as number) < now ? 'expired' : stored
}

/** @returns why the certificate cannot be used now, or undefined when it can */
export function isUsable({ state, notBefore }: CertificateRecord, now: number): Reason | undefined {
  if (notBefore.getTime() > now) return 'certificateNotYet'
  switch (state) {
    case 'revoked':
      return 'certificateRevoked'
    case 'held':
      return 'certificateHeld'
    case 'expired':
      return 'certificateExpired'
    case 'active':
    case 'superseded': // a newer one exists, but its holder may not have received it
    case 'issued-unconfirmed':
      return undefined
  }
}

/** @param addresses authorities that count; one issuer name may stand for several generations */
export async function findByIssuerAndSerial(
  { db, world }: Pick<CAContext, 'db' | 'world'>,
  authorities: Authorities,
  certificate: Pick<Certificate, 'issuer' | 'serialNumber'>,
  addresses: readonly string[],
): Promise<CertificateRecord | undefined> {
  for (const authority of authorities.bySubject(certificate.issuer)) {
    if (!addresses.includes(authority.address)) continue
    const [row] = await db.query(
      'SELECT * FROM certificate WHERE serial_number = ? AND authority_id = ?',
      certificate.serialNumber,
      authority.id,
    )
    if (row !== undefined) return recordOf(row, world.clock.now())
  }
  return undefined
}

/**
 * The record of a certificate that a peer shows with each of its requests: as it was a moment ago, so that whoever acts
 * on it looks at its state again in the act's own transaction. The record's bytes are compared, so that nothing depends
 * on which chain the peer sent.
 *
 * @throws TrustError `unauthenticated` when there is no such record
 */
export const findShown = (
  context: Pick<CAContext, 'db' | 'world'>,
  authorities: Authorities,
  { certificate, fingerprint }: { readonly certificate: Certificate; readonly fingerprint: string },
  addresses: readonly string[],
): Promise<CertificateRecord> =>
  shownLately.get(context, `${fingerprint} ${addresses.join(' ')}`, async () => {
    const record = await findByIssuerAndSerial(context, authorities, certificate, addresses)
    if (record === undefined || Buffer.compare(record.der, certificate.der) !== 0)
      throw new TrustError('unauthenticated', 'certificateUnknown')
    return record
  })

const shownLately = lately<CertificateRecord>()

/** @throws TrustError `notFound` */
export async function openCertificate({ db, world }: Pick<CAContext, 'db' | 'world'>, id: string): Promise<CertificateRecord> {
  const [row] = await db.query('SELECT * FROM certificate WHERE id = ? AND organization_id = ?', id, DEFAULT_ORGANIZATION)
  if (row === undefined) throw new TrustError('notFound', 'certificateNotFound', { facts: { certificate: id } })
  return recordOf(row, world.clock.now())
}

export interface CertificateFilter {
  /** Hex. */
  readonly serialNumber?: string
  readonly productSerial?: string
  /** A piece of the subject's text. */
  readonly subject?: string
  readonly authorityId?: string
  readonly profile?: string
  readonly state?: Exclude<CertificateState, 'expired'>
}

export interface Page {
  readonly limit: number
  /** Id of the last record of the page before. */
  readonly after?: string
}

/** Newest first. */
export async function findCertificates(
  { db, world }: Pick<CAContext, 'db' | 'world'>,
  filter: CertificateFilter,
  { limit, after }: Page,
): Promise<readonly CertificateRecord[]> {
  const wanted: [clause: string, value: SqlValue | undefined][] = [
    ['serial_number = ?', filter.serialNumber === undefined ? undefined : octetsOf(filter.serialNumber)],
    ['product_serial = ?', filter.productSerial],
    ["subject LIKE ? ESCAPE '\\'", filter.subject === undefined ? undefined : `%${filter.subject.replace(/[\\%_]/g, '\\$&')}%`],
    ['authority_id = ?', filter.authorityId],
    ['profile = ?', filter.profile],
    ['state = ?', filter.state],
    ['id < ?', after],
  ]
  const given = wanted.filter((one): one is [string, SqlValue] => one[1] !== undefined)
  const where = ['organization_id = ?', ...given.map(([clause]) => clause)].join(' AND ')
  const rows = await db.query(
    `SELECT * FROM certificate WHERE ${where} ORDER BY id DESC LIMIT ?`,
    DEFAULT_ORGANIZATION,
    ...given.map(([, value]) => value),
    limit,
  )
  return rows.map((row) => recordOf(row, world.clock.now()))
}

function octetsOf(hex: string): Uint8Array {
  try {
    return Uint8Array.fromHex(hex.replaceAll(':', ''))
  } catch (cause) {
    throw new TrustError('malformed', 'serialNumberText', { cause })
  }
}

/** Counts by state, for the status page; of a million certificates without reading one. */
export async function countCertificates({ db }: { readonly db: Queries }): Promise<Readonly<Record<string, number>>> {
  const [all] = await db.query(COUNT_ALL)
  const others = await db.query(COUNT_OTHERS, DEFAULT_ORGANIZATION)
  const counts = others.map((row): [string, number] => [row['state'] as string, row['number'] as number])
  const active = (all?.['number'] as number) - counts.reduce((sum, [, number]) => sum + number, 0)
  return Object.fromEntries(active > 0 ? [['active', active], ...counts] : counts)
}

/** While there is one organization, a condition would only keep the smallest index from being counted. */
export const COUNT_ALL = 'SELECT COUNT(*) AS number FROM certificate'
export const COUNT_OTHERS =
  "SELECT state, COUNT(*) AS number FROM certificate WHERE organization_id = ? AND state <> 'active' GROUP BY state"

/** For good. @throws TrustError `notFound`, `conflict` when it is revoked already */
export const revokeCertificate = (context: CAContext, id: string, reason: RevocationReason, actor: string): Promise<void> =>
  change(context, id, actor, {
    act: 'certificate.revoke',
    from: ['active', 'superseded', 'issued-unconfirmed', 'held'],
    to: 'revoked',
    reason,
    otherwise: 'certificateRevoked',
  })

/** Until an officer decides. @throws TrustError `notFound`, `conflict` */
export const holdCertificate = (context: CAContext, id: string, actor: string): Promise<void> =>
  change(context, id, actor, {
    act: 'certificate.hold',
    from: ['active', 'superseded', 'issued-unconfirmed'],
    to: 'held',
    reason: 'certificateHold',
    otherwise: 'certificateNotHoldable',
  })

/** @throws TrustError `notFound`, `conflict` when it is not held */
export const releaseCertificate = (context: CAContext, id: string, actor: string): Promise<void> =>
  change(context, id, actor, {
    act: 'certificate.release',
    from: ['held'],
    to: 'active',
    reason: null,
    otherwise: 'certificateNotHeld',
  })

interface Change {
  readonly act: string
  readonly from: readonly CertificateState[]
  readonly to: CertificateState
  readonly reason: RevocationReason | 'certificateHold' | null
  readonly otherwise: Reason
}

/** RFC 5280, 5.3.1: a certificate that goes from hold to revoked keeps the time of the hold, from which it was not trusted. */
async function change(
  { db, audit, world }: CAContext,
  id: string,
  actor: string,
  { act, from, to, reason, otherwise }: Change,
): Promise<void> {
  const now = world.clock.now()
  await db.transaction(async (tx) => {
    const [row] = await tx.query(
      'SELECT state, authority_id, serial_number FROM certificate WHERE id = ? AND organization_id = ?',
      id,
      DEFAULT_ORGANIZATION,
    )
    if (row === undefined) throw new TrustError('notFound', 'certificateNotFound', { facts: { certificate: id } })
    if (!from.includes(row['state'] as CertificateState)) throw new TrustError('conflict', otherwise)
    const changed = await tx.query(
      `UPDATE certificate SET state = ?, changed_at = ?, revocation_reason = ?, revoked_at = ${to === 'active' ? 'NULL' : 'COALESCE(revoked_at, ?)'}, version = version + 1
        WHERE id = ? AND state = ? RETURNING id`,
      ...[to, now, reason, ...(to === 'active' ? [] : [now]), id, row['state'] as string],
    )
    if (changed.length === 0) throw new TrustError('conflict', otherwise) // another process was faster
    await noteCertificateChange(tx, id)
    world.faults.reach('certificate state changed')
    const serialNumber = (row['serial_number'] as Uint8Array).toHex()
    await publish(tx, world, {
      topic: act,
      organization: DEFAULT_ORGANIZATION,
      payload: { certificate: id, authority: row['authority_id'] as string, serialNumber },
    })
    await audit.record(tx, {
      actor,
      act,
      object: `certificate:${id}`,
      outcome: 'done',
      facts: { serialNumber, ...(reason !== null && { reason }) },
    })
  })
  shownLately.forget(db)
}
