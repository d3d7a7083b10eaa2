/** The tables of the audit log. @module */
import type { Migration } from '#store/database.ts'

export const auditMigrations: readonly Migration[] = [
  {
    id: '0200-audit-log',
    statements: [
      `CREATE TABLE audit_entry (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        at INTEGER NOT NULL,
        actor TEXT NOT NULL,
        act TEXT NOT NULL,
        object TEXT NOT NULL,
        outcome TEXT NOT NULL,
        reason TEXT,
        facts TEXT NOT NULL,
        log_index INTEGER,
        leaf_hash BLOB NOT NULL
      )`,
      'CREATE UNIQUE INDEX audit_entry_log_index ON audit_entry (organization_id, log_index) WHERE log_index IS NOT NULL',
      // what the sequencer has still to do: small, however long the log
      'CREATE INDEX audit_entry_pending ON audit_entry (organization_id, id) WHERE log_index IS NULL',
      'CREATE INDEX audit_entry_object ON audit_entry (organization_id, object, id)',
      `CREATE TABLE audit_log (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL UNIQUE,
        version INTEGER NOT NULL,
        origin TEXT NOT NULL,
        key_label TEXT NOT NULL,
        public_key BLOB NOT NULL,
        size INTEGER NOT NULL,
        peaks BLOB NOT NULL,
        created_at INTEGER NOT NULL
      )`,
      `CREATE TABLE audit_checkpoint (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        size INTEGER NOT NULL,
        root_hash BLOB NOT NULL,
        note TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        UNIQUE (organization_id, size)
      )`,
    ],
  },
  {
    id: '0201-audit-proofs',
    statements: [
      // the hash over each 256 of the level below (C2SP tlog-tiles), from level 1 on: leaf hashes stand with their entries
      `CREATE TABLE audit_node (
        organization_id TEXT NOT NULL,
        level INTEGER NOT NULL,
        node_index INTEGER NOT NULL,
        hash BLOB NOT NULL,
        PRIMARY KEY (organization_id, level, node_index)
      )`,
      `CREATE TABLE audit_cosignature (
        organization_id TEXT NOT NULL,
        size INTEGER NOT NULL,
        witness TEXT NOT NULL,
        line TEXT NOT NULL,
        made_at INTEGER NOT NULL,
        PRIMARY KEY (organization_id, size, witness)
      )`,
      // how far each witness has come, and what it last said
      `CREATE TABLE audit_witness (
        organization_id TEXT NOT NULL,
        witness TEXT NOT NULL,
        size INTEGER NOT NULL,
        seen_at INTEGER,
        failures INTEGER NOT NULL,
        problem TEXT,
        retry_at INTEGER NOT NULL,
        PRIMARY KEY (organization_id, witness)
      )`,
    ],
  },
]
