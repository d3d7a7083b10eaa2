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
  {
    id: '0510-signing-time-stamp',
    statements: [
      // the time in milliseconds: a clock that was set back is behind it
      `CREATE TABLE time_stamp_count (
        signer_id TEXT PRIMARY KEY REFERENCES signer (id),
        organization_id TEXT NOT NULL,
        next_serial INTEGER NOT NULL,
        last_time INTEGER NOT NULL
      )`,
    ],
  },
  {
    id: '0520-signing-job',
    statements: [
      `CREATE TABLE signing_job (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        actor TEXT NOT NULL,
        idempotency_key TEXT,
        node TEXT NOT NULL,
        state TEXT NOT NULL,
        record TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        ended_at INTEGER,
        UNIQUE (organization_id, actor, idempotency_key)
      )`,
      "CREATE INDEX signing_job_open ON signing_job (node, state) WHERE state IN ('queued', 'waiting')",
      'CREATE INDEX signing_job_ended ON signing_job (node, ended_at)',
      `CREATE TABLE signing_archive (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        signer_id TEXT NOT NULL REFERENCES signer (id),
        digest TEXT NOT NULL,
        octets INTEGER NOT NULL,
        kept_until INTEGER NOT NULL,
        UNIQUE (organization_id, signer_id, digest)
      )`,
      'CREATE INDEX signing_archive_kept ON signing_archive (organization_id, kept_until)',
      'CREATE INDEX signing_archive_digest ON signing_archive (organization_id, digest)',
    ],
  },
]
