/** A REST interface on a database of its own, for tests. Not part of any program. @module */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Access, openAccess } from '#access/access.ts'
import { accessMigrations } from '#access/migrations.ts'
import type { Principal } from '#access/principals.ts'
import type { Role } from '#access/rights.ts'
import { listAuditEntries } from '#audit/log.ts'
import { auditMigrations } from '#audit/migrations.ts'
import { auditRecorder } from '#audit/recorder.ts'
import { silentLog } from '#base/log.ts'
import { secret, type Secret } from '#base/secret.ts'
import { systemWorld, type World } from '#base/world.ts'
import { utf8 } from '#base/bytes.ts'
import type { Router } from '#protocols/dispatch.ts'
import type { Database } from '#store/database.ts'
import { migrate } from '#store/migrate.ts'
import { sqlite } from '#store/sqlite/index.ts'
import { health } from '../health.ts'
import { accessRoutes } from './access.ts'
import { auditRoutes } from './audit.ts'
import type { RestContext } from './context.ts'
import { restMigrations } from './migrations.ts'
import type { Route } from './route.ts'
import { restRouter } from './router.ts'
import { serverRoutes } from './server.ts'

export interface RestSetting {
  readonly access: Access
  readonly database: Database
  readonly context: RestContext
  readonly routes: readonly Route[]
  readonly router: Router
  readonly world: World
  readonly time: { ahead: number }
  /** Acts, outcomes and reasons in the audit log, oldest first. */
  acts(): Promise<readonly string[]>
  /** A person with these roles, and a token of theirs. */
  person(
    name: string,
    roles: readonly Role[],
  ): Promise<{ readonly principal: Principal; readonly token: string; readonly secretToken: Secret }>
}

const organizationId = 'default'

/** @param context a test, at whose end the database goes @param more routes beside those of access, audit and server */
export async function openRest(
  context: { after(work: () => Promise<void>): void },
  more: readonly Route[] = [],
): Promise<RestSetting> {
  const directory = await mkdtemp(join(tmpdir(), 'sealworks-rest-'))
  const database = sqlite({ path: join(directory, 'rest.db') })
  context.after(async () => {
    await database.close()
    await rm(directory, { recursive: true })
  })
  const { random } = systemWorld()
  const time = { ahead: 0 }
  let tick = 1_800_000_000_000
  const world: World = { random, clock: { now: () => ++tick + time.ahead }, faults: { reach() {} } }
  await migrate(database, [...auditMigrations, ...accessMigrations, ...restMigrations], world)
  const audit = auditRecorder({ database, world, organizationId })
  const access = openAccess({ database, world, audit, organizationId })
  const log = { origin: 'test.example/audit', publicKey: new Uint8Array(0), verifierKey: '' }
  const routes: readonly Route[] = [
    ...serverRoutes({ health: health([], world.clock), version: '1.2.3', name: 'Test', startedAt: 0 }),
    ...accessRoutes(access),
    ...auditRoutes({ db: database, world, organizationId, log }),
    ...more,
  ]
  const restContext: RestContext = { access, audit, db: database, organizationId, world, log: silentLog, version: '1.2.3' }
  return {
    access,
    database,
    context: restContext,
    routes,
    router: restRouter(routes, restContext),
    world,
    time,
    async acts() {
      const { entries } = await listAuditEntries(database, { organizationId, limit: 1000 })
      return entries.map(({ act, outcome, reason }) => [act, outcome, reason ?? ''].join(' ').trim()).toReversed()
    },
    async person(name, roles) {
      const principal = await access.createPrincipal({ kind: 'person', name, roles }, 'system')
      const { token } = await access.createToken(principal.id, { name: 'test', lifetimeSeconds: 86_400 * 30 }, 'system')
      const text = new TextDecoder().decode(token.reveal('test'))
      return { principal, token: text, secretToken: secret(utf8(text)) }
    },
  }
}
