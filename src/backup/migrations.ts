/** The table of backups that were made. @module */
import type { Migration } from '#store/database.ts'

export const backupMigrations: readonly Migration[] = [
  {
    id: '0600-backup-runs',
    statements: [
      `CREATE TABLE backup_run (
        id TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        state TEXT NOT NULL,
        actor TEXT NOT NULL,
        file TEXT NOT NULL,
        backup_id TEXT,
        row_count INTEGER NOT NULL,
        octets INTEGER NOT NULL,
        log_size INTEGER,
        reason TEXT,
        started_at INTEGER NOT NULL,
        seen_at INTEGER NOT NULL,
        finished_at INTEGER,
        rehearsed_at INTEGER
      )`,
      'CREATE INDEX backup_run_state ON backup_run (organization_id, state, id)',
    ],
  },
]
