/** This room's own tables: leases and the outbox. @module */
import type { Migration } from './database.ts'

export const storeMigrations: readonly Migration[] = [
  {
    id: '0001-store-lease',
    statements: [
      `CREATE TABLE lease (
        name TEXT PRIMARY KEY,
        holder TEXT NOT NULL,
        expires_at INTEGER NOT NULL,
        token INTEGER NOT NULL
      )`,
    ],
  },
  {
    id: '0002-store-outbox',
    statements: [
      // The sequence is given after the commit (see outbox.ts), so it is empty at first.
      `CREATE TABLE outbox (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        sequence INTEGER,
        topic TEXT NOT NULL,
        payload TEXT NOT NULL,
        created_at INTEGER NOT NULL
      )`,
      'CREATE UNIQUE INDEX outbox_sequence ON outbox (sequence) WHERE sequence IS NOT NULL',
      'CREATE INDEX outbox_waiting ON outbox (id) WHERE sequence IS NULL',
      'CREATE TABLE outbox_head (id TEXT PRIMARY KEY, sequence INTEGER NOT NULL)',
      "INSERT INTO outbox_head (id, sequence) VALUES ('outbox', 0)",
    ],
  },
]
