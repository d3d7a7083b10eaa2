/**
 * Backups of this installation: what goes into them, and for whom they are.
 *
 * @module
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { AuditLog } from '#audit/log.ts'
import { parseRecipients } from '#backup/recipients.ts'
import type { BackupFile } from '#backup/records.ts'
import { type Backups, backups } from '#backup/runs.ts'
import { utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import type { Log } from '#base/log.ts'
import type { Config } from '#config/config.ts'
import { type Foundation, openWrappingKey } from './compose.ts'
import { TLS_ROOT_FILE } from './init.ts'
import { VERSION } from './version.ts'

export interface BackupParts {
  readonly foundation: Foundation
  readonly auditLog: AuditLog
  readonly config: Config
  readonly environment: Readonly<Record<string, string | undefined>>
  readonly dataDirectory: string
  /** The configuration's file as it was read; empty where there is none. */
  readonly configText?: string | undefined
  readonly log: Log
}

export function composeBackups({ foundation, auditLog, config, log, ...where }: BackupParts): Backups {
  const { db, audit, world } = foundation
  return backups({
    database: db,
    world,
    audit,
    log: auditLog,
    directory: config.backup.directory,
    version: VERSION,
    report: log,
    alone: config.store.url.engine === 'sqlite',
    contents: async () => ({
      recipients: config.backup.recipients.flatMap((file) => parseRecipients(readRecipients(file ?? ''))),
      files: await filesBeside({ config, ...where }),
    }),
  })
}

function readRecipients(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (cause) {
    const problem = cause instanceof Error && 'code' in cause ? String(cause.code) : 'it cannot be used'
    throw new TrustError('unavailable', 'fileUnreadable', { facts: { file, problem }, cause })
  }
}

/** What an installation needs beside its database. */
async function filesBeside({
  config,
  environment,
  dataDirectory,
  configText = '',
}: Pick<BackupParts, 'config' | 'environment' | 'dataDirectory' | 'configText'>): Promise<readonly BackupFile[]> {
  const wrappingKey = await openWrappingKey(config, environment)
  const root = join(dataDirectory, TLS_ROOT_FILE)
  return [
    { name: 'wrapping.key', octets: wrappingKey.reveal('write it into an encrypted backup') },
    ...(configText === '' ? [] : [{ name: 'sealworks.toml' as const, octets: utf8(configText) }]),
    // other nodes of an installation on PostgreSQL have no copy
    ...(existsSync(root) ? [{ name: 'tls-root.pem' as const, octets: readFileSync(root) }] : []),
  ]
}
