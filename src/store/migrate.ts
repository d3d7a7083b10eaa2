/**
 * Brings a database to this build's schema: each migration runs once, whole or not at all.
 *
 * Several processes may start at once. Each migration first inserts its own id, so the second process waits for the
 * first one's commit at that row and then finds the work done.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { TrustError } from '#base/errors.ts'
import type { World } from '#base/world.ts'
import { isDuplicate } from './duplicate.ts'
import type { Database, Migration } from './database.ts'

const TABLE =
  'CREATE TABLE IF NOT EXISTS schema_migration (id TEXT PRIMARY KEY, digest TEXT NOT NULL, applied_at INTEGER NOT NULL)'

/**
 * @param migrations all of this build's, of every room, in any order
 * @returns the ids that this call ran
 * @throws TrustError `conflict` when the database was made by a newer build, or a migration was edited after it ran
 */
export async function migrate(
  db: Database,
  migrations: readonly Migration[],
  { clock }: Pick<World, 'clock'>,
): Promise<readonly string[]> {
  const ordered = migrations.toSorted((a, b) => (a.id < b.id ? -1 : 1))
  ordered.forEach(({ id }, i) => {
    if (ordered[i + 1]?.id === id) throw new TypeError(`two migrations are called ${id}`)
  })
  await db.transaction((tx) => tx.query(TABLE))

  const applied = new Map<string, string>()
  for (const row of await db.query<{ id: string; digest: string }>('SELECT id, digest FROM schema_migration')) {
    applied.set(row.id, row.digest)
  }
  const known = new Map(ordered.map((migration) => [migration.id, digestOf(migration)]))
  for (const [id, digest] of applied) {
    if (!known.has(id)) throw new TrustError('conflict', 'databaseNewer', { facts: { migration: id } })
    if (known.get(id) !== digest) throw new TrustError('conflict', 'migrationEdited', { facts: { migration: id } })
  }

  const ran: string[] = []
  for (const migration of ordered) {
    if (applied.has(migration.id)) continue
    if (await apply(db, migration, clock.now())) ran.push(migration.id)
  }
  return ran
}

async function apply(db: Database, migration: Migration, now: number): Promise<boolean> {
  try {
    await db.transaction(async (tx) => {
      const row = [migration.id, digestOf(migration), now]
      await tx.query('INSERT INTO schema_migration (id, digest, applied_at) VALUES (?, ?, ?)', ...row)
      for (const statement of migration.statements) await tx.query(statement)
    })
    return true
  } catch (error) {
    if (isDuplicate(error, 'schema_migration')) return false
    throw error
  }
}

/** White space does not count: it carries no meaning in a schema, and editors change it. */
const digestOf = ({ statements }: Migration): string =>
  createHash('sha256').update(statements.join(';').replace(/\s+/g, ' ')).digest('hex')
