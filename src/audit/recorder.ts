/**
 * Writes entries: one insert in the act's own transaction, which the sequencer later puts in order.
 *
 * @module
 */
import { uuidv7, type World } from '#base/world.ts'
import type { Database, Transaction } from '#store/database.ts'
import type { Audit, AuditEntry } from './audit.ts'
import { factsText, leafHashOf } from './entry.ts'

export interface RecorderOptions {
  readonly database: Database
  readonly world: World
  readonly organizationId: string
}

export function auditRecorder({ database, world, organizationId }: RecorderOptions): Audit {
  async function record(tx: Transaction, { actor, act, object, outcome, reason, facts = {} }: AuditEntry): Promise<void> {
    const row = {
      id: uuidv7(world),
      organization_id: organizationId,
      at: Math.trunc(world.clock.now()),
      // a lone surrogate would come back from the database as another text than was hashed
      actor: actor.toWellFormed(),
      act: act.toWellFormed(),
      object: object.toWellFormed(),
      outcome,
      reason: reason?.toWellFormed() ?? null,
      facts: factsText(facts),
    }
    await tx.query(
      `INSERT INTO audit_entry (id, organization_id, version, at, actor, act, object, outcome, reason, facts, leaf_hash)
        VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?)`,
      row.id,
      organizationId,
      row.at,
      row.actor,
      row.act,
      row.object,
      outcome,
      row.reason,
      row.facts,
      leafHashOf(row),
    )
  }

  return {
    record,
    refuse: (entry) => database.transaction((tx) => record(tx, { ...entry, outcome: 'refused' })),
  }
}
