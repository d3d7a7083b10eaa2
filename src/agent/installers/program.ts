/**
 * Programs that the device's settings name: run without a shell, with a bound on their time and on what is kept of their words.
 *
 * @module
 */
import { spawn } from 'node:child_process'
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { writeDurably } from '#base/durable-file.ts'
import { TrustError } from '#base/errors.ts'

/** A program and its arguments, in which `{name}` stands for a value. */
export type Call = readonly [program: string, ...rest: readonly string[]]

export interface Running {
  /** Where the program that runs is noted, so that one which outlived the agent is ended before it is begun again. */
  readonly directory: string
  readonly values: Readonly<Record<string, string>>
  readonly timeoutSeconds: number
}

/** Of what a program says, the end is kept. */
const KEPT_CHARACTERS = 64 << 10
/** For people, where it failed. */
const SHOWN_CHARACTERS = 1000
const NOTE = 'update-program'

/** @returns what it said @throws TrustError `unavailable` when it fails, is not there or takes too long */
export async function runProgram([program, ...rest]: Call, { directory, values, timeoutSeconds }: Running): Promise<string> {
  const note = join(directory, NOTE)
  endFormer(note)
  const filled = rest.map((one) => one.replaceAll(/\{(\w+)\}/g, (all, name: string) => values[name] ?? all))
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  const environment = Object.fromEntries(
    Object.entries(values).map(([name, value]) => [`SEALWORKS_${name.toUpperCase()}`, value]),
  )
  const child = spawn(program, filled, {
    detached: true, // of a group of its own, which can be ended as a whole
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env['PATH'] ?? '', LANG: 'C', ...environment },
  })
  const failed = (detail: string, cause?: unknown): TrustError =>
    new TrustError('unavailable', 'updateProgram', { facts: { program, detail }, cause })
  let said = ''
  const hear = (chunk: Uint8Array): void => {
    said = `${said}${new TextDecoder('latin1').decode(chunk)}`.slice(-KEPT_CHARACTERS)
  }
  child.stdout.on('data', hear)
  child.stderr.on('data', hear)
  child.on('error', (cause) => reject(failed(cause.message, cause)))
  if (child.pid !== undefined) {
    rmSync(note, { force: true })
    writeDurably(note, `${child.pid} ${startOf(child.pid) ?? ''}`, 0o600)
  }
  let isLate = false
  const timer = setTimeout(() => {
    isLate = true
    if (child.pid !== undefined) endGroup(child.pid)
  }, timeoutSeconds * 1000)
  child.on('close', (code, signal) => {
    if (isLate) reject(failed(`it took longer than ${timeoutSeconds} s`))
    else if (code === 0) resolve(said)
    else reject(failed(`${code === null ? `ended by ${signal}` : `status ${code}`}${said === '' ? '' : `: ${shown(said)}`}`))
  })
  try {
    return await promise
  } finally {
    clearTimeout(timer)
    rmSync(note, { force: true })
  }
}

const shown = (said: string): string =>
  said
    .replaceAll(/[^\n\x20-\x7e]/g, ' ')
    .trim()
    .split('\n')
    .slice(-5)
    .join(' | ')
    .slice(-SHOWN_CHARACTERS)

/** Two programs must not install at once. */
function endFormer(note: string): void {
  try {
    const [pid, start] = readFileSync(note, 'latin1').split(' ')
    if (start !== '' && start === startOf(Number(pid))) endGroup(Number(pid))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  rmSync(note, { force: true })
}

function endGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

/** When a process began, in ticks since the start of the system: a number that is used again is another process (proc(5)). */
function startOf(pid: number): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ').at(-1)?.split(' ')[19]
  } catch {
    return undefined // it has ended, or the system has no such file
  }
}
