/**
 * The record of what was done and refused: rows written in the act's own transaction, put in order within a second.
 *
 * @module
 */
import type { Facts } from '#base/errors.ts'
import type { Statement } from '#store/batch.ts'
import type { Transaction } from '#store/database.ts'

export interface AuditEntry {
  /** Made beforehand (UUIDv7) where the answer names its entry. */
  readonly id?: string
  /** Who: a record's id with its kind (`person:…`, `service:…`, `certificate:…`, `secret:…`, `system`). Never a name or an address. */
  readonly actor: string
  /** What: `room.act`, such as `certificate.issue`. */
  readonly act: string
  /** On what: a record's kind and id, such as `certificate:0190…`. */
  readonly object: string
  readonly outcome: 'done' | 'refused'
  /** The refusal's reason key, absent when done. */
  readonly reason?: string
  /** What an investigator needs to know. No secrets, no personal data. */
  readonly facts?: Facts
}

export interface Audit {
  /** What records an act, for a batch. */
  statement(entry: AuditEntry): Statement
  /** Records an act with the rows it changed: both are kept, or neither. */
  record(tx: Transaction, entry: AuditEntry): Promise<void>
  /** Records a refusal in a transaction of its own, after the act was rolled back. */
  refuse(entry: Omit<AuditEntry, 'outcome'> & { readonly reason: string }): Promise<void>
}
