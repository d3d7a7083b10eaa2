/**
 * The server of the trial and its witness, processes of their own, and other commands of the command line, which run in this one:
 * a story has many, and the start of a process takes longer than what most of them do.
 *
 * @module
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { systemWorld } from '#base/world.ts'
import { runCommandLine } from '#cli/run.ts'

/** The command line of this very checkout, on this very Node.js. */
const COMMAND_LINE = join(import.meta.dirname, '../cli/main.ts')

export const SERVER_LOG = 'server.log'

/** A command that stays up. */
export interface RunningProcess {
  /** Resolves when it has ended, whoever ended it. */
  readonly ended: Promise<Ending>
  /** Asks it to finish and waits; the same promise however often it is asked. */
  stop(): Promise<Ending>
}

export interface ServerProcess extends RunningProcess {
  /** `https://HOST:PORT` */
  readonly tls: string
  /** `http://HOST:PORT` */
  readonly public: string
}

export interface Ending {
  /** Undefined when a signal ended it. */
  readonly code: number | undefined
  readonly signal: string | undefined
}

export interface ServerOptions {
  readonly directory: string
  readonly configFile: string
  /** Beside our own. */
  readonly environment: Readonly<Record<string, string>>
}

/** A loaded machine starts it in a few seconds; the figure only bounds the wait for a server that hangs. */
const READY_MAX_SECONDS = 60
/** More than the server gives its last requests (`gracefulStopSeconds`). */
const STOP_MAX_SECONDS = 30
/** A problem document has a few hundred. */
const LOG_TAIL_CHARACTERS = 16_384

/** A restored installation derives keys from its recovery key; all others take less than a second. */
const COMMAND_MAX_SECONDS = 60

/** What a command line said, and how it ended. */
export interface CommandAnswer {
  readonly code: number
  readonly value: unknown
  readonly errors: string
}

/**
 * Runs one command of the command line, from its words to its exit code.
 *
 * @param environment its whole environment: settings come from the trial and from nowhere else
 */
export async function tryCommand(
  words: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): Promise<CommandAnswer> {
  const said = { stdout: '', stderr: '' }
  const outputTo = (stream: keyof typeof said) => ({
    columns: undefined,
    write: async (data: string | Uint8Array) =>
      void (said[stream] += typeof data === 'string' ? data : new TextDecoder().decode(data)),
  })
  const code = await runCommandLine([...words, '--json'], {
    world: systemWorld(),
    environment,
    directory: process.cwd(),
    signal: AbortSignal.timeout(COMMAND_MAX_SECONDS * 1000),
    stdout: outputTo('stdout'),
    stderr: outputTo('stderr'),
    stdin: async () => new Uint8Array(0),
  })
  return { code, value: said.stdout === '' ? undefined : JSON.parse(said.stdout), errors: said.stderr }
}

/**
 * @returns what it printed with `--json`
 * @throws CommandRefusal
 */
export async function runCommand(words: readonly string[], environment: Readonly<Record<string, string>> = {}): Promise<unknown> {
  const { code, value, errors } = await tryCommand(words, environment)
  if (code !== 0) throw new CommandRefusal(errors, `sealworks ${words[0]} ended with ${code}`)
  return value
}

/** @returns once it answers @throws CommandRefusal when it ended before that */
export async function startServer({ directory, configFile, environment }: ServerOptions): Promise<ServerProcess> {
  const words = ['serve', '--data', directory, '--config', configFile]
  const { said, ...running } = await startCommand(words, join(directory, SERVER_LOG), environment)
  const { tls, public: publicAddress } = said as { readonly tls: string; readonly public: string }
  return { tls, public: publicAddress, ...running }
}

/** @param log where its standard error goes @returns once it has said that it is up @throws CommandRefusal when it ended before that */
export async function startCommand(
  words: readonly string[],
  log: string,
  environment: Readonly<Record<string, string>> = {},
): Promise<RunningProcess & { readonly said: unknown }> {
  const errors = openSync(log, 'a', 0o600)
  // A group of its own: Ctrl-C in the terminal reaches the trial alone, which then asks the process to finish.
  const child = spawn(process.execPath, [COMMAND_LINE, ...words, '--json'], {
    stdio: ['ignore', 'pipe', errors],
    env: { ...ownEnvironment(), ...environment },
    detached: true,
  })
  closeSync(errors)
  const killWithUs = (): void => void child.kill('SIGTERM')
  process.once('exit', killWithUs)
  const ended = endOf(child).finally(() => process.off('exit', killWithUs))

  let stopping: Promise<Ending> | undefined
  const stop = (): Promise<Ending> => (stopping ??= stopChild(child, ended))
  const ready = await Promise.race([
    firstLineOf(child),
    ended.then(() => undefined),
    wait(READY_MAX_SECONDS * 1000, undefined, { ref: false }),
  ])
  if (ready === undefined) {
    await stop()
    throw new CommandRefusal(tailOf(log), `sealworks ${words[0]} did not start; its log is ${log}`)
  }
  return { said: JSON.parse(ready), ended, stop }
}

/** Settings come from the trial's own file and from nowhere else. */
const ownEnvironment = (): NodeJS.ProcessEnv =>
  Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('SEALWORKS_')))

async function stopChild(child: ChildProcess, ended: Promise<Ending>): Promise<Ending> {
  child.kill('SIGTERM')
  const ending = await Promise.race([ended, wait(STOP_MAX_SECONDS * 1000, undefined, { ref: false })])
  if (ending !== undefined) return ending
  child.kill('SIGKILL')
  return ended
}

const endOf = (child: ChildProcess): Promise<Ending> =>
  new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => resolve({ code: code ?? undefined, signal: signal ?? undefined }))
  })

function firstLineOf(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    let text = ''
    child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
      const end = text.indexOf('\n')
      if (end >= 0) resolve(text.slice(0, end))
    })
  })
}

const tailOf = (log: string): string => readFileSync(log, 'utf8').slice(-LOG_TAIL_CHARACTERS)

/** What a command said when it did not work. */
export class CommandRefusal extends Error {
  override readonly name = 'CommandRefusal'
  /** The stable word; undefined when it said nothing that can be read. */
  readonly reason: string | undefined

  /** @param text what it wrote: with `--json`, its last line is a problem document (RFC 9457) @param otherwise for want of one */
  constructor(text: string, otherwise: string) {
    const { detail, reason } = problemIn(text)
    super(detail ?? otherwise)
    this.reason = reason
  }
}

function problemIn(text: string): { readonly detail?: string; readonly reason?: string } {
  const last = text.trimEnd().split('\n').at(-1) ?? ''
  try {
    const { detail, reason } = JSON.parse(last) as { readonly detail?: unknown; readonly reason?: unknown }
    return {
      ...(typeof detail === 'string' && { detail }),
      ...(typeof reason === 'string' && { reason }),
    }
  } catch {
    return last === '' ? {} : { detail: last }
  }
}
