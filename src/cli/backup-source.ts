/** A backup with what opens it, as commands are told of them. @module */
import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { type Context, required, text } from './command.ts'
import { readInput } from './files.ts'

export const backupOptions = {
  recoveryKey: required(text('FILE', 'the recovery key, as "backup recovery-key" wrote it')),
  verifierKey: required(text('KEY', 'the public key of the audit log as `init` printed it, or a file that holds it')),
}

interface Given {
  readonly file: string
  readonly recoveryKey: string
  readonly verifierKey: string
  readonly checkpoint: readonly string[]
}

/** @throws TrustError `malformed`, `notFound`, `policyRefused` when others may read the recovery key */
export async function sourceOf(context: Context, { file, recoveryKey, verifierKey, checkpoint }: Given) {
  const { directory, environment, world } = context
  const { parseVerifierKey } = await import('#audit/note-key.ts')
  const { readSecret } = await import('#config/secret-file.ts')
  const { parseRecoveryKey } = await import('#server/restore.ts')
  const textOf = async (name: string): Promise<string> => new TextDecoder().decode(await readInput(context, name))
  const written = existsSync(resolve(directory, verifierKey)) ? await textOf(verifierKey) : verifierKey
  return {
    file: resolve(directory, file),
    opener: parseRecoveryKey(readSecret({ kind: 'file', path: resolve(directory, recoveryKey) }, environment)),
    verifierKey: parseVerifierKey(written),
    witnessed: await Promise.all(checkpoint.map(textOf)),
    world,
  }
}
