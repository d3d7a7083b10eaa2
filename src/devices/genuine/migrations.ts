/** Questions whether a device is genuine, until they are answered or over. Only files of this folder read or write them. @module */
import type { Migration } from '#store/database.ts'

export const genuineMigrations: readonly Migration[] = [
  {
    id: '0571-devices-genuine',
    statements: [
      // strangers make these: they hold what was asked, end soon, and are never many
      `CREATE TABLE genuine_challenge (
        nonce TEXT PRIMARY KEY,
        organization_id TEXT NOT NULL,
        manufacturer TEXT NOT NULL,
        product_serial TEXT NOT NULL,
        expires_at INTEGER NOT NULL
      )`,
      'CREATE INDEX genuine_challenge_expiry ON genuine_challenge (expires_at)',
    ],
  },
]
