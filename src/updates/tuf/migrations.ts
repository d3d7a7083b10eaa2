/**
 * The tables of TUF metadata. Only files of this folder read or write them.
 *
 * A number of a role is there once, and rows are never taken away: what was published cannot be published as something else.
 *
 * @module
 */
import type { Migration } from '#store/database.ts'
import { tufRoles } from './messages.ts'

export const tufMigrations: readonly Migration[] = [
  {
    id: '0910-updates-tuf',
    statements: [
      // version goes up with every change, so that of two at once one finds another than it read; roles: JSON
      `CREATE TABLE tuf_repository (
        organization_id TEXT PRIMARY KEY,
        version INTEGER NOT NULL,
        roles TEXT NOT NULL,
        created_at INTEGER NOT NULL
      )`,
      `CREATE TABLE tuf_metadata (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        role TEXT NOT NULL CHECK (role IN (${tufRoles.map((role) => `'${role}'`).join(', ')})),
        number INTEGER NOT NULL CHECK (number > 0),
        octets BLOB NOT NULL,
        digest TEXT NOT NULL,
        expires_at INTEGER NOT NULL,
        created_at INTEGER NOT NULL,
        UNIQUE (organization_id, role, number)
      )`,
      // what waits for signatures of keys that people agree for; parts: JSON
      `CREATE TABLE tuf_change (
        organization_id TEXT PRIMARY KEY,
        version INTEGER NOT NULL,
        about TEXT NOT NULL,
        parts TEXT NOT NULL,
        created_at INTEGER NOT NULL
      )`,
    ],
  },
]
