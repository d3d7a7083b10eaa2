/** The tables of the store simulation: the least that has the shape of issuing. @module */
import type { Migration } from '#store/database.ts'

export const simulationMigrations: readonly Migration[] = [
  {
    id: '9000-simulate-issue',
    statements: [
      'CREATE TABLE sim_certificate (id TEXT PRIMARY KEY, serial_number TEXT NOT NULL UNIQUE, der BLOB NOT NULL)',
      'CREATE TABLE sim_audit_entry (id TEXT PRIMARY KEY, object TEXT NOT NULL, log_index INTEGER)',
      'CREATE UNIQUE INDEX sim_audit_entry_index ON sim_audit_entry (log_index) WHERE log_index IS NOT NULL',
      'CREATE INDEX sim_audit_entry_waiting ON sim_audit_entry (id) WHERE log_index IS NULL',
      'CREATE TABLE sim_order (id TEXT PRIMARY KEY, used INTEGER NOT NULL, allowed INTEGER NOT NULL)',
    ],
  },
]

/** A production order counts each certificate: a row that every writer changes. */
export const ORDER = 'order'
