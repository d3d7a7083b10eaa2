/** A plant with a recovery key, worked on in process, for the tests of backups. Not part of any program. @module */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openAuditLog } from '#audit/log.ts'
import { parseVerifierKey } from '#audit/note-key.ts'
import { auditSequencer } from '#audit/sequencer.ts'
import { journal } from '#backup/journal.ts'
import { makeRecoveryKey, parseRecoveryKey, type RecoveryAlgorithm } from '#backup/recipients.ts'
import { silentLog } from '#base/log.ts'
import { systemWorld, uuidv7, type World } from '#base/world.ts'
import { issueForRequest } from '#ca/by-hand.ts'
import { testRequest } from '#ca/testing.ts'
import { nameOf } from '#x509/name.ts'
import { type Config, parseConfig } from '#config/config.ts'
import { composeBackups } from './backup.ts'
import { type Foundation, openCA, openFoundation } from './compose.ts'
import { initialize } from './init.ts'
import { restoreInstallation } from './restore.ts'

type Settings = Readonly<Record<string, string>>

export interface Plant {
  readonly directory: string
  readonly dataDirectory: string
  readonly config: Config
  readonly world: World & { time: { ahead: number }; fault: { at: string | undefined } }
  readonly recoveryKey: ReturnType<typeof parseRecoveryKey>
  readonly verifierKey: ReturnType<typeof parseVerifierKey>
}

const directories: string[] = []

/** For the end of a test file. */
export const removeAll = (): void => directories.forEach((directory) => rmSync(directory, { recursive: true, force: true }))

export class Fault extends Error {}

export function testWorld(): Plant['world'] {
  const system = systemWorld()
  const time = { ahead: 0 }
  const fault: { at: string | undefined } = { at: undefined }
  return {
    ...system,
    time,
    fault,
    clock: { now: () => system.clock.now() + time.ahead },
    faults: {
      reach(point) {
        if (point === fault.at) throw new Fault(point)
      },
    },
  }
}

export function temporary(): string {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-restore-'))
  directories.push(directory)
  return directory
}

export const environment = {}

/** An installation with a recovery key, a root and an issuing authority. */
export async function makePlant(
  url: string,
  { algorithm = 'x25519' }: { readonly algorithm?: RecoveryAlgorithm } = {},
): Promise<Plant> {
  const directory = temporary()
  const world = testWorld()
  const dataDirectory = join(directory, 'data')
  mkdirSync(dataDirectory, { mode: 0o700 })
  const recovery = await makeRecoveryKey({ algorithm, name: 'Recovery of a test' }, world)
  writeFileSync(join(directory, 'recovery.pem'), recovery.certificate)
  const file = [
    ['[store]', `url = "${url}"`],
    ['[server]', 'publicUrl = "http://pki.test"'],
    ['[backup]', `recipients = ["${join(directory, 'recovery.pem')}"]`, `journal = "${join(directory, 'journal')}"`],
  ]
  writeFileSync(join(dataDirectory, 'sealworks.toml'), file.flat().join('\n'))
  const config = configOf(dataDirectory)
  const made = await initialize({ dataDirectory, config, world, environment, administrator: 'Ada' })
  const plant: Plant = {
    ...{ directory, dataDirectory, config, world },
    recoveryKey: parseRecoveryKey(recovery.key),
    verifierKey: parseVerifierKey(made.auditVerifierKey),
  }
  await atWork(plant, async ({ ca }) => {
    const named = (text: string) => nameOf([{ type: 'CN', value: text }])
    await ca.authorities.create({ slug: 'root', name: named('Root'), profile: 'root', keyAlgorithm: 'ecdsa-p256' }, 'person:ada')
    const below = { profile: 'issuing', issuer: 'root', keyAlgorithm: 'ecdsa-p256' } as const
    await ca.authorities.create({ slug: 'line1', name: named('Line 1'), ...below }, 'person:ada')
  })
  return plant
}

export const configOf = (dataDirectory: string, settings: Settings = {}): Config =>
  parseConfig({ file: readFileSync(join(dataDirectory, 'sealworks.toml'), 'utf8'), environment: settings, dataDirectory })

export interface Working {
  readonly foundation: Foundation
  readonly ca: Awaited<ReturnType<typeof openCA>>
  /** Issues to a new key. @returns the certificate's id */
  issue(name: string): Promise<string>
  /** @returns the file */
  backUp(): Promise<string>
  /** As the background does: entries get their places, the journal follows. */
  settle(): Promise<void>
}

export async function atWork<T>(
  { dataDirectory, world, directory }: Pick<Plant, 'dataDirectory' | 'world' | 'directory'>,
  work: (working: Working) => Promise<T>,
  config = configOf(dataDirectory),
): Promise<T> {
  const foundation = await openFoundation({ config, world, environment })
  const { db, keys, organizationId } = foundation
  try {
    const ca = await openCA(foundation, config)
    const log = await openAuditLog({ database: db, organizationId, keys })
    const configText = readFileSync(join(dataDirectory, 'sealworks.toml'), 'utf8')
    const made = composeBackups({ foundation, auditLog: log, config, environment, dataDirectory, configText, log: silentLog })
    const options = { database: db, world, log, alone: true }
    return await work({
      foundation,
      ca,
      async issue(name) {
        const { certificateId } = await issueForRequest(
          ca.context,
          ca.authorities,
          { authority: 'line1', profile: 'tls-client' },
          await requestFor(name),
          'person:ada',
        )
        return certificateId
      },
      async backUp() {
        const { id } = await made.start('person:ada')
        await made.settle()
        const run = await made.find(id)
        assert.equal(run.state, 'done', run.reason ?? 'no reason')
        return join(config.backup.directory, run.file)
      },
      async settle() {
        const sequencer = auditSequencer({ ...options, holder: uuidv7(world) })
        await sequencer.runOnce()
        await sequencer.release()
        const follower = journal({ ...options, directory: join(directory, 'journal'), holder: uuidv7(world) })
        await follower.runOnce()
        await follower.release()
      },
    })
  } finally {
    await keys.close()
    await db.close()
  }
}

const requestFor = async (name: string): Promise<Uint8Array> =>
  (await testRequest({ subject: [{ type: 'CN', value: name }] })).der

export const sourceOf = (plant: Plant, file: string) => ({
  ...{ file, opener: plant.recoveryKey, verifierKey: plant.verifierKey, witnessed: [], world: plant.world },
})

/** Into another directory of the same plant. @param url of the database there */
export async function restoreBeside(plant: Plant, file: string, url = 'sqlite:sealworks.db'): Promise<Plant> {
  const dataDirectory = join(plant.directory, `restored-${uuidv7(plant.world)}`)
  const configText = readFileSync(join(plant.dataDirectory, 'sealworks.toml'), 'utf8').replace(/url = ".*"/, `url = "${url}"`)
  const { config } = await restoreInstallation({ ...sourceOf(plant, file), dataDirectory, environment, configText })
  writeFileSync(join(dataDirectory, 'sealworks.toml'), configText)
  return { ...plant, dataDirectory, config }
}
