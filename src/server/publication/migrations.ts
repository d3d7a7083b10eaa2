/** The table of what was published where. @module */
import type { Migration } from '#store/database.ts'

export const publicationMigrations: readonly Migration[] = [
  {
    id: '0700-publication',
    statements: [
      `CREATE TABLE publication (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        target TEXT NOT NULL,
        path TEXT NOT NULL,
        tag TEXT,
        published_at INTEGER,
        attempts INTEGER NOT NULL,
        next_attempt_at INTEGER,
        error TEXT,
        created_at INTEGER NOT NULL
      )`,
      'CREATE UNIQUE INDEX publication_path ON publication (organization_id, target, path)',
    ],
  },
]
