/** Devices on a temporary database of either engine, for the tests of this room. @module */
import { hash } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { auditMigrations } from '#audit/migrations.ts'
import { auditRecorder } from '#audit/recorder.ts'
import { utf8 } from '#base/bytes.ts'
import { systemWorld, type World } from '#base/world.ts'
import type { Database, Migration } from '#store/database.ts'
import { migrate } from '#store/migrate.ts'
import { storeMigrations } from '#store/migrations.ts'
import { sqlite } from '#store/sqlite/index.ts'
import { type ApplicationArea, type AreaTerms, createArea } from './areas.ts'
import type { Birth } from './birth-record.ts'
import type { DevicesContext } from './context.ts'
import { devicesMigrations } from './migrations.ts'
import { createModel, type ModelTerms, type ProductModel } from './models.ts'
import { createOrganization, type Organization } from './organizations.ts'

export const officer = 'person:olga'

export interface TestDevices extends AsyncDisposable {
  readonly context: DevicesContext
  readonly time: { ahead: number }
}

/** @param db of either engine; a temporary SQLite unless told @param more of the folders of this room that the test is about */
export async function testDevices(db?: Database, more: readonly Migration[] = []): Promise<TestDevices> {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-devices-'))
  const database = db ?? sqlite({ path: join(directory, 'sealworks.db') })
  const system = systemWorld()
  const time = { ahead: 0 }
  const world: World = { ...system, clock: { now: () => system.clock.now() + time.ahead } }
  await migrate(database, [...storeMigrations, ...auditMigrations, ...devicesMigrations, ...more], world)
  const organizationId = 'default'
  const audit = auditRecorder({ database, world, organizationId })
  return {
    context: { db: database, audit, world, organizationId },
    time,
    async [Symbol.asyncDispose]() {
      await database.close()
      rmSync(directory, { recursive: true })
    },
  }
}

export const testOrganization = (
  { context }: Pick<TestDevices, 'context'>,
  name: string,
  kind: Organization['kind'] = 'owner',
): Promise<Organization> => createOrganization(context, { name, title: name, kind }, officer)

export const testModel = (
  { context }: Pick<TestDevices, 'context'>,
  manufacturerId: string,
  name: string,
  terms: Partial<ModelTerms> = {},
): Promise<ProductModel> =>
  createModel(
    context,
    {
      ...{ manufacturerId, name, title: name, hardwareType: undefined, compatible: {} },
      ...{ variants: ['software', 'tpm'], assuranceMin: 0, ...terms },
    },
    officer,
  )

export const testArea = (
  { context }: Pick<TestDevices, 'context'>,
  ownerId: string,
  name: string,
  terms: Partial<AreaTerms> = {},
): Promise<ApplicationArea> =>
  createArea(
    context,
    {
      ...{ ownerId, name, title: name, authority: `${name}.1`, profiles: ['operational'], policy: {} },
      ...{ assuranceMin: 0, models: undefined, ...terms },
    },
    officer,
  )

export const keyHashOf = (name: string): Uint8Array => new Uint8Array(hash('sha256', utf8(name), 'buffer'))

export const testBirth = (key: string, certificateId: string, more: Partial<Birth> = {}): Birth => ({
  ...{ variant: 'software', assurance: 2, keyHash: keyHashOf(key), certificateId, bornAt: 0, evidence: {} },
  ...more,
})
