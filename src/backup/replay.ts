/**
 * Reads journals into a restored installation, so that it knows what was recorded after its backup.
 *
 * Every line is signed by the audit log's key and says what the log's tree was after it. The tree is grown again from
 * where the backup ended: a line of another past, one that was changed, or one that is missing does not fit.
 *
 * @module
 */
import { join } from 'node:path'
import { importPublicKey, verifySignature } from '#algorithms/public-key.ts'
import { type EntryContent, leafHashOf } from '#audit/entry.ts'
import { findLog } from '#audit/log.ts'
import { decodePeaks, encodePeaks, grow, type Subtree, type Tree } from '#audit/merkle.ts'
import { isKept, keepNodes } from '#audit/tiles.ts'
import { utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import type { Facts } from '#base/errors.ts'
import type { World } from '#base/world.ts'
import { isReplayed, replayAct, replayCertificates } from '#ca/restoration.ts'
import type { Database, Transaction } from '#store/database.ts'
import { journalFiles, type JournaledEntry, jsonOf, parseStretch, type Stretch, stretchText, wholeLines } from './journal.ts'

export interface ReplayOptions {
  readonly database: Database
  readonly world: World
  readonly organizationId: string
  readonly directory: string
  /** Told now and then how many entries were read. */
  readonly progress?: (entries: number) => void
}

export interface Replayed {
  /** Entries of the audit log that the backup did not have. */
  readonly entries: number
  /** Certificates that the backup did not have. */
  readonly certificates: number
  /** Certificates that were revoked, held or released after the backup. */
  readonly changes: number
  /** Certificates of authorities that came after the backup, and went with it: kept for the record. */
  readonly ofLostAuthorities: number
  /** Acts after the backup that were not done again, with their numbers: a person has to look at them. */
  readonly toDoAgain: Readonly<Record<string, number>>
}

/**
 * May be called again after it broke off: each line is taken whole or not at all.
 *
 * @throws TrustError `malformed`, `badProof` for a line that is not signed by this installation or not of this log's past,
 *   `conflict` when lines between the backup and the journal are missing
 */
export async function replayJournal(options: ReplayOptions): Promise<Replayed> {
  const { database, organizationId, directory, progress } = options
  const log = await findLog(database, organizationId)
  if (log === undefined) throw new TrustError('unavailable', 'auditLogMissing')
  const publicKey = importPublicKey(log.public_key)
  const known = new Set((await database.query<{ id: string }>('SELECT id FROM authority')).map(({ id }) => id))
  const total = { entries: 0, certificates: 0, changes: 0, ofLostAuthorities: 0 }
  const toDoAgain: Record<string, number> = {}

  let size = log.size
  for (const name of await journalFiles(directory)) {
    for await (const line of wholeLines(join(directory, name))) {
      const { signature, json } = jsonOf(line)
      const stretch = parseStretch(json)
      if (stretch.to <= size && stretch.origin === log.origin) continue
      const text = utf8(stretchText(log.origin, json))
      if (!(await verifySignature({ algorithm: 'ecdsa-sha256', octets: signature }, publicKey, text)))
        throw new TrustError('badProof', 'journalSignature', { facts: { file: name } })
      if (stretch.from > size) throw new TrustError('conflict', 'journalGap', { facts: { from: size, to: stretch.from - 1 } })
      const entries = stretch.entries.slice(size - stretch.from)
      const done = await database.transaction((tx) => replayStretch(tx, options, stretch, entries, name))
      options.world.faults.reach('journal line replayed')
      size = stretch.to
      total.entries += entries.length
      total.certificates += done.certificates
      total.changes += done.changes
      total.ofLostAuthorities += stretch.certificates.filter(({ authorityId }) => !known.has(authorityId)).length
      for (const [, , , , act, , outcome] of entries)
        if (outcome === 'done' && !isReplayed(act) && !BY_ITSELF.has(act)) toDoAgain[act] = (toDoAgain[act] ?? 0) + 1
      progress?.(total.entries)
    }
  }
  return { ...total, toDoAgain }
}

/** What changed nothing that a restore would lose, or comes again without anybody. */
const BY_ITSELF: ReadonlySet<string> = new Set([
  'ca.issue-crl',
  'session.start',
  'session.end',
  'link.create',
  'key.unlock',
  'backup.create',
  'backup.restore',
  'backup.rehearse',
  'backup.open',
  'backup.override',
])

async function replayStretch(
  tx: Transaction,
  { world, organizationId }: ReplayOptions,
  stretch: Stretch,
  entries: readonly JournaledEntry[],
  file: string,
): Promise<{ readonly certificates: number; readonly changes: number }> {
  const [head] = await tx.query<{ size: number; peaks: Uint8Array }>(
    'UPDATE audit_log SET version = version + 1 WHERE organization_id = ? RETURNING size, peaks',
    organizationId,
  )
  const tree = head && decodePeaks(head.size, head.peaks)
  if (tree === undefined) throw new TrustError('unavailable', 'auditLogDamaged')
  await placeEntries(tx, organizationId, tree, stretch, entries, file)
  const certificates = await replayCertificates(tx, world, stretch.certificates)
  let changes = 0
  for (const [, , at, actor, act, object, outcome, , facts] of entries) {
    if (outcome !== 'done') continue
    const { reason } = JSON.parse(facts) as Facts
    const revocationReason = typeof reason === 'string' ? reason : null
    const effectiveAt = stretch.revokedAt[object.slice(object.indexOf(':') + 1)] ?? at
    if (await replayAct(tx, world, { act, actor, object, at: effectiveAt, revocationReason })) changes++
  }
  return { certificates, changes }
}

/** Entries get the places that they had: the log goes on as the one that witnesses know. */
async function placeEntries(
  tx: Transaction,
  organizationId: string,
  tree: Tree,
  stretch: Stretch,
  entries: readonly JournaledEntry[],
  file: string,
): Promise<void> {
  const rows = entries.map(contentOf)
  const leaves = rows.map(leafHashOf)
  const nodes: Subtree[] = []
  const grown = grow(tree, leaves, (subtree) => isKept(subtree) && nodes.push(subtree))
  const peaks = encodePeaks(grown)
  if (grown.size !== stretch.to || peaks.toBase64() !== stretch.peaks)
    throw new TrustError('badProof', 'journalOther', { facts: { file } })
  for (const [n, row] of rows.entries()) {
    // an entry may be in the backup already, without its place
    await tx.query(
      `INSERT INTO audit_entry (id, organization_id, version, at, actor, act, object, outcome, reason, facts, log_index, leaf_hash)
        VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET log_index = excluded.log_index`,
      ...[row.id, row.organization_id, row.at, row.actor, row.act, row.object, row.outcome, row.reason, row.facts],
      ...[tree.size + n, leaves[n] as Uint8Array],
    )
  }
  await tx.query('UPDATE audit_log SET size = ?, peaks = ? WHERE organization_id = ?', grown.size, peaks, organizationId)
  await keepNodes(tx, organizationId, nodes)
}

const contentOf = ([id, organization_id, at, actor, act, object, outcome, reason, facts]: JournaledEntry): EntryContent => ({
  ...{ id, organization_id, at, actor, act, object, outcome, reason, facts },
})
