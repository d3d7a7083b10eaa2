/**
 * SoftHSM tokens of a test's own: in a temporary directory, gone with the test.
 *
 * @module
 */
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

export const PIN = '2468-tokens'
const SO_PIN = '1357-officer'

/** From `test/interop/programs.ts`, which rooms do not import. */
export interface SoftHSMPrograms {
  readonly util: string
  readonly library: string
}

export interface SoftHSM extends Disposable {
  readonly directory: string
  readonly library: string
  /** What a process needs to find these tokens. */
  readonly environment: Readonly<Record<string, string | undefined>>
  initialize(label: string): Promise<void>
  /** As `softhsm2-util --import`: a PKCS #8 PEM file. */
  import(token: string, label: string, id: string, file: string): Promise<void>
  /** Takes all tokens away, or puts them back. */
  remove(): void
  restore(): void
  /** Takes away the one that was initialized n-th. */
  removeOne(index: number): void
  restoreOne(index: number): void
}

/** @param mechanisms `slots.mechanisms` of SoftHSM's configuration: ALL, or a list, or what is left out after a minus */
export function softHSM({ util, library }: SoftHSMPrograms, mechanisms = 'ALL'): SoftHSM {
  const directory = mkdtempSync(join(tmpdir(), 'sealworks-softhsm-'))
  const tokens = join(directory, 'tokens')
  mkdirSync(tokens)
  const file = join(directory, 'softhsm2.conf')
  writeFileSync(
    file,
    `directories.tokendir = ${tokens}\nobjectstore.backend = file\nlog.level = ERROR\nslots.mechanisms = ${mechanisms}\n`,
  )
  const environment = { PATH: process.env['PATH'], SOFTHSM2_CONF: file }
  const order: string[] = []
  const ask = async (...words: readonly string[]): Promise<void> => {
    await run(util, [...words], { env: environment })
  }
  return {
    directory,
    library,
    environment,
    async initialize(label) {
      await ask('--init-token', '--free', '--label', label, '--so-pin', SO_PIN, '--pin', PIN)
      order.push(...readdirSync(tokens).filter((name) => !order.includes(name)))
    },
    import: (token, label, id, pem) => ask('--import', pem, '--token', token, '--label', label, '--id', id, '--pin', PIN),
    remove: () => renameSync(tokens, `${tokens}-away`),
    restore: () => renameSync(`${tokens}-away`, tokens),
    removeOne: (index) => renameSync(join(tokens, order[index] as string), join(directory, order[index] as string)),
    restoreOne: (index) => renameSync(join(directory, order[index] as string), join(tokens, order[index] as string)),
    [Symbol.dispose]: () => rmSync(directory, { recursive: true, force: true }),
  }
}
