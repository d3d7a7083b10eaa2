/**
 * Kept checkpoints: all that a witness cosigned, the newest of each day, and the newest of all.
 *
 * One is signed each second in which something happened; kept all, they would outgrow the entries. Nothing is lost with
 * the others: the tree of any size can be had from the tiles, and a checkpoint that someone took away still verifies.
 *
 * @module
 */
import { uuidv7, type World } from '#base/world.ts'
import type { Database, Queries, Transaction } from '#store/database.ts'

export interface KeptCheckpoint {
  readonly organizationId: string
  readonly size: number
  readonly rootHash: Uint8Array
  /** As the log signed it, without the lines of witnesses. */
  readonly note: string
}

const DAY_MILLISECONDS = 86_400_000

type Row = { readonly size: number; readonly root_hash: Uint8Array; readonly note: string; readonly created_at: number }

/** Keeps it, and forgets the one before if that was of the same day and no witness saw it. */
export async function keepCheckpoint(tx: Transaction, world: World, checkpoint: KeptCheckpoint): Promise<void> {
  const { organizationId, size, rootHash, note } = checkpoint
  const now = world.clock.now()
  const [before] = await tx.query<Row>(
    'SELECT size, created_at FROM audit_checkpoint WHERE organization_id = ? AND size < ? ORDER BY size DESC LIMIT 1',
    organizationId,
    size,
  )
  if (before !== undefined && dayOf(before.created_at) === dayOf(now)) {
    await tx.query(
      `DELETE FROM audit_checkpoint WHERE organization_id = ? AND size = ? AND NOT EXISTS
        (SELECT 1 FROM audit_cosignature AS seen WHERE seen.organization_id = ? AND seen.size = ?)`,
      organizationId,
      before.size,
      organizationId,
      before.size,
    )
  }
  await insertCheckpoint(tx, world, { organizationId, size, rootHash, note })
}

async function insertCheckpoint(tx: Transaction, world: World, checkpoint: KeptCheckpoint): Promise<void> {
  const { organizationId, size, rootHash, note } = checkpoint
  await tx.query(
    `INSERT INTO audit_checkpoint (id, organization_id, version, size, root_hash, note, created_at)
      VALUES (?, ?, 1, ?, ?, ?, ?) ON CONFLICT (organization_id, size) DO NOTHING`,
    uuidv7(world),
    organizationId,
    size,
    rootHash,
    note,
    world.clock.now(),
  )
}

export interface Cosignature {
  readonly witness: string
  /** A signature line, verified. */
  readonly line: string
  readonly seconds: number
}

/** With its checkpoint, which may have been thinned away while the witness was asked. */
export async function keepCosigned(
  tx: Transaction,
  world: World,
  checkpoint: KeptCheckpoint,
  { witness, line, seconds }: Cosignature,
): Promise<void> {
  const { organizationId, size } = checkpoint
  await insertCheckpoint(tx, world, checkpoint)
  await tx.query(
    `INSERT INTO audit_cosignature (organization_id, size, witness, line, made_at) VALUES (?, ?, ?, ?, ?)
      ON CONFLICT (organization_id, size, witness) DO UPDATE SET line = excluded.line, made_at = excluded.made_at`,
    ...[organizationId, size, witness, line, seconds * 1000],
  )
}

/** What an earlier build kept; {@link keepCheckpoint} leaves nothing to thin. */
export async function thinCheckpoints(database: Database, organizationId: string): Promise<void> {
  await database.transaction((tx) =>
    tx.query(
      `DELETE FROM audit_checkpoint WHERE organization_id = ?
        AND size NOT IN (SELECT max(size) FROM audit_checkpoint WHERE organization_id = ? GROUP BY created_at / ${DAY_MILLISECONDS})
        AND NOT EXISTS (SELECT 1 FROM audit_cosignature AS seen
          WHERE seen.organization_id = audit_checkpoint.organization_id AND seen.size = audit_checkpoint.size)`,
      organizationId,
      organizationId,
    ),
  )
}

/** The newest, as the log alone signed it. */
export async function newestSigned(
  database: Queries,
  organizationId: string,
  condition = 'TRUE',
): Promise<KeptCheckpoint | undefined> {
  const [row] = await database.query<Row>(
    `SELECT size, root_hash, note, created_at FROM audit_checkpoint WHERE organization_id = ? AND ${condition}
      ORDER BY size DESC LIMIT 1`,
    organizationId,
  )
  return row && { organizationId, size: row.size, rootHash: row.root_hash, note: row.note }
}

const SEEN = `EXISTS (SELECT 1 FROM audit_cosignature AS seen
  WHERE seen.organization_id = audit_checkpoint.organization_id AND seen.size = audit_checkpoint.size)`

/** The newest, or the newest that a witness saw, with the lines of the witnesses below the log's own. */
export async function latestCheckpoint(
  database: Queries,
  organizationId: string,
  { cosigned = false }: { readonly cosigned?: boolean } = {},
): Promise<KeptCheckpoint | undefined> {
  const newest = await newestSigned(database, organizationId, cosigned ? SEEN : 'TRUE')
  if (newest === undefined) return undefined
  const lines = await database.query<{ line: string }>(
    'SELECT line FROM audit_cosignature WHERE organization_id = ? AND size = ? ORDER BY witness',
    organizationId,
    newest.size,
  )
  return { ...newest, note: newest.note + lines.map(({ line }) => `${line}\n`).join('') }
}

const dayOf = (at: number): number => Math.floor(at / DAY_MILLISECONDS)
