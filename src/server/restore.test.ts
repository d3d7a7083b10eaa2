/** Backups made, tried out and restored, on both engines, and what must be refused. R22, R23. */
import assert from 'node:assert/strict'
import { generateKeyPairSync, sign } from 'node:crypto'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { openAuditLog } from '#audit/log.ts'
import { parseVerifierKey } from '#audit/note-key.ts'
import { auditSequencer } from '#audit/sequencer.ts'
import { latestCheckpoint } from '#audit/checkpoints.ts'
import { journal } from '#backup/journal.ts'
import { makeRecoveryKey, parseRecoveryKey, type RecoveryAlgorithm, recoveryAlgorithms } from '#backup/recipients.ts'
import { silentLog } from '#base/log.ts'
import { systemWorld, uuidv7, type World } from '#base/world.ts'
import { issueForRequest } from '#ca/by-hand.ts'
import { findCertificates, revokeCertificate } from '#ca/certificates.ts'
import { issueCRL } from '#ca/crl.ts'
import { encodeCertificationRequest } from '#x509/certification-request.ts'
import { nameOf } from '#x509/name.ts'
import { type Config, parseConfig } from '#config/config.ts'
import { postgresMissing, startPostgres, type TestServer } from '#store/postgres/testing.ts'
import { composeBackups } from './backup.ts'
import { type Foundation, openCA, openFoundation } from './compose.ts'
import { initialize } from './init.ts'
import { openRestored, rehearseBackup, restoreInstallation } from './restore.ts'

type Settings = Readonly<Record<string, string>>

interface Plant {
  readonly directory: string
  readonly dataDirectory: string
  readonly config: Config
  readonly world: World & { time: { ahead: number }; fault: { at: string | undefined } }
  readonly recoveryKey: ReturnType<typeof parseRecoveryKey>
  readonly verifierKey: ReturnType<typeof parseVerifierKey>
}

const directories: string[] = []
after(() => directories.forEach((directory) => rmSync(directory, { recursive: true, force: true })))

class Fault extends Error {}

function testWorld(): Plant['world'] {
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

function temporary(): string {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-restore-'))
  directories.push(directory)
  return directory
}

const environment = {}

/** An installation with a recovery key, a root and an issuing authority. */
async function makePlant(url: string, { algorithm = 'x25519' }: { readonly algorithm?: RecoveryAlgorithm } = {}): Promise<Plant> {
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

const configOf = (dataDirectory: string, settings: Settings = {}): Config =>
  parseConfig({ file: readFileSync(join(dataDirectory, 'sealworks.toml'), 'utf8'), environment: settings, dataDirectory })

interface Working {
  readonly foundation: Foundation
  readonly ca: Awaited<ReturnType<typeof openCA>>
  /** Issues to a new key. @returns the certificate's id */
  issue(name: string): Promise<string>
  /** @returns the file */
  backUp(): Promise<string>
  /** As the background does: entries get their places, the journal follows. */
  settle(): Promise<void>
}

async function atWork<T>(
  { dataDirectory, world, directory }: Pick<Plant, 'dataDirectory' | 'world' | 'directory'>,
  work: (working: Working) => Promise<T>,
  config = configOf(dataDirectory),
): Promise<T> {
  const foundation = await openFoundation({ config, world, environment })
  const { db, keys, organizationId } = foundation
  try {
    const ca = await openCA(foundation, config)
    const log = await openAuditLog({ database: db, organizationId, keys })
    const configFile = join(dataDirectory, 'sealworks.toml')
    const made = composeBackups({ foundation, auditLog: log, config, environment, dataDirectory, configFile, log: silentLog })
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
        assert.equal(run.state, 'done', run.reason)
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

async function requestFor(name: string): Promise<Uint8Array> {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return encodeCertificationRequest(
    {
      subject: nameOf([{ type: 'CN', value: name }]),
      publicKey: new Uint8Array(publicKey.export({ type: 'spki', format: 'der' })),
      extensions: [],
    },
    { signatureAlgorithm: 'ecdsa-sha256', sign: (message) => sign('sha256', message, privateKey) },
  )
}

const sourceOf = (plant: Plant, file: string) => ({
  ...{ file, opener: plant.recoveryKey, verifierKey: plant.verifierKey, witnessed: [], world: plant.world },
})

/** Into another directory of the same plant. @param url of the database there */
async function restoreBeside(plant: Plant, file: string, url = 'sqlite:sealworks.db'): Promise<Plant> {
  const dataDirectory = join(plant.directory, `restored-${uuidv7(plant.world)}`)
  const configText = readFileSync(join(plant.dataDirectory, 'sealworks.toml'), 'utf8').replace(/url = ".*"/, `url = "${url}"`)
  const { config } = await restoreInstallation({ ...sourceOf(plant, file), dataDirectory, environment, configText })
  writeFileSync(join(dataDirectory, 'sealworks.toml'), configText)
  return { ...plant, dataDirectory, config }
}

interface Engine {
  readonly name: 'sqlite' | 'postgres'
  readonly skip: string | false
  url(): Promise<string>
}

let server: TestServer | undefined
const engines: readonly Engine[] = [
  { name: 'sqlite', skip: false, url: async () => 'sqlite:sealworks.db' },
  {
    name: 'postgres',
    skip: postgresMissing(), // the driver takes the socket's directory from the query
    url: async () => (await (server as TestServer).createDatabase()).replace('@/', '@localhost/'),
  },
]

before(async () => {
  if (postgresMissing() === false) server = await startPostgres({ durable: false })
})
after(() => server?.stop())

for (const { name, skip, url } of engines) {
  describe(`backup on ${name}`, { skip }, () => {
    test('what was restored is what was backed up, and issues nothing until it is told (R22)', async () => {
      const plant = await makePlant(await url())
      const { file, known } = await atWork(plant, async ({ issue, backUp, ca }) => {
        const revoked = await issue('one')
        await issue('two')
        await revokeCertificate(ca.context, revoked, 'keyCompromise', 'person:ada')
        return { file: await backUp(), known: await findCertificates(ca.context, {}, { limit: 100 }) }
      })
      const restored = await restoreBeside(plant, file, await url())
      await atWork(restored, async ({ ca, issue }) => {
        assert.deepEqual(await findCertificates(ca.context, {}, { limit: 100 }), known)
        await assert.rejects(issue('three'), { code: 'unavailable', reason: 'issuanceClosed' })
        assert.equal((await issueCRL(ca.context, ca.authorities.byAddress('line1'), 0, 'system')).entries, 1)
      })
      await openRestored({ ...restored, environment, by: { override: 'the journals burned' } })
      await atWork(restored, async ({ issue, foundation }) => {
        await issue('three')
        const acts = await foundation.db.query<{ act: string; facts: string }>(
          "SELECT act, facts FROM audit_entry WHERE act LIKE 'backup.%' ORDER BY id",
        )
        assert.deepEqual(
          acts.map(({ act }) => act),
          ['backup.restore', 'backup.override'],
        )
        assert.match(acts[1]?.facts ?? '', /the journals burned/)
      })
      await assert.rejects(openRestored({ ...restored, environment, by: { override: 'again' } }), { reason: 'issuanceOpen' })
    })
  })
}
