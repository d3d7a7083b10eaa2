/** What devices said of themselves last, and what an officer holds to be right. @module */
import type { Migration } from '#store/database.ts'

export const deviceStateMigrations: readonly Migration[] = [
  {
    id: '0570-devices-state',
    statements: [
      // digest: of the report whose number is counter; expected: the report that an officer accepted, as it was signed;
      // faults: what was wrong when the device was cut off
      `CREATE TABLE device_report (
        device_id TEXT PRIMARY KEY REFERENCES device (id),
        organization_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        counter INTEGER NOT NULL,
        digest TEXT NOT NULL,
        challenge TEXT NOT NULL,
        certificate_id TEXT,
        is_awaited INTEGER NOT NULL CHECK (is_awaited IN (0, 1)),
        expected BLOB,
        faults TEXT NOT NULL,
        received_at INTEGER NOT NULL
      )`,
    ],
  },
]
