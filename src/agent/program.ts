/**
 * Programs that the device's own settings name: run without a shell, as a group of processes with a bound on their time, and on
 * what is kept of their words.
 *
 * @module
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { concat } from '#base/bytes.ts'
import { writeDurably } from '#base/durable-file.ts'
import { TrustError } from '#base/errors.ts'

/** A program and its fixed arguments. */
export type Call = readonly [program: string, ...rest: readonly string[]]

interface Starting {
  readonly call: Call
  /** Beside PATH and LANG. */
  readonly environment: Readonly<Record<string, string>>
  readonly timeoutSeconds: number
  readonly input?: string
  /** Of standard output, and of standard error where that is not the agent's own. */
  hear(chunk: Uint8Array): void
  readonly errors: 'heard' | 'inherited'
}

interface Ending {
  /** Undefined when it did not end by itself. */
  readonly code: number | undefined
  readonly signal: string | undefined
  readonly isLate: boolean
  /** Why it could not be begun. */
  readonly cause: Error | undefined
}

/** Does not reject. @returns the process, which is the first of its group, unless it could not be begun */
function start({ call: [program, ...rest], environment, timeoutSeconds, input, hear, errors }: Starting): {
  readonly pid: number | undefined
  readonly ended: Promise<Ending>
} {
  const { promise: ended, resolve } = Promise.withResolvers<Ending>()
  const child = spawn(program, rest, {
    detached: true, // of a group of its own, which can be ended as a whole
    stdio: ['pipe', 'pipe', errors === 'heard' ? 'pipe' : 'inherit'],
    env: { PATH: process.env['PATH'] ?? '', LANG: 'C', ...environment },
  }) as ChildProcessByStdio<Writable, Readable, Readable | null>
  const { pid, stdin, stdout, stderr } = child
  stdout.on('data', hear)
  stderr?.on('data', hear)
  stdin.on('error', () => {}) // it does not read what it does not need
  stdin.end(input)
  let isLate = false
  const timer = setTimeout(() => {
    isLate = true
    if (pid !== undefined) endGroup(pid)
    stdout.destroy() // whoever left the group may hold the other end
    stderr?.destroy()
  }, timeoutSeconds * 1000)
  const end = (ending: Omit<Ending, 'isLate'>): void => {
    clearTimeout(timer)
    resolve({ ...ending, isLate })
  }
  child.on('error', (cause) => end({ code: undefined, signal: undefined, cause }))
  child.on('close', (code, signal) => end({ code: code ?? undefined, signal: signal ?? undefined, cause: undefined }))
  return { pid, ended }
}

export interface Order {
  readonly call: Call
  /** On its standard input. */
  readonly input: string
  readonly environment: Readonly<Record<string, string>>
  readonly timeoutSeconds: number
  /** What it writes beyond is not kept. */
  readonly outputMaxOctets: number
}

export interface Ended {
  /** Undefined when it did not end by itself, or could not be begun. */
  readonly exitCode: number | undefined
  /** What it wrote first. */
  readonly output: Uint8Array
}

/** For an answer to somebody: the beginning of what it says is kept. Does not reject. */
export async function runWithInput({ outputMaxOctets, ...order }: Order): Promise<Ended> {
  const chunks: Uint8Array[] = []
  let room = outputMaxOctets
  const hear = (chunk: Uint8Array): void => {
    chunks.push(chunk.subarray(0, room))
    room = Math.max(0, room - chunk.length)
  }
  const { code } = await start({ ...order, hear, errors: 'inherited' }).ended
  return { exitCode: code, output: concat(chunks) }
}

export interface Running {
  /** Where the program that runs is noted, so that one which outlived the agent is ended before it is begun again. */
  readonly directory: string
  /** What `{name}` in an argument stands for. */
  readonly values: Readonly<Record<string, string>>
  readonly timeoutSeconds: number
}

/** Of what a program says, the end is kept. */
const KEPT_CHARACTERS = 64 << 10
/** For people, where it failed. */
const SHOWN_CHARACTERS = 1000
const NOTE = 'update-program'

/** For a step of an update. @returns what it said @throws TrustError `unavailable` when it fails, is not there or takes too long */
export async function runProgram([program, ...rest]: Call, { directory, values, timeoutSeconds }: Running): Promise<string> {
  const note = join(directory, NOTE)
  endFormer(note)
  let said = ''
  const { pid, ended } = start({
    call: [program, ...rest.map((one) => one.replaceAll(/\{(\w+)\}/g, (all, name: string) => values[name] ?? all))],
    environment: Object.fromEntries(Object.entries(values).map(([name, value]) => [`SEALWORKS_${name.toUpperCase()}`, value])),
    timeoutSeconds,
    hear(chunk) {
      said = `${said}${new TextDecoder('latin1').decode(chunk)}`.slice(-KEPT_CHARACTERS)
    },
    errors: 'heard',
  })
  if (pid !== undefined) writeDurably(note, `${pid} ${startOf(pid) ?? ''}`, 0o600)
  const { code, signal, isLate, cause } = await ended
  rmSync(note, { force: true })
  if (code === 0 && !isLate) return said
  const how = isLate ? `it took longer than ${timeoutSeconds} s` : code === undefined ? `ended by ${signal}` : `status ${code}`
  const detail = cause?.message ?? (said === '' ? how : `${how}: ${shown(said)}`)
  throw new TrustError('unavailable', 'updateProgram', { facts: { program, detail }, cause })
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
    const [pid, begun] = readFileSync(note, 'latin1').split(' ')
    if (begun !== '' && begun === startOf(Number(pid))) endGroup(Number(pid))
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
