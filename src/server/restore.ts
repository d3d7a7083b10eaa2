/**
 * Restores an installation from a backup, tries a backup out, and opens a restored installation for issuance.
 *
 * A restore works in a directory beside the one that it is to be, which gets its name when everything in it was checked:
 * whatever breaks off, there is a whole installation or none.
 *
 * @module
 */
import { createReadStream, existsSync } from 'node:fs'
import { mkdir, mkdtemp, open, readdir, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join, relative, sep } from 'node:path'
import { type Access, openAccess } from '#access/access.ts'
import { actorOf } from '#access/principals.ts'
import { auditRecorder } from '#audit/recorder.ts'
import { findLog } from '#audit/log.ts'
import type { NoteKey } from '#audit/note-key.ts'
import { verifyAuditLog } from '#audit/verify.ts'
import { type Examination, examineRestored } from '#backup/examine.ts'
import { loadBackup } from '#backup/load.ts'
import { type ReadBackup, readBackup } from '#backup/read.ts'
import type { Manifest } from '#backup/records.ts'
import { journalFiles } from '#backup/journal.ts'
import { type Replayed, replayJournal } from '#backup/replay.ts'
import { equal } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { type Secret, secret } from '#base/secret.ts'
import type { World } from '#base/world.ts'
import { closeIssuance, openIssuance, readRestoration } from '#ca/restoration.ts'
import { DEFAULT_ORGANIZATION } from '#ca/tables.ts'
import type { Opener } from '#cms/decrypt.ts'
import { type Config, parseConfig } from '#config/config.ts'
import { keyStores } from '#keys/registry.ts'
import type { Database } from '#store/database.ts'
import { lockDirectory } from '#store/directory-lock.ts'
import { openDatabase } from '#store/registry.ts'
import { holdRestoredCampaigns } from '#updates/campaigns/campaigns.ts'
import { migrations, openFoundation, openWrappingKey } from './compose.ts'
import { databaseURLOf } from './database-url.ts'
import { TLS_ROOT_FILE } from './init.ts'

// for the command line, which knows this room alone
export { makeRecoveryKey, parseRecoveryKey } from '#backup/recipients.ts'

const [softwareStore] = keyStores

/** Of the names of campaigns in one entry of the audit log: all of them are in the list of campaigns. */
const PAUSED_MAX_CHARACTERS = 1000

export interface BackupSource {
  /** The backup. */
  readonly file: string
  readonly opener: Opener
  /** Of the installation whose backup it must be. */
  readonly verifierKey: NoteKey
  /** Signed checkpoints that were kept elsewhere. */
  readonly witnessed: readonly string[]
  readonly world: World
  /** Told now and then how many rows were restored. */
  readonly progress?: (rows: number) => void
}

export interface Rehearsal extends Examination {
  readonly manifest: Manifest
  readonly rows: number
  readonly tables: number
  /** By table. */
  readonly counts: Readonly<Record<string, number>>
}

/**
 * Restores a backup into a temporary database, looks at all of it, and throws it away.
 *
 * @throws TrustError as `readBackup`, `loadBackup` and `examineRestored` do
 */
export async function rehearseBackup(source: BackupSource): Promise<Rehearsal> {
  const directory = await mkdtemp(join(tmpdir(), 'sealworks-rehearsal-'))
  try {
    const backup = await openSource(source)
    const database = openDatabase(`sqlite:${join(directory, 'sealworks.db')}`)
    try {
      return await load(source, backup, database)
    } finally {
      await database.close()
    }
  } finally {
    await rm(directory, { recursive: true })
  }
}

const openSource = ({ file, opener, verifierKey, world }: BackupSource): Promise<ReadBackup> => {
  if (!existsSync(file)) throw new TrustError('notFound', 'fileUnreadable', { facts: { file, problem: 'ENOENT' } })
  return readBackup(createReadStream(file, { highWaterMark: 1 << 18 }), { opener, verifierKey, random: world.random })
}

async function load(source: BackupSource, backup: ReadBackup, database: Database): Promise<Rehearsal> {
  const { world, verifierKey, witnessed, progress } = source
  const { manifest } = backup
  const organizationId = DEFAULT_ORGANIZATION
  const { record } = auditRecorder({ database, world, organizationId })
  const loaded = await loadBackup(backup, {
    database,
    world,
    migrations,
    async finish(tx) {
      await closeIssuance(tx, world, manifest)
      const held = await holdRestoredCampaigns(tx, world)
      const facts = {
        ...{ logSize: manifest.logSize, createdAt: new Date(manifest.createdAt).toISOString() },
        ...(held.length > 0 && { campaigns: held.length, paused: held.join(' ').slice(0, PAUSED_MAX_CHARACTERS) }),
      }
      await record(tx, { actor: 'system', act: 'backup.restore', object: `backup:${manifest.id}`, outcome: 'done', facts })
    },
    ...(progress !== undefined && { progress }),
  })
  const wrappingKey = wrappingKeyOf(backup)
  const keys = softwareStore.make({ database, world, organizationId, wrappingKey })
  const examined = await examineRestored({ database, world, organizationId, keys, verifierKey, witnessed })
  return { manifest, ...loaded, ...examined }
}

function wrappingKeyOf({ files }: ReadBackup): Secret {
  const octets = files.get('wrapping.key')
  if (octets === undefined) throw new TrustError('malformed', 'badBackup', { facts: { detail: 'no key-wrapping key' } })
  return secret(octets)
}

export interface RestoreOptions extends BackupSource {
  /** Absolute; made here. */
  readonly dataDirectory: string
  /** Instead of the configuration in the backup. */
  readonly configText?: string | undefined
  readonly environment: Readonly<Record<string, string | undefined>>
}

export interface Restored extends Rehearsal {
  readonly config: Config
}

/**
 * @returns when all of it is on disk under its name; issuance is closed
 * @throws TrustError `conflict` when directory or database are in use, `badProof` when the audit log is not whole; and as
 *   {@link rehearseBackup}
 */
export async function restoreInstallation(options: RestoreOptions): Promise<Restored> {
  const { dataDirectory, environment, configText, world } = options
  await checkTarget(dataDirectory)
  const staging = `${dataDirectory}.restoring`
  await mkdir(staging, { recursive: true, mode: 0o700 })
  const lock = lockDirectory(staging, 'sealworks restore')
  let locked = true
  const release = (): void => {
    if (locked) lock.release()
    locked = false
  }
  try {
    await emptyStaging(staging)
    const backup = await openSource(options)
    const written = backup.files.get('sealworks.toml')
    const config = parseConfig({ file: configText ?? Buffer.from(written ?? '').toString(), environment, dataDirectory })
    const places = stagePlaces(dataDirectory, staging)
    await stageWrappingKey(config, environment, backup, places)
    const root = backup.files.get('tls-root.pem')
    if (written !== undefined && configText === undefined) await keepFile(join(staging, 'sealworks.toml'), written, 0o600)
    if (root !== undefined) await keepFile(join(staging, TLS_ROOT_FILE), root, 0o644)

    const database = await openTarget(config, environment, places)
    let restored
    try {
      restored = await load(options, backup, database)
    } finally {
      await database.close()
    }
    const [problem] = restored.audit.problems
    if (problem !== undefined) throw new TrustError('badProof', 'restoreLogDamaged', { facts: { problem: problem.sentence } })
    world.faults.reach('restore checked')
    for (const { staged, place } of places.outside()) await rename(staged, place)
    await syncDirectory(staging)
    await rename(staging, dataDirectory)
    await syncDirectory(dirname(dataDirectory))
    return { ...restored, config }
  } catch (error) {
    await emptyStaging(staging).catch(() => {})
    release()
    await rm(staging, { recursive: true, force: true })
    throw error
  } finally {
    release()
  }
}

/** A directory that is not there, or empty: a rename takes its place. */
async function checkTarget(dataDirectory: string): Promise<void> {
  const found = await readdir(dataDirectory).catch(() => [])
  if (found.length > 0) throw new TrustError('conflict', 'restoreTarget', { facts: { directory: dataDirectory } })
  await mkdir(dirname(dataDirectory), { recursive: true })
}

/** What an earlier restore left that broke off. The lock's file is held open, and stays. */
async function emptyStaging(staging: string): Promise<void> {
  for (const name of await readdir(staging))
    if (!name.startsWith('lock.db')) await rm(join(staging, name), { recursive: true, force: true })
}

interface Places {
  /** Where a file is written until everything was checked. */
  stage(place: string): string
  /** Those outside of the directory, which get their names one by one. */
  outside(): readonly { readonly staged: string; readonly place: string }[]
}

function stagePlaces(dataDirectory: string, staging: string): Places {
  const outside: { staged: string; place: string }[] = []
  return {
    stage(place) {
      const inside = relative(dataDirectory, place)
      if (inside !== '..' && !inside.startsWith(`..${sep}`)) return join(staging, inside)
      const staged = `${place}.restoring`
      outside.push({ staged, place })
      return staged
    },
    outside: () => outside,
  }
}

/** The key that is configured to wrap keys has to be the one that wrapped them. */
async function stageWrappingKey(
  config: Config,
  environment: RestoreOptions['environment'],
  backup: ReadBackup,
  places: Places,
): Promise<void> {
  const octets = wrappingKeyOf(backup).reveal('restore it')
  const { wrappingKey } = config.keys
  if (wrappingKey.kind === 'env' || existsSync(wrappingKey.path)) {
    const present = (await openWrappingKey(config, environment)).reveal('compare')
    if (!equal(present, octets)) throw new TrustError('conflict', 'backupWrappingKey')
    return
  }
  const path = places.stage(wrappingKey.path)
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  await rm(path, { force: true })
  await keepFile(path, octets, 0o600)
}

async function keepFile(path: string, octets: Uint8Array, mode: number): Promise<void> {
  const file = await open(path, 'wx', mode)
  try {
    await file.writeFile(octets)
    await file.sync()
  } finally {
    await file.close()
  }
}

/** Empty; a SQLite file is a new one. @throws TrustError `conflict` */
async function openTarget(config: Config, environment: RestoreOptions['environment'], places: Places): Promise<Database> {
  const { engine, location } = config.store.url
  if (engine === 'postgres') return openDatabase(databaseURLOf(config, environment))
  if (existsSync(location)) throw new TrustError('conflict', 'restoreDatabase')
  const path = places.stage(location)
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  for (const end of ['', '-wal', '-shm']) await rm(`${path}${end}`, { force: true })
  return openDatabase(`sqlite:${path}`)
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}

export interface OpenIssuanceOptions {
  readonly dataDirectory: string
  readonly config: Config
  readonly environment: Readonly<Record<string, string | undefined>>
  readonly world: World
  /** What shows what came after the backup, or why nothing does: in a person's words, for the audit log. */
  readonly by: { readonly journal: string } | { readonly override: string; readonly consents?: readonly Secret[] }
  /** Signed checkpoints that were kept elsewhere: with the journal, the audit log must have come so far. */
  readonly witnessed?: readonly string[]
  readonly progress?: (entries: number) => void
}

/**
 * Lets a restored installation issue again. No server runs on it meanwhile.
 *
 * @throws TrustError `conflict` when it issues already or a server holds the directory; `badProof` when the journal ends
 *   before a checkpoint that was kept elsewhere; and as `replayJournal`
 */
export async function openRestored(options: OpenIssuanceOptions): Promise<Replayed | undefined> {
  const { dataDirectory, config, world, by, progress } = options
  if (!existsSync(join(dataDirectory, TLS_ROOT_FILE))) throw new TrustError('unavailable', 'notInitialized')
  const lock = lockDirectory(dataDirectory, 'sealworks restore')
  try {
    const { db, keys, audit, organizationId } = await openFoundation(options)
    try {
      const restoration = await readRestoration(db)
      if (restoration?.state !== 'closed') throw new TrustError('conflict', 'issuanceOpen')
      const object = `backup:${restoration.backupId}`
      if ('override' in by) {
        const access = openAccess({ database: db, world, audit, organizationId })
        const consents = await consenting(access, by.consents ?? [], config.approvals.overridePeople)
        if (config.backup.journal !== undefined) await setJournalAside(config.backup.journal, restoration.backupId)
        const logSize = (await findLog(db, organizationId))?.size ?? 0
        await db.transaction(async (tx) => {
          if (!(await openIssuance(tx, world))) throw new TrustError('conflict', 'issuanceOpen')
          const facts = { reason: by.override, logSize, ...(consents.length > 0 && { consents: consents.join(' ') }) }
          await audit.record(tx, { actor: 'system', act: 'backup.override', object, outcome: 'done', facts })
        })
        return undefined
      }
      const replayed = await replayJournal({
        ...{ database: db, world, organizationId, directory: by.journal },
        ...(progress !== undefined && { progress }),
      })
      const { witnessed = [] } = options
      const { problems } = await verifyAuditLog(db, { organizationId, clock: world.clock, witnessed })
      const problem = problems.find(({ kind }) => kind !== 'waiting')
      if (problem !== undefined) throw new TrustError('badProof', 'journalShort', { facts: { problem: problem.sentence } })
      await db.transaction(async (tx) => {
        if (!(await openIssuance(tx, world))) throw new TrustError('conflict', 'issuanceOpen')
        const { entries, certificates, changes } = replayed
        const facts = { entries, certificates, changes }
        await audit.record(tx, { actor: 'system', act: 'backup.open', object, outcome: 'done', facts })
      })
      return replayed
    } finally {
      await keys.close()
      await db.close()
    }
  } finally {
    lock.release()
  }
}

/**
 * Tokens are the only way to agree that a restored installation knows of and that needs no server.
 *
 * @param least 0 where nobody has to @returns who agreed, each once
 * @throws TrustError `policyRefused` when they are too few, `unauthenticated` for a token that the backup does not know
 */
async function consenting(access: Access, tokens: readonly Secret[], least: number): Promise<readonly string[]> {
  const agreed = new Set<string>()
  for (const token of tokens) {
    const principal = await access.authenticateToken(new TextDecoder().decode(token.reveal('consent to a restored past')).trim())
    if (principal.kind === 'person' && principal.roles.includes('approver')) agreed.add(actorOf(principal))
  }
  if (agreed.size < least) throw new TrustError('policyRefused', 'overrideAlone', { facts: { least, agreed: agreed.size } })
  return [...agreed]
}

/** What is issued from now on is another past than the journal's, which must not be continued. */
async function setJournalAside(directory: string, backupId: string): Promise<void> {
  if (!existsSync(directory)) return
  const aside = join(directory, `before-${backupId}`)
  await mkdir(aside, { recursive: true, mode: 0o700 })
  for (const name of await journalFiles(directory)) await rename(join(directory, basename(name)), join(aside, name))
}
