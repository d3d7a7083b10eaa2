/** Policies, counters, commands with what each person signed, and what devices said to them. @module */
import type { Migration } from '#store/database.ts'

export const commandsMigrations: readonly Migration[] = [
  {
    id: '0630-commands',
    statements: [
      `CREATE TABLE command_policy (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        area TEXT NOT NULL,
        policy_version INTEGER NOT NULL,
        message BLOB NOT NULL,
        created_at INTEGER NOT NULL
      )`,
      'CREATE UNIQUE INDEX command_policy_version ON command_policy (organization_id, area, policy_version)',
      // the one that is in force: its version only grows
      `CREATE TABLE command_area (
        organization_id TEXT NOT NULL,
        area TEXT NOT NULL,
        policy_version INTEGER NOT NULL,
        PRIMARY KEY (organization_id, area)
      )`,
      `CREATE TABLE command_counter (
        organization_id TEXT NOT NULL,
        issuer TEXT NOT NULL,
        device_id TEXT NOT NULL,
        counter INTEGER NOT NULL,
        PRIMARY KEY (organization_id, issuer, device_id)
      )`,
      // payload: what is signed; message: with all signatures; nonce: what the device wants answered
      `CREATE TABLE command (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        device_id TEXT NOT NULL,
        issuer TEXT NOT NULL,
        counter INTEGER NOT NULL,
        operation TEXT NOT NULL,
        operator TEXT NOT NULL,
        state TEXT NOT NULL,
        form TEXT NOT NULL,
        payload BLOB NOT NULL,
        message BLOB,
        digest BLOB,
        nonce BLOB,
        nonce_at INTEGER,
        reason TEXT,
        created_by TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        delivered_at INTEGER
      )`,
      'CREATE UNIQUE INDEX command_id ON command (id)',
      'CREATE UNIQUE INDEX command_count ON command (organization_id, issuer, device_id, counter)',
      "CREATE INDEX command_open ON command (device_id, number) WHERE state IN ('challenging', 'ready', 'delivered')",
      "CREATE INDEX command_ending ON command (expires_at) WHERE state IN ('drafted', 'waiting', 'challenging', 'ready')",
      // what one person signed: a message by itself
      `CREATE TABLE command_signature (
        command_id TEXT NOT NULL,
        organization_id TEXT NOT NULL,
        name TEXT NOT NULL,
        is_operator INTEGER NOT NULL CHECK (is_operator IN (0, 1)),
        message BLOB NOT NULL,
        signed_by TEXT NOT NULL,
        signed_at INTEGER NOT NULL,
        PRIMARY KEY (command_id, name)
      )`,
      // device_counter: of the device's receipts; two with the same number mean two devices with one key
      `CREATE TABLE command_receipt (
        command_id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        device_id TEXT NOT NULL,
        device_counter INTEGER NOT NULL,
        result TEXT NOT NULL,
        message BLOB NOT NULL,
        received_at INTEGER NOT NULL
      )`,
      'CREATE UNIQUE INDEX command_receipt_counter ON command_receipt (device_id, device_counter)',
    ],
  },
]
