/** What PostgreSQL says it does for the disk; `synchronous_commit` each connection sets for itself. @module */
import type { Queries } from '../database.ts'

/** @returns the names of settings that are off, with which a power cut can destroy the database */
export async function settingsOff(db: Queries): Promise<readonly string[]> {
  const rows = await db.query<{ name: string }>(
    "SELECT name FROM pg_settings WHERE name IN ('fsync', 'full_page_writes') AND setting = 'off' ORDER BY name",
  )
  return rows.map(({ name }) => name)
}
