/** The tables of people, services and what they sign in with. Secrets are kept as hashes only. @module */
import type { Migration } from '#store/database.ts'

export const accessMigrations: readonly Migration[] = [
  {
    id: '0300-access-principal',
    statements: [
      `CREATE TABLE principal (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        state TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        UNIQUE (organization_id, name)
      )`,
      `CREATE TABLE role_assignment (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        principal_id TEXT NOT NULL REFERENCES principal (id),
        role TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        UNIQUE (principal_id, role)
      )`,
      `CREATE TABLE access_token (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        principal_id TEXT NOT NULL REFERENCES principal (id),
        name TEXT NOT NULL,
        hash BLOB NOT NULL UNIQUE,
        created_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        last_used_at INTEGER,
        revoked_at INTEGER
      )`,
      'CREATE INDEX access_token_principal ON access_token (principal_id)',
      `CREATE TABLE one_time_link (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        principal_id TEXT NOT NULL REFERENCES principal (id),
        hash BLOB NOT NULL UNIQUE,
        created_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        used_at INTEGER
      )`,
      `CREATE TABLE browser_session (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        principal_id TEXT NOT NULL REFERENCES principal (id),
        hash BLOB NOT NULL UNIQUE,
        created_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        last_used_at INTEGER NOT NULL,
        ended_at INTEGER
      )`,
    ],
  },
]
