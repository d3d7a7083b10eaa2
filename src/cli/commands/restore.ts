/** `sealworks restore`: an installation from its backup. @module */
import { resolve } from 'node:path'
import { readSecret } from '#config/secret-file.ts'
import { command, type Context, many, text } from '../command.ts'
import { sourceOf } from '../backup-source.ts'
import { readInput } from '../files.ts'
import { installationOptions, type InstallationValues, openConfiguration } from '../installation.ts'
import { fields } from '../terminal.ts'
import { UsageError } from '../usage.ts'

interface Given extends InstallationValues {
  readonly file: string | undefined
  readonly recoveryKey: string | undefined
  readonly verifierKey: string | undefined
  readonly checkpoint: readonly string[]
  readonly journal: string | undefined
  readonly override: string | undefined
  readonly consentFile: readonly string[]
}

/** An audit entry has room for more, but a reason is a sentence or two. */
const REASON_MIN_CHARACTERS = 10
const REASON_MAX_CHARACTERS = 1000

export const commands = [
  command({
    noun: 'restore',
    summary: 'Restore an installation from a backup, and let it issue again',
    details:
      'First, with a backup: makes the data directory (--data, a new one) and the database that the configuration names, which must be empty. The restored installation answers, but issues nothing, since it cannot know what was issued after the backup. Then, with --journal, reads the journal that was written since (setting backup.journal) and issues again; or, when that is lost too, with --override and the reason in your words, which the audit log keeps. Both may be done at once. Runs on this machine only, and asks for no person, unless the configuration asks for people who agree to --override: whoever holds recovery key and backup holds everything.',
    example:
      'sealworks restore plant.backup --data ./data --recovery-key recovery.key --verifier-key "$(cat audit.vkey)" --journal /mnt/journal',
    operands: { file: text('FILE', 'the backup; left out when it was restored before') },
    options: {
      ...installationOptions,
      recoveryKey: text('FILE', 'the recovery key, as "backup recovery-key" wrote it'),
      verifierKey: text('KEY', 'the public key of the audit log as `init` printed it, or a file that holds it'),
      checkpoint: many(
        'FILE',
        'a signed checkpoint of the audit log that was kept elsewhere; with --journal, what it must have come to',
      ),
      journal: text('DIR', 'the journal written since the backup'),
      override: text('REASON', 'issue without it, and why: what was issued since the backup stays unknown'),
      consentFile: many('FILE', 'with --override: a token of one who agrees, where approvals.overridePeople asks for some'),
    },
    async run(context, given: Given) {
      const { file, journal, override } = given
      if (journal !== undefined && override !== undefined) throw new UsageError('--journal and --override exclude each other.')
      if (file === undefined && journal === undefined && override === undefined)
        throw new UsageError('Name a backup, or --journal or --override for one that was restored.')
      checkReason(override)
      const restored = file === undefined ? undefined : await restore(context, file, given)
      const opened = journal === undefined && override === undefined ? undefined : await open(context, given)
      const value = { ...restored, issues: opened !== undefined, ...opened }
      const next =
        opened === undefined
          ? 'It issues nothing yet. Next: sealworks restore --journal DIR, or --override REASON'
          : `It issues again. Next: sealworks serve --data ${given.data ?? 'DIR'}`
      return { value, text: `${restored === undefined ? '' : 'The installation is restored.\n'}${fields(value)}${next}\n` }
    },
  }),
]

function checkReason(reason: string | undefined): void {
  if (reason === undefined) return
  const { length } = reason.trim()
  if (length < REASON_MIN_CHARACTERS || length > REASON_MAX_CHARACTERS)
    throw new UsageError(`--override takes the reason, in ${REASON_MIN_CHARACTERS} to ${REASON_MAX_CHARACTERS} characters.`)
}

async function restore(context: Context, file: string, given: Given) {
  const { recoveryKey, verifierKey, checkpoint, data, config } = given
  if (recoveryKey === undefined || verifierKey === undefined)
    throw new UsageError('A backup needs --recovery-key and --verifier-key.')
  if (data === undefined) throw new UsageError('--data names the new directory.')
  const { restoreInstallation } = await import('#server/restore.ts')
  const progress = context.progress('rows')
  // a checkpoint that is newer than the backup is for the journal to reach
  const reached = given.journal === undefined ? checkpoint : []
  const source = await sourceOf(context, { file, recoveryKey, verifierKey, checkpoint: reached })
  const configText = config === undefined ? undefined : new TextDecoder().decode(await readInput(context, config))
  const { manifest, rows, counts, keysTried } = await restoreInstallation({
    ...source,
    dataDirectory: resolve(context.directory, data),
    configText,
    environment: context.environment,
    progress: (count) => progress.at(count),
  }).finally(() => progress.end())
  return {
    dataDirectory: resolve(context.directory, data),
    backup: manifest.id,
    madeAt: new Date(manifest.createdAt).toISOString(),
    rows,
    certificates: counts['certificate'] ?? 0,
    keysTried,
  }
}

async function open(context: Context, { journal, override, consentFile, checkpoint, ...where }: Given) {
  const { openRestored } = await import('#server/restore.ts')
  const opened = await openConfiguration(context, where)
  const progress = context.progress('entries')
  const consents = consentFile.map((file) =>
    readSecret({ kind: 'file', path: resolve(context.directory, file) }, context.environment),
  )
  const by =
    journal === undefined ? { override: (override ?? '').trim(), consents } : { journal: resolve(context.directory, journal) }
  const textOf = async (name: string): Promise<string> => new TextDecoder().decode(await readInput(context, name))
  const witnessed = await Promise.all(checkpoint.map(textOf))
  const replayed = await openRestored({ ...opened, by, witnessed, progress: (entries) => progress.at(entries) }).finally(() =>
    progress.end(),
  )
  if (replayed === undefined) return { overridden: true }
  const { entries, certificates, changes, ofLostAuthorities, toDoAgain } = replayed
  return { journal: { entries, certificates, changes, ofLostAuthorities }, lookAtAgain: toDoAgain }
}
