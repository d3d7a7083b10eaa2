/**
 * Writes entries: one insert in the act's own transaction, which the sequencer later puts in order.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import { uuidv7, type World } from '#base/world.ts'
import { keep, type Statement, take } from '#store/batch.ts'
import type { Database } from '#store/database.ts'
import type { Audit, AuditEntry } from './audit.ts'
import { type EntryContent, entryText, factsText } from './entry.ts'
import { hashLeaf } from './merkle.ts'

export interface RecorderOptions {
  readonly database: Database
  readonly world: World
  readonly organizationId: string
}

export function auditRecorder({ database, world, organizationId }: RecorderOptions): Audit {
  function statement({ id = uuidv7(world), actor, act, object, outcome, reason, facts = {} }: AuditEntry): Statement {
    const row = {
      id,
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
    return {
      sql: `INSERT INTO audit_entry (id, organization_id, version, at, actor, act, object, outcome, reason, facts, leaf_hash)
        VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?)`,
      parameters: [
        ...[row.id, organizationId, row.at, row.actor, row.act, row.object, outcome, row.reason, row.facts],
        hashLeaf(checkedText(row)),
      ],
    }
  }

  return {
    statement,
    record: (tx, entry) => take(tx, [statement(entry)]),
    refuse: (entry) => keep(database, [statement({ ...entry, outcome: 'refused' })]),
  }
}

/** C2SP tlog-tiles: the length of an entry is a uint16. */
const ENTRY_MAX_OCTETS = 0xffff

/** @throws TrustError `policyRefused` for what could not be handed on in a bundle */
function checkedText(row: EntryContent): string {
  const text = entryText(row)
  // a code unit is three octets at most: only what comes near is counted
  if (text.length * 3 > ENTRY_MAX_OCTETS && Buffer.byteLength(text) > ENTRY_MAX_OCTETS) {
    throw new TrustError('policyRefused', 'auditEntryTooLong')
  }
  return text
}
