/** `sealworks backup`: backups of the whole installation, and the keys that open them. @module */
import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from 'node:fs'
import { resolve } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import type { AnswerOf } from '#server/rest/client.ts'
import { command, type Context, flag, many, oneOf, required, text } from '../command.ts'
import { type Caller, clientCommand, connect, connectionOptions } from '../connection.ts'
import { backupOptions, sourceOf } from '../backup-source.ts'
import { exitCodes } from '../exit-codes.ts'
import { checkWritable, writeOutput } from '../files.ts'
import { fields, table } from '../terminal.ts'

type Run = AnswerOf<'showBackup'>

export const commands = [
  clientCommand({
    noun: 'backup',
    verb: 'create',
    summary: 'Make an encrypted backup of everything, while the server works',
    details:
      'The server writes it into its directory of backups (setting backup.directory), for the recovery keys that are configured (backup.recipients). With --to it is copied here as well. Software keys are in it; keys in tokens are not, and need copies of their own.',
    example: 'sealworks backup create --to /media/stick/plant.backup',
    options: {
      to: text('FILE', 'also copy it into this file'),
      force: flag('replace the file if it is there'),
    },
    async run(client, { to, force }, context) {
      if (to !== undefined) checkWritable(context, to, force)
      const made = await finished(client, await client.call('createBackup', { body: {} }), context)
      if (made.state !== 'done') {
        const why = made.reason === undefined ? '' : ` (${made.reason}, see the server's log)`
        return { value: made, text: `The backup was not made${why}.\n`, exitCode: exitCodes.failed }
      }
      if (to !== undefined) await copyHere(client, made, resolve(context.directory, to), context)
      const value = { ...made, copy: to ?? null }
      const place = to === undefined ? `the server's directory of backups as ${made.file}` : to
      return { value, text: `The backup is in ${place}: ${made.rows} rows, ${made.octets} bytes.\n` }
    },
  }),

  clientCommand({
    noun: 'backup',
    verb: 'list',
    summary: 'Backups that were made, newest first',
    example: 'sealworks backup list',
    async run(client, _, { columns }) {
      const value = await client.call('listBackups', {})
      const shape = [
        { title: 'BACKUP', cell: ({ file }: Run) => file },
        { title: 'STATE', cell: ({ state }: Run) => state },
        { title: 'ROWS', cell: ({ rows }: Run) => rows },
        { title: 'BYTES', cell: ({ octets }: Run) => octets },
        { title: 'MADE', cell: ({ startedAt }: Run) => startedAt.slice(0, 16) },
        { title: 'TRIED OUT', cell: ({ rehearsedAt }: Run) => rehearsedAt?.slice(0, 16) },
      ]
      return { value, text: table(value.backups, shape, columns) }
    },
  }),

  command({
    noun: 'backup',
    verb: 'verify',
    summary: 'Try a backup out: restore it into a temporary database and look at all of it',
    details:
      'Opens the backup with a recovery key, checks that it is whole and from your installation, restores it, reads the whole audit log, and signs once with every key in it. Nothing of it stays on this machine. Ends with 9 when the audit log is not whole. With --record the installation notes that the backup was tried out.',
    example: 'sealworks backup verify plant.backup --recovery-key recovery.key --verifier-key "$(cat audit.vkey)"',
    operands: { file: required(text('FILE', 'the backup')) },
    options: {
      ...backupOptions,
      checkpoint: many('FILE', 'a signed checkpoint of the audit log that was kept elsewhere'),
      record: flag('note at the installation that the backup was tried out'),
    },
    sharedOptions: connectionOptions,
    async run(context, { file, recoveryKey, verifierKey, checkpoint, record }, shared) {
      const { rehearseBackup } = await import('#server/restore.ts')
      const progress = context.progress('rows')
      const source = await sourceOf(context, { file, recoveryKey, verifierKey, checkpoint })
      const seen = await rehearseBackup({ ...source, progress: (rows) => progress.at(rows) }).finally(() => progress.end())
      const { manifest, audit } = seen
      const whole = audit.problems.length === 0
      if (record && whole) {
        const client = await connect(context, shared as Parameters<typeof connect>[1]) // the parser read them by that table
        try {
          await client.call('recordRehearsal', { body: { backupId: manifest.id } })
        } finally {
          await client.close()
        }
      }
      const value = {
        verified: whole,
        backup: manifest.id,
        installation: manifest.origin,
        madeAt: new Date(manifest.createdAt).toISOString(),
        madeBy: `Sealworks ${manifest.version} on ${manifest.engine}`,
        rows: seen.rows,
        tables: seen.tables,
        certificates: seen.counts['certificate'] ?? 0,
        keysTried: seen.keysTried,
        auditEntries: audit.size,
        signedEntries: audit.signedSize,
        problems: audit.problems.map(({ sentence }) => sentence),
      }
      const verdict = whole ? 'The backup is whole and can be restored.' : 'The audit log in the backup is NOT whole.'
      return { value, text: `${verdict}\n${fields(value)}`, exitCode: whole ? exitCodes.done : exitCodes.verificationFailed }
    },
  }),

  command({
    noun: 'backup',
    verb: 'recovery-key',
    summary: 'Make a recovery key, which opens backups',
    details:
      'Writes two files: FILE with the key, to be kept in a safe and nowhere else, and FILE.pem with its certificate, which the server needs (setting backup.recipients). Whoever has the key and a backup has everything. x25519 is understood best; ml-kem-768 and ml-kem-1024 also resist quantum computers.',
    example: 'sealworks backup recovery-key --out /media/stick/recovery.key',
    options: {
      out: required(text('FILE', 'where to write the key; the certificate goes beside it with .pem added')),
      algorithm: oneOf(['x25519', 'p256', 'ml-kem-768', 'ml-kem-1024'], 'x25519 unless told'),
      name: text('NAME', 'whose key it is; "Recovery key" unless told'),
    },
    async run(context, { out, algorithm = 'x25519', name = 'Recovery key' }) {
      const { makeRecoveryKey } = await import('#server/restore.ts')
      const certificateFile = `${out}.pem`
      checkWritable(context, out, false)
      checkWritable(context, certificateFile, false)
      const { certificate, key } = await makeRecoveryKey({ algorithm, name }, context.world)
      const octets = key.reveal('hand the recovery key to its owner')
      writeOutput(context, { file: out, octets, isSecret: true, force: false })
      writeOutput(context, { file: certificateFile, octets: certificate, isSecret: false, force: false })
      const lines = [
        `${out} opens backups: put it into a safe, twice, and delete it here.`,
        `${certificateFile} is for the server. In sealworks.toml:`,
        '  [backup]',
        `  recipients = ["${resolve(context.directory, certificateFile)}"]`,
      ]
      return { value: { key: out, certificate: certificateFile, algorithm }, text: `${lines.join('\n')}\n` }
    },
  }),
]

const ASK_MILLISECONDS = 200

async function finished(client: Caller, begun: Run, { progress, signal }: Context): Promise<Run> {
  const bar = progress('rows')
  let run = begun
  try {
    while (run.state === 'running') {
      bar.at(run.rows)
      await wait(ASK_MILLISECONDS, undefined, { signal })
      run = await client.call('showBackup', { params: { id: run.id } })
    }
    return run
  } finally {
    bar.end()
  }
}

/** Into a file beside, so that a file of that name is whole. */
async function copyHere(client: Caller, { id, octets }: Run, path: string, { progress }: Context): Promise<void> {
  const part = `${path}.part`
  const file = openSync(part, 'w', 0o600)
  const bar = progress('bytes', octets)
  try {
    let copied = 0
    for (let number = 0, last = false; !last; number++) {
      const piece = await client.call('fetchBackup', { params: { id, number: String(number) } })
      copied += writeSync(file, Uint8Array.fromBase64(piece.octets))
      bar.at(copied)
      last = piece.last
    }
    fsyncSync(file)
    renameSync(part, path)
  } catch (error) {
    rmSync(part, { force: true })
    throw error
  } finally {
    bar.end()
    closeSync(file)
  }
}
