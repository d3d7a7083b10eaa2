/**
 * A database that was restored from a backup: what it cannot know, and how it learns it.
 *
 * Certificates that were issued after the backup exist and are unknown here, and revocations since are forgotten. So a
 * restored authority issues nothing until the journals written since were read, or a person has said in writing that
 * there are none. CRLs and OCSP answers go on meanwhile: an old answer is better than none.
 *
 * Serial numbers cannot repeat all the same: they begin with the time and end with chance (`issue.ts`).
 *
 * @module
 */
import { uuidv7, type World } from '#base/world.ts'
import type { Queries, Row, SqlValue, Transaction } from '#store/database.ts'
import { noteCertificateChange } from './authority-record.ts'
import { DEFAULT_ORGANIZATION } from './tables.ts'

export interface Restoration {
  /** Nothing is issued while it is `closed`. */
  readonly state: 'closed' | 'open'
  readonly backupId: string
  readonly backupAt: number
  readonly restoredAt: number
}

/** @returns undefined for a database that was never restored */
export async function readRestoration(db: Queries): Promise<Restoration | undefined> {
  const [row] = await db.query(
    'SELECT state, backup_id, backup_at, restored_at FROM restoration WHERE organization_id = ?',
    DEFAULT_ORGANIZATION,
  )
  if (row === undefined) return undefined
  return {
    state: row['state'] === 'open' ? 'open' : 'closed',
    backupId: row['backup_id'] as string,
    backupAt: row['backup_at'] as number,
    restoredAt: row['restored_at'] as number,
  }
}

/** Part of the restore itself. A backup may hold the row of an earlier one. */
export async function closeIssuance(
  tx: Transaction,
  { clock }: Pick<World, 'clock'>,
  backup: { readonly id: string; readonly createdAt: number },
): Promise<void> {
  await tx.query('DELETE FROM restoration WHERE organization_id = ?', DEFAULT_ORGANIZATION)
  await tx.query(
    `INSERT INTO restoration (organization_id, version, state, backup_id, backup_at, restored_at, opened_at)
      VALUES (?, 1, 'closed', ?, ?, ?, NULL)`,
    ...[DEFAULT_ORGANIZATION, backup.id, backup.createdAt, clock.now()],
  )
}

/** Servers that run read it at their next start. @returns whether it was closed */
export async function openIssuance(tx: Transaction, { clock }: Pick<World, 'clock'>): Promise<boolean> {
  const opened = await tx.query(
    `UPDATE restoration SET state = 'open', opened_at = ?, version = version + 1
      WHERE organization_id = ? AND state = 'closed' RETURNING organization_id`,
    ...[clock.now(), DEFAULT_ORGANIZATION],
  )
  return opened.length > 0
}

/** More lists than an authority issues in any second, also by hand. */
const CRL_NUMBERS_PER_SECOND = 10

/**
 * The first list after a restore skips all numbers that can have been given since the backup: a lower number would be
 * taken for an older list.
 *
 * @param lastMadeAt when the last list that is known was made
 */
export async function crlNumbersSkipped(db: Queries, lastMadeAt: number): Promise<number> {
  const restoration = await readRestoration(db)
  // a list made in the very second of the backup may have been the first of several
  if (restoration === undefined || lastMadeAt > restoration.restoredAt) return 0
  const seconds = Math.ceil(Math.max(0, restoration.restoredAt - restoration.backupAt) / 1000) + 1
  return seconds * CRL_NUMBERS_PER_SECOND
}

/** A certificate as a journal keeps it: its row as issued, and what binds its key. Octets are hex. */
export interface JournaledCertificate {
  readonly id: string
  readonly authorityId: string
  readonly serialNumber: string
  readonly profile: string
  readonly endpointId: string | null
  readonly subject: string
  readonly productSerial: string | null
  readonly keyHash: string
  readonly notBefore: number
  readonly notAfter: number
  readonly crlShard: number
  /** Base64. */
  readonly der: string
  readonly createdAt: number
  /** Null where the key is bound to no product. */
  readonly isBirth: number | null
}

/** @param ids at most a thousand or so */
export async function certificatesForJournal(db: Queries, ids: readonly string[]): Promise<readonly JournaledCertificate[]> {
  if (ids.length === 0) return []
  const rows = await db.query(
    `SELECT c.*, k.is_birth AS is_birth FROM certificate c
      LEFT JOIN key_binding k ON k.organization_id = c.organization_id AND k.key_hash = c.key_hash AND c.product_serial IS NOT NULL
      WHERE c.id IN (${ids.map(() => '?').join(', ')})`,
    ...ids,
  )
  return rows.map(journaled)
}

const journaled = (row: Row): JournaledCertificate => ({
  id: row['id'] as string,
  authorityId: row['authority_id'] as string,
  serialNumber: (row['serial_number'] as Uint8Array).toHex(),
  profile: row['profile'] as string,
  endpointId: row['endpoint_id'] as string | null,
  subject: row['subject'] as string,
  productSerial: row['product_serial'] as string | null,
  keyHash: (row['key_hash'] as Uint8Array).toHex(),
  notBefore: row['not_before'] as number,
  notAfter: row['not_after'] as number,
  crlShard: row['crl_shard'] as number,
  der: (row['der'] as Uint8Array).toBase64(),
  createdAt: row['created_at'] as number,
  isBirth: row['is_birth'] as number | null,
})

/** What was issued after the backup is known again; what is known already stays as it is. @returns how many were not known */
export async function replayCertificates(
  tx: Transaction,
  world: Pick<World, 'clock' | 'random'>,
  certificates: readonly JournaledCertificate[],
): Promise<number> {
  let added = 0
  for (const one of certificates) {
    const inserted = await tx.query(
      `INSERT INTO certificate (id, organization_id, version, authority_id, serial_number, profile, endpoint_id, subject, product_serial,
        key_hash, not_before, not_after, state, revoked_at, revocation_reason, crl_shard, der, created_at)
        VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'active', NULL, NULL, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING id`,
      ...[one.id, DEFAULT_ORGANIZATION, one.authorityId, Uint8Array.fromHex(one.serialNumber), one.profile, one.endpointId],
      ...[one.subject, one.productSerial, Uint8Array.fromHex(one.keyHash), one.notBefore, one.notAfter, one.crlShard],
      ...[Uint8Array.fromBase64(one.der), one.createdAt],
    )
    added += inserted.length
    if (one.productSerial === null || one.isBirth === null) continue
    const binding: SqlValue[] = [Uint8Array.fromHex(one.keyHash), one.productSerial, one.isBirth, one.createdAt]
    await tx.query(
      `INSERT INTO key_binding (id, organization_id, version, key_hash, product_serial, is_birth, created_at)
        VALUES (?, ?, 1, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
      ...[uuidv7(world), DEFAULT_ORGANIZATION, ...binding],
    )
  }
  return added
}

/** When certificates were taken out of use, which the audit log knows to a few milliseconds only. @param ids at most a thousand or so */
export async function revocationTimes(db: Queries, ids: readonly string[]): Promise<Readonly<Record<string, number>>> {
  if (ids.length === 0) return {}
  const rows = await db.query<{ id: string; revoked_at: number }>(
    `SELECT id, revoked_at FROM certificate WHERE revoked_at IS NOT NULL AND id IN (${ids.map(() => '?').join(', ')})`,
    ...ids,
  )
  return Object.fromEntries(rows.map((row) => [row.id, row.revoked_at]))
}

/** An act on a certificate or a one-time secret that the audit log tells of. */
export interface JournaledAct {
  readonly act: string
  readonly actor: string
  /** Such as `certificate:ID`. */
  readonly object: string
  /** When it took effect. */
  readonly at: number
  readonly revocationReason: string | null
}

const CHANGES: Readonly<Record<string, { readonly state: string; readonly revoked: boolean }>> = {
  'certificate.revoke': { state: 'revoked', revoked: true },
  'certificate.hold': { state: 'held', revoked: true },
  'certificate.release': { state: 'active', revoked: false },
}

/** Acts that {@link replayAct} does again; of all others only the log will tell. */
export const isReplayed = (act: string): boolean => act === 'certificate.issue' || Object.hasOwn(CHANGES, act)

/** Does again what took a certificate or a secret out of use. May be done twice. @returns whether a certificate changed */
export async function replayAct(
  tx: Transaction,
  { clock }: Pick<World, 'clock'>,
  { act, actor, object, at, revocationReason }: JournaledAct,
): Promise<boolean> {
  const [kind, id = ''] = object.split(':')
  const [actorKind, actorId = ''] = actor.split(':')
  if (act === 'certificate.issue' && actorKind === 'secret') {
    await tx.query(
      "UPDATE enrollment_secret SET used_at = ?, used_request_hash = '', version = version + 1 WHERE id = ? AND used_at IS NULL",
      ...[at, actorId],
    )
  }
  const change = CHANGES[act]
  if (change === undefined || kind !== 'certificate') return false
  const changed = await tx.query(
    `UPDATE certificate SET state = ?, changed_at = ?, revocation_reason = ?,
      revoked_at = ${change.revoked ? 'COALESCE(revoked_at, ?)' : 'NULL'}, version = version + 1
      WHERE id = ? AND state <> 'revoked' AND state <> ? RETURNING id`,
    // changed now, for the lists that were made since the restore
    ...[change.state, clock.now(), change.revoked ? (revocationReason ?? 'unspecified') : null, ...(change.revoked ? [at] : [])],
    ...[id, change.state],
  )
  if (changed.length > 0) await noteCertificateChange(tx, id)
  return changed.length > 0
}
