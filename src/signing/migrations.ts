/** The tables of signers. What changes with every signature is a small row of its own. @module */
import type { Migration } from '#store/database.ts'

export const signingMigrations: readonly Migration[] = [
  {
    id: '0500-signing-signer',
    statements: [
      `CREATE TABLE signer (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        name TEXT NOT NULL,
        state TEXT NOT NULL,
        record TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        UNIQUE (organization_id, name)
      )`,
      `CREATE TABLE signer_use (
        signer_id TEXT PRIMARY KEY REFERENCES signer (id),
        organization_id TEXT NOT NULL,
        uses INTEGER NOT NULL,
        window_start INTEGER NOT NULL,
        window_uses INTEGER NOT NULL
      )`,
    ],
  },
]
