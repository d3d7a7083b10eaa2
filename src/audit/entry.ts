/**
 * An audit entry as its row holds it, and the one text of it that is hashed into the log.
 *
 * The text is described in docs/reference/audit-entry.md. It must never change for entries that exist: a new form gets
 * a new `v`.
 *
 * @module
 */
import type { Facts } from '#base/errors.ts'
import { hashLeaf } from './merkle.ts'

const FORM = 1

/** What was recorded, with what the log added to it. */
export interface RecordedEntry {
  readonly id: string
  readonly organizationId: string
  readonly at: Date
  readonly actor: string
  readonly act: string
  readonly object: string
  readonly outcome: 'done' | 'refused'
  readonly reason: string | undefined
  readonly facts: Facts
  /** Its place in the log, from 0. Undefined until the sequencer has come by, within about a second. */
  readonly logIndex: number | undefined
  readonly leafHash: Uint8Array
}

/** A row of `audit_entry`. */
export type EntryRow = {
  readonly id: string
  readonly organization_id: string
  readonly at: number
  readonly actor: string
  readonly act: string
  readonly object: string
  readonly outcome: string
  readonly reason: string | null
  readonly facts: string
  readonly log_index: number | null
  readonly leaf_hash: Uint8Array
}

/** The columns that are hashed. */
export type EntryContent = Omit<EntryRow, 'log_index' | 'leaf_hash'>

export const ENTRY_COLUMNS = 'id, organization_id, at, actor, act, object, outcome, reason, facts, log_index, leaf_hash'

/**
 * The row's members sorted by name and written as RFC 8785 writes them. `facts` stands in it as it is kept, in the form
 * of {@link factsText}; all else is quoted, so no other row has the same text.
 */
export function entryText(row: EntryContent): string {
  const reason = row.reason === null ? '' : `"reason":${JSON.stringify(row.reason)},`
  return (
    `{"act":${JSON.stringify(row.act)},"actor":${JSON.stringify(row.actor)},"at":${row.at},"facts":${row.facts},` +
    `"id":${JSON.stringify(row.id)},"object":${JSON.stringify(row.object)},"organization":${JSON.stringify(row.organization_id)},` +
    `"outcome":${JSON.stringify(row.outcome)},${reason}"v":${FORM}}`
  )
}

export const leafHashOf = (row: EntryContent): Uint8Array => hashLeaf(entryText(row))

/** Facts as RFC 8785 writes them: members sorted by UTF-16 code unit, numbers and strings as ECMAScript does. */
export function factsText(facts: Facts): string {
  const names = Object.keys(facts).toSorted()
  return `{${names.map((name) => `${JSON.stringify(name)}:${factText(facts[name])}`).join(',')}}`
}

function factText(value: Facts[string] | undefined): string {
  if (typeof value === 'number' && !Number.isFinite(value)) throw new TypeError('a fact is a finite number')
  return JSON.stringify(typeof value === 'string' ? value.toWellFormed() : value)
}

export const toRecordedEntry = (row: EntryRow): RecordedEntry => ({
  id: row.id,
  organizationId: row.organization_id,
  at: new Date(row.at),
  actor: row.actor,
  act: row.act,
  object: row.object,
  outcome: row.outcome as RecordedEntry['outcome'],
  reason: row.reason ?? undefined,
  facts: JSON.parse(row.facts) as Facts,
  logIndex: row.log_index ?? undefined,
  leafHash: row.leaf_hash,
})
