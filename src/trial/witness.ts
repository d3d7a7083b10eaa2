/**
 * A witness of the audit log: a process of its own with a memory of its own, which cosigns only what continues what it saw.
 *
 * @module
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { HOST } from './ports.ts'
import { type RunningProcess, startCommand } from './server-process.ts'
import { must } from './story.ts'

export interface TrialWitness {
  /** What proves its cosignatures. */
  readonly verifierKey: string
  readonly url: string
  /** What proves the signatures of the log: taken once, before anything happened, and kept. */
  readonly logKey: string
  readonly process: RunningProcess
}

const STATE = 'witness'
const LOG_KEY_FILE = 'audit.vkey'
const NAME = 'witness.example/trial'

/** What `init` said of the log: kept where the witness is told from. */
export const keepLogKey = (directory: string, verifierKey: string): void =>
  writeFileSync(join(directory, LOG_KEY_FILE), `${verifierKey}\n`)

/** Made at the first start. @throws NotAsExpected where no key of the log was kept */
export async function startWitness(directory: string): Promise<TrialWitness> {
  const keyFile = join(directory, LOG_KEY_FILE)
  must(
    existsSync(keyFile),
    `${keyFile} is missing: the first start was broken off, or was of an older version. Remove the directory and start again.`,
  )
  const logKey = readFileSync(keyFile, 'utf8').trim()
  const state = join(directory, STATE)
  const words = ['audit', 'witness', '--state', state, '--log', logKey, '--listen', `${HOST}:0`]
  const create = existsSync(state) ? [] : ['--create', NAME]
  const { said, ...process } = await startCommand([...words, ...create], join(directory, 'witness.log'))
  const { verifierKey, url } = said as { readonly verifierKey: string; readonly url: string }
  return { verifierKey, url, logKey, process }
}
