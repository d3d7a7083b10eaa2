/** A log on each engine, for tests. @module */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { secret } from '#base/secret.ts'
import { systemWorld, type World } from '#base/world.ts'
import type { KeyStore } from '#keys/key-store.ts'
import { keysMigrations } from '#keys/migrations.ts'
import { softwareKeyStore } from '#keys/software/index.ts'
import type { Database } from '#store/database.ts'
import { migrate } from '#store/migrate.ts'
import { storeMigrations } from '#store/migrations.ts'
import { postgres } from '#store/postgres/index.ts'
import { postgresMissing, startPostgres, type TestServer } from '#store/postgres/testing.ts'
import { sqlite } from '#store/sqlite/index.ts'
import type { Audit } from './audit.ts'
import { type AuditLog, createAuditLog, openAuditLog } from './log.ts'
import { auditMigrations } from './migrations.ts'
import { auditRecorder } from './recorder.ts'
import { auditSequencer, type Sequencer } from './sequencer.ts'
import { verifyAuditLog } from './verify.ts'

export const organizationId = 'default'
export const origin = 'pki.example/audit'
export const done = { actor: 'system', act: 'test.act', object: 'thing:1', outcome: 'done' } as const

export interface Setting {
  readonly database: Database
  readonly keys: KeyStore
  readonly world: World
  readonly audit: Audit
  readonly log: AuditLog
  readonly sequencer: Sequencer
  /** Milliseconds that the clock is ahead. */
  readonly time: { ahead: number; fault: string }
  /** Another connection to the same database, as another process has. */
  connect(): Database
  /** Closes the database and opens it again, as after a crash. */
  reopen(): Promise<Setting>
}

export async function inSetting(body: (setting: Setting) => Promise<void>, engine: Database['id'] = 'sqlite'): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'sealworks-audit-'))
  const url = engine === 'postgres' ? await server?.createDatabase() : undefined
  const wrappingKey = secret(systemWorld().random.octets(32))
  const open: Database[] = []
  const connect = (): Database => {
    const database = url === undefined ? sqlite({ path: join(directory, 'audit.db') }) : postgres({ url })
    open.push(database)
    return database
  }
  const start = async (create: boolean): Promise<Setting> => {
    const system = systemWorld()
    const time = { ahead: 0, fault: '' }
    const world: World = {
      random: system.random,
      clock: { now: () => system.clock.now() + time.ahead },
      faults: {
        reach(point) {
          if (point === time.fault) throw new Error(`stopped at ${point}`)
        },
      },
    }
    const database = connect()
    await migrate(database, [...storeMigrations, ...keysMigrations, ...auditMigrations], world)
    const keys = softwareKeyStore({ database, world, organizationId, wrappingKey })
    const log = await (create
      ? createAuditLog({ database, world, organizationId, keys, origin })
      : openAuditLog({ database, organizationId, keys }))
    const audit = auditRecorder({ database, world, organizationId })
    const sequencer = auditSequencer({ database, world, log, holder: 'here' })
    return {
      database,
      keys,
      world,
      audit,
      log,
      sequencer,
      time,
      connect,
      reopen: () =>
        sequencer
          .release()
          .then(() => database.close())
          .then(() => start(false)),
    }
  }
  try {
    await body(await start(true))
  } finally {
    for (const database of open) await database.close()
    await rm(directory, { recursive: true })
  }
}

let server: TestServer | undefined
export const withoutPostgres = postgresMissing()
before(async () => {
  if (withoutPostgres === false) server = await startPostgres({ durable: false })
})
after(() => server?.stop())

/** One test for each engine. */
export function onEach(title: string, body: (setting: Setting) => Promise<void>): void {
  void test(`sqlite: ${title}`, () => inSetting(body))
  void test(`postgres: ${title}`, { skip: withoutPostgres }, () => inSetting(body, 'postgres'))
}

export const recordMany = ({ database, audit }: Setting, count: number) =>
  Promise.all(Array.from({ length: count }, (_, n) => database.transaction((tx) => audit.record(tx, { ...done, facts: { n } }))))

export const verify = ({ database, world, log }: Setting, witnessed: readonly string[] = []) =>
  verifyAuditLog(database, { organizationId, clock: world.clock, publicKey: log.publicKey, witnessed })

export async function lastNote({ database }: Setting): Promise<string> {
  const [row] = await database.query<{ note: string }>('SELECT note FROM audit_checkpoint ORDER BY size DESC LIMIT 1')
  return row?.note ?? assert.fail('no checkpoint')
}

/** As someone who may write the database: the triggers go first. */
export async function tamper({ database }: Setting, ...statements: readonly string[]): Promise<void> {
  const unguard =
    database.id === 'sqlite'
      ? ['DROP TRIGGER audit_entry_keep', 'DROP TRIGGER audit_entry_stay']
      : ['ALTER TABLE audit_entry DISABLE TRIGGER ALL']
  await database.transaction(async (tx) => {
    for (const sql of [...unguard, ...statements]) await tx.query(sql)
  })
}
