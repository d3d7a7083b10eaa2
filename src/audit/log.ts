/**
 * The log as a whole: made once, opened at every start, read in pages.
 *
 * @module
 */
import { equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { uuidv7, type World } from '#base/world.ts'
import type { KeyStore, Signer } from '#keys/key-store.ts'
import type { Database, Queries, SqlValue, Transaction } from '#store/database.ts'
import { ENTRY_COLUMNS, type EntryRow, type RecordedEntry, toRecordedEntry } from './entry.ts'
import { emptyTree, encodePeaks } from './merkle.ts'
import { checkOrigin } from './note.ts'
import { logVerifierKey } from './note-key.ts'
import { auditRecorder } from './recorder.ts'

export interface AuditLog {
  readonly organizationId: string
  /** First line of every checkpoint. */
  readonly origin: string
  /** DER SubjectPublicKeyInfo. Keep a copy outside: whoever can write the database can also replace it there. */
  readonly publicKey: Uint8Array
  /** The same for witnesses and monitors, as C2SP signed-note verifier key. */
  readonly verifierKey: string
  readonly signer: Signer
}

export interface CreateAuditLogOptions {
  readonly database: Database
  readonly world: World
  readonly organizationId: string
  readonly keys: KeyStore
  /** A URL without its scheme that no other log uses, such as `pki.example/audit/0190…`. Never changes. */
  readonly origin: string
}

const KEY_LABEL = 'audit-log'
const KEY_ALGORITHM = 'ecdsa-p256'

/**
 * Makes the log with its key, for `init` alone: a second log would be a second past.
 *
 * @throws TrustError `conflict` when the organization has a log
 */
export async function createAuditLog({
  database,
  world,
  organizationId,
  keys,
  origin,
}: CreateAuditLogOptions): Promise<AuditLog> {
  checkOrigin(origin)
  if ((await findLog(database, organizationId)) !== undefined) throw logExists()
  const signer = await makeOrOpenKey(keys)
  const { record } = auditRecorder({ database, world, organizationId })
  await database.transaction(async (tx) => {
    const created = await tx.query(
      `INSERT INTO audit_log (id, organization_id, version, origin, key_label, public_key, size, peaks, created_at)
        VALUES (?, ?, 1, ?, ?, ?, 0, ?, ?) ON CONFLICT (organization_id) DO NOTHING RETURNING id`,
      uuidv7(world),
      organizationId,
      origin,
      KEY_LABEL,
      signer.publicKey,
      encodePeaks(emptyTree),
      world.clock.now(),
    )
    if (created.length === 0) throw logExists()
    await guardEntries(tx, database.id)
    await record(tx, { actor: 'system', act: 'audit.create', object: `log:${origin}`, outcome: 'done' })
  })
  return toLog(organizationId, origin, signer)
}

/** @throws TrustError `unavailable` when there is no log, or its key is not the one that it was made with */
export async function openAuditLog(
  { database, organizationId, keys }: Pick<CreateAuditLogOptions, 'database' | 'organizationId' | 'keys'>, //
): Promise<AuditLog> {
  const log = await findLog(database, organizationId)
  if (log === undefined) throw new TrustError('unavailable', 'auditLogMissing')
  const signer = await keys.open(log.key_label)
  if (!equal(signer.publicKey, log.public_key)) throw new TrustError('unavailable', 'auditKeyOther')
  return toLog(organizationId, log.origin, signer)
}

export interface AuditFilter {
  readonly actor?: string
  readonly act?: string
  readonly object?: string
  readonly outcome?: 'done' | 'refused'
  /** Inclusive, milliseconds. */
  readonly from?: number
  /** Exclusive, milliseconds. */
  readonly until?: number
}

export interface AuditPage {
  readonly entries: readonly RecordedEntry[]
  /** Hand it in as `cursor` for the entries after these; undefined at the end. */
  readonly next: string | undefined
}

export interface ListAuditOptions {
  readonly organizationId: string
  readonly filter?: AuditFilter
  readonly cursor?: string | undefined
  readonly limit: number
}

/** Enough for a screen and an export page, small enough to hold. */
export const AUDIT_PAGE_MAX = 1000

/** Newest first. An entry recorded meanwhile does not move the pages that follow a cursor. */
export async function listAuditEntries(
  database: Queries,
  { organizationId, filter = {}, cursor, limit }: ListAuditOptions,
): Promise<AuditPage> {
  const count = Math.max(1, Math.min(limit, AUDIT_PAGE_MAX))
  const conditions: readonly (readonly [sql: string, value: SqlValue | undefined])[] = [
    ['organization_id = ?', organizationId],
    ['actor = ?', filter.actor],
    ['act = ?', filter.act],
    ['object = ?', filter.object],
    ['outcome = ?', filter.outcome],
    ['at >= ?', filter.from],
    ['at < ?', filter.until],
    ['id < ?', cursor],
  ]
  const used = conditions.filter((condition): condition is readonly [string, SqlValue] => condition[1] !== undefined)
  const rows = await database.query<EntryRow>(
    `SELECT ${ENTRY_COLUMNS} FROM audit_entry WHERE ${used.map(([sql]) => sql).join(' AND ')} ORDER BY id DESC LIMIT ?`,
    ...used.map(([, value]) => value),
    count + 1,
  )
  const entries = rows.slice(0, count).map(toRecordedEntry)
  return { entries, next: rows.length > count ? entries.at(-1)?.id : undefined }
}

export type LogRow = {
  readonly origin: string
  readonly key_label: string
  readonly public_key: Uint8Array
  readonly size: number
  readonly peaks: Uint8Array
}

export async function findLog(database: Queries, organizationId: string): Promise<LogRow | undefined> {
  const rows = await database.query<LogRow>(
    'SELECT origin, key_label, public_key, size, peaks FROM audit_log WHERE organization_id = ?',
    organizationId,
  )
  return rows[0]
}

const toLog = (organizationId: string, origin: string, signer: Signer): AuditLog => ({
  organizationId,
  origin,
  publicKey: signer.publicKey,
  verifierKey: logVerifierKey(origin, signer.publicKey),
  signer,
})

/** An `init` that stopped half way may have left the key behind. Nothing was signed with it yet. */
async function makeOrOpenKey(keys: KeyStore): Promise<Signer> {
  try {
    return await keys.generate(KEY_LABEL, KEY_ALGORITHM)
  } catch (error) {
    if (error instanceof TrustError && error.code === 'conflict') return keys.open(KEY_LABEL)
    throw error
  }
}

/**
 * Has the database itself refuse to change or delete an entry; only its place in the log is set, once. This stops
 * mistakes; it does not stop those who may drop triggers, which is what checkpoints are for.
 *
 * Triggers have no shared dialect, so they are not a migration.
 */
export async function guardEntries(tx: Transaction, engine: Database['id']): Promise<void> {
  const content = ['id', 'organization_id', 'version', 'at', 'actor', 'act', 'object', 'outcome', 'reason', 'facts', 'leaf_hash']
  const distinct = engine === 'sqlite' ? 'IS NOT' : 'IS DISTINCT FROM'
  const changed = content.map((column) => `NEW.${column} ${distinct} OLD.${column}`).join(' OR ')
  const moved = `OLD.log_index IS NOT NULL AND NEW.log_index ${distinct} OLD.log_index`
  const message = 'audit entries are never changed'
  if (engine === 'sqlite') {
    await tx.query(
      `CREATE TRIGGER IF NOT EXISTS audit_entry_keep BEFORE UPDATE ON audit_entry WHEN ${changed} OR (${moved})
        BEGIN SELECT RAISE(ABORT, '${message}'); END`,
    )
    await tx.query(
      `CREATE TRIGGER IF NOT EXISTS audit_entry_stay BEFORE DELETE ON audit_entry
        BEGIN SELECT RAISE(ABORT, '${message}'); END`,
    )
    return
  }
  await tx.query(
    `CREATE OR REPLACE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql
      AS $$ BEGIN RAISE EXCEPTION '${message}'; END $$`,
  )
  await tx.query(
    `CREATE OR REPLACE TRIGGER audit_entry_keep BEFORE UPDATE ON audit_entry FOR EACH ROW WHEN (${changed} OR (${moved}))
      EXECUTE FUNCTION refuse_audit_change()`,
  )
  await tx.query(
    `CREATE OR REPLACE TRIGGER audit_entry_stay BEFORE DELETE ON audit_entry FOR EACH ROW
      EXECUTE FUNCTION refuse_audit_change()`,
  )
  await tx.query(
    `CREATE OR REPLACE TRIGGER audit_entry_all_stay BEFORE TRUNCATE ON audit_entry FOR EACH STATEMENT
      EXECUTE FUNCTION refuse_audit_change()`,
  )
}

const logExists = () => new TrustError('conflict', 'auditLogExists')

/** What a look from outside needs: how many entries there are, and when the newest was written. @returns 0 for when without any */
export async function newestEntry(db: Queries): Promise<{ readonly entries: number; readonly at: number }> {
  const [row] = await db.query<{ newest: number | null; entries: number }>(
    'SELECT max(at) AS newest, count(*) AS entries FROM audit_entry',
  )
  return { entries: row?.entries ?? 0, at: row?.newest ?? 0 }
}
