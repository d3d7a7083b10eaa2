/**
 * Does what was ordered: a program of the device's own, without a shell. What was ordered comes on its standard input as JSON, so
 * that no argument of a command is ever taken for an option of a program.
 *
 * @module
 */
import { spawn } from 'node:child_process'
import { concat } from '#base/bytes.ts'
import { type Arguments, OUTPUT_MAX_OCTETS } from '#commands/messages.ts'
import type { OperationProgram } from './command-settings.ts'

export interface Ended {
  /** Undefined when it did not end by itself. */
  readonly exitCode: number | undefined
  /** What it wrote first. */
  readonly output: Uint8Array
}

export interface Ordered {
  readonly operation: string
  readonly arguments: Arguments
}

/** Octets as base64 with a prefix, so that a program can tell them from text. */
const inputOf = ({ operation, arguments: given }: Ordered): string =>
  JSON.stringify({
    operation,
    arguments: Object.fromEntries(
      [...given].map(([name, value]) => [name, value instanceof Uint8Array ? `base64:${value.toBase64()}` : value]),
    ),
  })

/** Does not reject: what cannot be begun has no exit code. */
export function runOperation({ program: [path, ...rest], timeoutSeconds }: OperationProgram, ordered: Ordered): Promise<Ended> {
  const { promise, resolve } = Promise.withResolvers<Ended>()
  const child = spawn(path, rest, {
    detached: true, // of a group of its own, which can be ended as a whole
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { PATH: process.env['PATH'] ?? '', LANG: 'C', SEALWORKS_OPERATION: ordered.operation },
  })
  const chunks: Uint8Array[] = []
  let room = OUTPUT_MAX_OCTETS
  child.stdout.on('data', (chunk: Uint8Array) => {
    chunks.push(chunk.subarray(0, room))
    room = Math.max(0, room - chunk.length)
  })
  child.stdin.on('error', () => {}) // it does not read what it does not need
  child.stdin.end(inputOf(ordered))
  const timer = setTimeout(() => {
    if (child.pid !== undefined) endGroup(child.pid)
  }, timeoutSeconds * 1000)
  const ended = (exitCode: number | undefined): void => {
    clearTimeout(timer)
    resolve({ exitCode, output: concat(chunks) })
  }
  child.on('error', () => ended(undefined))
  child.on('close', (code) => ended(code ?? undefined))
  return promise
}

function endGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
