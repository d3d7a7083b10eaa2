/**
 * Opens a backup: whose it is, and then what it holds, checked as it is read.
 *
 * The signature at the beginning ties the key of the chunks to the installation, so that what is handed on was written
 * by who had both. The one at the end covers every record: only then nobody who can open the backup can have changed it,
 * so nothing may be put to use before the records have ended.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { importPublicKey, type PublicKey, verifySignature } from '#algorithms/public-key.ts'
import type { NoteKey } from '#audit/note-key.ts'
import { utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import type { Random } from '#base/world.ts'
import type { Opener } from '#cms/decrypt.ts'
import { openContainer } from './container.ts'
import { badRecord, type BackupFile, type BackupRecord, type Manifest, readRecords } from './records.ts'
import { endText, headText } from './write.ts'

/** Records that a reader sees: signatures, counts, files and the manifest are looked at here. */
type ContentRecord = Extract<BackupRecord, { type: 'table' | 'rows' }>

export interface ReadBackup {
  readonly manifest: Manifest
  /** To be put to use when the records have ended, not before. */
  readonly files: ReadonlyMap<BackupFile['name'], Uint8Array>
  /** Each table with its rows. **To be believed only when it has ended without throwing.** */
  readonly records: AsyncGenerator<ContentRecord, Totals, undefined>
}

export interface Totals {
  readonly rows: number
  readonly tables: number
}

export interface ReadBackupOptions {
  readonly opener: Opener
  /** Of the audit log of the installation whose backup it must be. */
  readonly verifierKey: NoteKey
  readonly random: Random
}

/**
 * @throws TrustError `malformed`, `forbidden` when it is for other recipients, `badProof` when it was changed or is not of
 *   that installation, `unsupported` for one of a newer version; the same from its records
 */
export async function readBackup(
  file: AsyncIterable<Uint8Array>,
  { opener, verifierKey, random }: ReadBackupOptions,
): Promise<ReadBackup> {
  if (verifierKey.kind !== 'log') throw new TrustError('malformed', 'verifierKey')
  const publicKey = logKey(verifierKey)
  const { head, content } = await openContainer(file, opener, random)
  const digest = createHash('sha256')
  const records = readRecords(content, (type, octets) => (type === 'signature' ? undefined : digest.update(octets)))

  const signature = await next(records, 'signature')
  await checkSigned(publicKey, headText(verifierKey.name, head), signature.octets)
  const { manifest } = await next(records, 'manifest')
  if (manifest.origin !== verifierKey.name) throw new TrustError('badProof', 'backupSignature')

  const files = new Map<BackupFile['name'], Uint8Array>()
  let step = await records.next()
  for (; step.done !== true && step.value.type === 'file'; step = await records.next())
    files.set(step.value.file.name, step.value.file.octets)

  async function* checked(first: typeof step): AsyncGenerator<ContentRecord, Totals, undefined> {
    const totals = yield* counted(first, records)
    const last = await next(records, 'signature')
    await checkSigned(publicKey, endText(manifest, digest.digest('hex')), last.octets)
    if ((await records.next()).done !== true) throw badRecord('records behind its end')
    return totals
  }
  return { manifest, files, records: checked(step) }
}

/** Backups are signed as checkpoints are: by P-256, whose key is a whole SubjectPublicKeyInfo. */
function logKey({ publicKey }: NoteKey): PublicKey {
  try {
    return importPublicKey(publicKey)
  } catch (cause) {
    throw new TrustError('malformed', 'verifierKey', { cause })
  }
}

async function checkSigned(key: PublicKey, text: string, octets: Uint8Array): Promise<void> {
  if (await verifySignature({ algorithm: 'ecdsa-sha256', octets }, key, utf8(text))) return
  throw new TrustError('badProof', 'backupSignature')
}

async function next<T extends BackupRecord['type']>(
  records: AsyncGenerator<BackupRecord, void, undefined>,
  type: T,
): Promise<Extract<BackupRecord, { type: T }>> {
  const step = await records.next()
  if (step.done === true || step.value.type !== type) throw badRecord(`no ${type} where one must be`)
  return step.value as Extract<BackupRecord, { type: T }>
}

/** Hands on what is of the content, and compares the counts. */
async function* counted(
  first: IteratorResult<BackupRecord, void>,
  records: AsyncGenerator<BackupRecord, void, undefined>,
): AsyncGenerator<ContentRecord, Totals, undefined> {
  const seen = new Set<string>()
  let rows = 0
  let inTable: number | undefined
  for (let step = first; ; step = await records.next()) {
    if (step.done === true) throw badRecord('it has no end')
    const record = step.value
    switch (record.type) {
      case 'table':
        if (inTable !== undefined || seen.has(record.name)) throw badRecord(`the table ${record.name}`)
        seen.add(record.name)
        inTable = 0
        yield record
        break
      case 'rows':
        if (inTable === undefined) throw badRecord('rows without a table')
        inTable += record.rows.length
        rows += record.rows.length
        yield record
        break
      case 'tableEnd':
        if (inTable !== record.rows) throw badRecord('the number of rows of a table')
        inTable = undefined
        break
      case 'end':
        if (inTable !== undefined || record.rows !== rows || record.tables !== seen.size)
          throw badRecord('its numbers of tables and rows')
        return { rows, tables: seen.size }
      case 'signature':
      case 'manifest':
      case 'file':
        throw badRecord(`a ${record.type} among its content`)
    }
  }
}
