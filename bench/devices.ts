/**
 * Whether a device's certificate is usable: asked at each connection, of 1,000,000 devices on SQLite and 10,000,000 on PostgreSQL.
 *
 * `BENCH_DEVICES` and `BENCH_DEVICES_POSTGRES` make them fewer. The rows are those of issuance but for the certificates' octets,
 * which no decision needs.
 *
 * @module
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isUsable } from '#devices/usable.ts'
import type { Database } from '#store/database.ts'
import { migrate } from '#store/migrate.ts'
import { postgres } from '#store/postgres/index.ts'
import { startPostgres } from '#store/postgres/testing.ts'
import { sqlite } from '#store/sqlite/index.ts'
import { migrations } from '../src/server/compose.ts'
import type { Figure } from './figure.ts'
import { world } from './plant.ts'

const DEVICES = Number(process.env['BENCH_DEVICES'] ?? 1_000_000)
const DEVICES_POSTGRES = Number(process.env['BENCH_DEVICES_POSTGRES'] ?? 10_000_000)
const SECONDS = 3
const ROWS_EACH = 200_000
/** So that every number has as many digits. */
const FIRST = 1_000_000_000_000_000

export async function benchDevices(): Promise<readonly Figure[]> {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-bench-'))
  const figures: Figure[] = []
  try {
    figures.push(...(await benchOn(sqlite({ path: join(directory, 'bench.db') }), DEVICES)))
  } finally {
    rmSync(directory, { recursive: true })
  }
  const server = await startPostgres({ durable: false })
  try {
    figures.push(...(await benchOn(postgres({ url: await server.createDatabase() }), DEVICES_POSTGRES)))
  } finally {
    await server.stop()
  }
  return figures
}

async function benchOn(db: Database, devices: number): Promise<readonly Figure[]> {
  try {
    await migrate(db, migrations, world)
    await plant(db, devices)
    const bare = await times(() => db.query('SELECT 1 AS one'))
    const decisions = await times(() => decide(db, Math.floor(Math.random() * devices)))
    const name = `devices.usable.${db.id}`
    const note = `${(devices / 1e6).toPrecision(3)} million devices, one after the other; a bare query takes ${at(bare, 0.5).toFixed(3)} ms`
    return [
      { name: `${name}.median`, value: at(decisions, 0.5), unit: 'ms', reach: { below: 1 }, note },
      { name: `${name}.p99`, value: at(decisions, 0.99), unit: 'ms', reach: { below: 5 } },
    ]
  } finally {
    await db.close()
  }
}

/** As a listener does: the CA's record by issuer and serial number, then the device by the certificate. */
async function decide(db: Database, number: number): Promise<void> {
  const [row] = await db.query(
    'SELECT * FROM certificate WHERE serial_number = ? AND authority_id = ?',
    ...[Buffer.from(String(FIRST + number)), 'bench'],
  )
  const facts = {
    certificateId: row?.['id'] as string,
    status: row?.['state'] as string,
    isIssuerEnabled: true,
    notBefore: row?.['not_before'] as number,
    notAfter: row?.['not_after'] as number,
  }
  const usable = await isUsable(db, facts, world.clock.now())
  if (!usable.isUsable) throw new Error(`device ${number} is refused: ${usable.reason}`)
}

async function times(work: () => Promise<unknown>): Promise<readonly number[]> {
  const found: number[] = []
  for (let i = 0; i < 200; i++) await work()
  const end = performance.now() + SECONDS * 1000
  while (performance.now() < end) {
    const begun = performance.now()
    await work()
    found.push(performance.now() - begun)
  }
  return found.toSorted((a, b) => a - b)
}

const at = (sorted: readonly number[], share: number): number => sorted[Math.floor(sorted.length * share)] as number

/** One in twenty is not active, so that the index of those has something in it. */
async function plant(db: Database, devices: number): Promise<void> {
  const constants = [
    `INSERT INTO organization (id, organization_id, version, name, title, kind, created_at) VALUES ('o', 'default', 1, 'o', 'o', 'owner', 0)`,
    `INSERT INTO product_model (id, organization_id, version, manufacturer_id, name, title, hardware_type, compatible, variants,
      assurance_min, state, created_at) VALUES ('m', 'default', 1, 'o', 'm', 'm', NULL, '{}', '[]', 0, 'enabled', 0)`,
    `INSERT INTO application_area (id, organization_id, version, owner_id, name, title, authority, profiles, policy, assurance_min,
      models, state, created_at) VALUES ('a', 'default', 1, 'o', 'a', 'a', 'a.1', '[]', '{}', 0, NULL, 'enabled', 0)`,
  ]
  await db.transaction(async (tx) => {
    for (const sql of constants) await tx.query(sql)
  })
  const isPostgres = db.id === 'postgres'
  const numbers = isPostgres
    ? 'WITH n (i) AS (SELECT generate_series(CAST(? AS BIGINT), CAST(? AS BIGINT)))'
    : 'WITH RECURSIVE n (i) AS (SELECT CAST(? AS INTEGER) UNION ALL SELECT i + 1 FROM n WHERE i < ?)'
  const numbered = (columns: string, select: string) => (table: string) =>
    `INSERT INTO ${table} (${columns}) ${numbers} SELECT ${select} FROM n`
  const tables: readonly (readonly [string, (table: string) => string])[] = [
    [
      'device',
      numbered(
        `id, organization_id, version, manufacturer_id, model_id, revision_id, kind, product_serial, state, quarantined_from, given_from,
          assurance, epoch, owner_id, area_id, next_area_id, is_lost, is_stolen, is_clone, created_at, changed_at`,
        `'device ' || CAST(i AS TEXT), 'default', 1, 'o', 'm', NULL, 'device', 'SN-' || CAST(i AS TEXT),
          CASE WHEN i % 20 = 0 THEN 'area-change' ELSE 'active' END, NULL, NULL, 2, 1, 'o', 'a', NULL, 0, 0, 0, i, i`,
      ),
    ],
    [
      'device_certificate',
      numbered(
        'certificate_id, organization_id, version, device_id, key_hash, role, epoch, area_id, standing, due, created_at',
        `'certificate ' || CAST(i AS TEXT), 'default', 1, 'device ' || CAST(i AS TEXT), CAST(CAST(i AS TEXT) AS BLOB), 'operational', 1, 'a',
          'current', NULL, i`,
      ),
    ],
    [
      'certificate',
      numbered(
        `id, organization_id, version, authority_id, serial_number, profile, endpoint_id, subject, product_serial, key_hash, not_before,
          not_after, state, revoked_at, revocation_reason, crl_shard, der, created_at`,
        `'certificate ' || CAST(i AS TEXT), 'default', 1, 'bench', CAST(CAST(i AS TEXT) AS BLOB), 'ldevid', NULL, 'CN=' || CAST(i AS TEXT),
          'SN-' || CAST(i AS TEXT), CAST(CAST(i AS TEXT) AS BLOB), 0, 253402300799000, 'active', NULL, NULL, 0, CAST('' AS BLOB), i`,
      ),
    ],
  ]
  const indexes = isPostgres
    ? await indexesOf(
        db,
        tables.map(([table]) => table),
      )
    : []
  await db.transaction(async (tx) => {
    for (const { name } of indexes) await tx.query(`DROP INDEX ${name}`)
  })
  for (let from = 0; from < devices; from += ROWS_EACH) {
    const range = [FIRST + from, FIRST + Math.min(devices, from + ROWS_EACH) - 1]
    const fill = ([table, sql]: (typeof tables)[number]): Promise<void> =>
      db.transaction(async (tx) => {
        // the rows refer to each other rightly: looking that up ten million times is no part of what is measured
        if (isPostgres) await tx.query("SET LOCAL session_replication_role = 'replica'")
        await tx.query(sql(table), ...range)
      })
    if (isPostgres) await Promise.all(tables.map(fill))
    else for (const table of tables) await fill(table)
  }
  await Promise.all(indexes.map(({ definition }) => db.transaction((tx) => tx.query(definition))))
  // what a database does by itself with time
  await db.transaction((tx) => tx.query('ANALYZE'))
}

/** Those that no constraint needs: building one over all rows is several times faster than keeping it while they come. */
async function indexesOf(
  db: Database,
  tables: readonly string[],
): Promise<readonly { readonly name: string; readonly definition: string }[]> {
  return db.query<{ name: string; definition: string }>(
    `SELECT indexname AS name, indexdef AS definition FROM pg_indexes i
      WHERE tablename IN (${tables.map(() => '?').join(', ')})
        AND NOT EXISTS (SELECT 1 FROM pg_constraint c WHERE c.conname = i.indexname)`,
    ...tables,
  )
}
