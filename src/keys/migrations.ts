/** The tables of the key stores that keep keys in the database. @module */
import type { Migration } from '#store/database.ts'

export const keysMigrations: readonly Migration[] = [
  {
    id: '0100-keys-wrapped-key',
    statements: [
      `CREATE TABLE wrapped_key (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        label TEXT NOT NULL,
        key_algorithm TEXT NOT NULL,
        public_key BLOB NOT NULL,
        wrapped BLOB NOT NULL,
        created_at INTEGER NOT NULL,
        destroyed_at INTEGER,
        UNIQUE (organization_id, label)
      )`,
    ],
  },
  {
    id: '0101-keys-token-key',
    statements: [
      `CREATE TABLE token_key (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        key_store TEXT NOT NULL,
        label TEXT NOT NULL,
        key_algorithm TEXT NOT NULL,
        public_key BLOB NOT NULL,
        created_at INTEGER NOT NULL,
        destroyed_at INTEGER,
        UNIQUE (organization_id, key_store, label)
      )`,
    ],
  },
]
