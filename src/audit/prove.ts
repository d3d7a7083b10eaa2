/**
 * Proofs from the database: of an entry under a signed checkpoint, and between two sizes of the log.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import type { Queries } from '#store/database.ts'
import { latestCheckpoint } from './checkpoints.ts'
import { ENTRY_COLUMNS, type EntryRow, entryText } from './entry.ts'
import { findLog } from './log.ts'
import { consistencyPath, inclusionPath, rootAt } from './proof.ts'
import type { EntryProof } from './proof-file.ts'
import { subtreeHashes } from './tiles.ts'

export interface CheckpointedProof extends EntryProof {
  /** Of the checkpoint. */
  readonly size: number
  readonly rootHash: Uint8Array
}

export interface ProveOptions {
  readonly organizationId: string
  /** Of the entry. */
  readonly id: string
  /** Under a checkpoint that a witness has seen. */
  readonly cosigned: boolean
}

/** @throws TrustError `notFound`; `unavailable` while no checkpoint covers the entry */
export async function proveEntry(
  database: Queries,
  { organizationId, id, cosigned }: ProveOptions, //
): Promise<CheckpointedProof> {
  const [row] = await database.query<EntryRow>(
    `SELECT ${ENTRY_COLUMNS} FROM audit_entry WHERE organization_id = ? AND id = ?`,
    organizationId,
    id,
  )
  if (row === undefined) throw new TrustError('notFound', 'unknownAuditEntry')
  const checkpoint = await latestCheckpoint(database, organizationId, { cosigned })
  const index = row.log_index
  if (checkpoint === undefined || index === null || index >= checkpoint.size) {
    throw new TrustError('unavailable', cosigned ? 'auditEntryUncosigned' : 'auditEntryUnsigned', { retryAfterSeconds: 2 })
  }
  const { size, rootHash, note } = checkpoint
  const path = await inclusionPath(index, size, subtreeHashes(database, organizationId, size))
  return { entry: entryText(row), index, path, note, size, rootHash }
}

export interface ConsistencyProof {
  readonly firstRoot: Uint8Array
  readonly secondRoot: Uint8Array
  readonly path: readonly Uint8Array[]
}

/** @throws TrustError `malformed` for sizes that the log has not had */
export async function proveConsistency(
  database: Queries,
  { organizationId, first, second }: { readonly organizationId: string; readonly first: number; readonly second: number },
): Promise<ConsistencyProof> {
  const size = (await findLog(database, organizationId))?.size ?? 0
  if (first < 1 || first > second || second > size) throw new TrustError('malformed', 'auditSizes', { facts: { size } })
  const hashOf = subtreeHashes(database, organizationId, second)
  return {
    firstRoot: await rootAt(first, hashOf),
    secondRoot: await rootAt(second, hashOf),
    path: await consistencyPath(first, second, hashOf),
  }
}
