/**
 * Brings what a backup holds into an empty database, of either engine.
 *
 * The schema is first made as it was when the backup was written, then filled, then brought to this build's. The row of
 * the audit log, without which no server and no command works with the database, is written last, so that a restore
 * that broke off leaves nothing that could be taken for an installation.
 *
 * @module
 */
import { guardEntries } from '#audit/log.ts'
import { TrustError } from '#base/errors.ts'
import type { World } from '#base/world.ts'
import type { Database, Migration, Transaction } from '#store/database.ts'
import { migrate } from '#store/migrate.ts'
import type { ReadBackup, Totals } from './read.ts'
import { badRecord, type Manifest, type SqlRow } from './records.ts'

export interface LoadOptions {
  readonly database: Database
  readonly world: World
  /** All of this build's. */
  readonly migrations: readonly Migration[]
  /** What else is written with the last row: when it is kept, the restore is. */
  readonly finish: (tx: Transaction) => Promise<void>
  /** Told now and then how many rows are kept. */
  readonly progress?: (rows: number) => void
}

/** Holds the row that makes a database an installation. */
const LAST_TABLE = 'audit_log'

/** @returns rows by table @throws TrustError of `readBackup`; `conflict` when the database is in use, `unsupported` for a newer backup */
export async function loadBackup(
  { manifest, records }: ReadBackup,
  options: LoadOptions,
): Promise<Totals & { readonly counts: Readonly<Record<string, number>> }> {
  const { database, world, migrations, finish, progress } = options
  const known = checkKnown(manifest, migrations)
  await clearUnfinished(database)
  await migrate(database, known, world)
  await checkSchema(database, manifest)
  const columnsOf = new Map(
    (await database.snapshot((snapshot) => snapshot.tables())).map(({ name, columns }) => [name, columns.toSorted().join()]),
  )

  const counts: Record<string, number> = {}
  const last: { columns: readonly string[]; rows: SqlRow[] } = { columns: [], rows: [] }
  let table: { readonly name: string; readonly columns: readonly string[] } | undefined
  let kept = 0
  let step = await records.next()
  for (; step.done !== true; step = await records.next()) {
    const record = step.value
    if (record.type === 'table') {
      const { name, columns } = record
      if (columnsOf.get(name) !== columns.toSorted().join()) throw badRecord(`the table ${name}`)
      counts[name] = 0
      table = record
      if (name === LAST_TABLE) last.columns = columns
      else await database.transaction((tx) => tx.query(`DELETE FROM ${name}`)) // what migrations put in
    } else {
      const { name, columns } = table as NonNullable<typeof table> // the reader has seen to the order
      const { rows } = record
      counts[name] = (counts[name] ?? 0) + rows.length
      if (name === LAST_TABLE) last.rows.push(...rows)
      else await database.transaction((tx) => tx.insertMany(name, columns, rows))
      world.faults.reach('backup rows kept')
      progress?.((kept += rows.length))
    }
  }
  // every signature is checked by now
  await migrate(database, migrations, world)
  world.faults.reach('backup loaded')
  await database.transaction(async (tx) => {
    await tx.insertMany(LAST_TABLE, last.columns, last.rows)
    await guardEntries(tx, database.id)
    await finish(tx)
  })
  return { ...step.value, counts }
}

/** @returns the migrations that the backup has seen */
function checkKnown({ migrations: ran }: Manifest, migrations: readonly Migration[]): readonly Migration[] {
  const ids = new Set(ran.map(({ id }) => id))
  const known = migrations.filter(({ id }) => ids.has(id))
  const unknown = ran.find(({ id }) => !known.some((migration) => migration.id === id))
  if (unknown !== undefined) throw new TrustError('unsupported', 'backupNewer', { facts: { what: `schema ${unknown.id}` } })
  return known
}

/** Of the same name, but another schema: rows would mean something else. */
async function checkSchema(database: Database, { migrations: ran }: Manifest): Promise<void> {
  const rows = await database.query<{ id: string; digest: string }>('SELECT id, digest FROM schema_migration')
  const made = new Map(rows.map(({ id, digest }) => [id, digest]))
  const edited = ran.find(({ id, digest }) => made.get(id) !== digest)
  if (edited !== undefined) throw new TrustError('conflict', 'migrationEdited', { facts: { migration: edited.id } })
}

/** Takes away what a restore that broke off left. @throws TrustError `conflict` for anything else that is there */
async function clearUnfinished(database: Database): Promise<void> {
  const tables = (await database.snapshot((snapshot) => snapshot.tables())).map(({ name }) => name)
  if (tables.length === 0) return
  const ours = tables.includes('schema_migration')
  const [log] = tables.includes(LAST_TABLE) ? await database.query(`SELECT id FROM ${LAST_TABLE} LIMIT 1`) : []
  if (!ours || log !== undefined) throw new TrustError('conflict', 'restoreDatabase')
  await database.transaction(async (tx) => {
    for (const name of tables.toReversed()) await tx.query(`DROP TABLE ${name}`)
  })
}
