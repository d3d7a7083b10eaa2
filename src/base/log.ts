/**
 * What happened, one JSON object per line on standard error. For operators; what must be proved is in the audit log.
 *
 * @module
 */
import type { Clock } from './world.ts'

export type LogLevel = 'debug' | 'info' | 'warn' | 'error'

/** A `Secret` prints as `[secret]` here, as everywhere. Octets are not printed at all: they may be anything. */
export type LogFields = Readonly<Record<string, unknown>>

export interface Log {
  debug(message: string, fields?: LogFields): void
  info(message: string, fields?: LogFields): void
  warn(message: string, fields?: LogFields): void
  error(message: string, fields?: LogFields): void
  /** The same log with fields that stand on every line. */
  with(fields: LogFields): Log
}

const ORDER = { debug: 0, info: 1, warn: 2, error: 3 } as const satisfies Record<LogLevel, number>

/** Longest text of one field: a stack trace fits, a request body does not. */
const FIELD_MAX_LENGTH = 4096

/** Values under names like these are never printed, wherever they come from. */
const SECRET_NAME = /^(?:.*(?:password|passphrase|secret|token|cookie|authorization|privatekey|private_key))$/i

export interface LogOptions {
  readonly level: LogLevel
  readonly clock: Clock
  /** Takes a whole line with its line break. */
  readonly write: (line: string) => void
}

export function createLog({ level, clock, write }: LogOptions, standing: LogFields = {}): Log {
  const at = (lineLevel: LogLevel) => (message: string, fields?: LogFields) => {
    if (ORDER[lineLevel] < ORDER[level]) return
    const time = new Date(clock.now()).toISOString()
    write(lineOf({ time, level: lineLevel, message }, { ...standing, ...fields }))
  }
  return {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    with: (fields) => createLog({ level, clock, write }, { ...standing, ...fields }),
  }
}

/** For tests and for what runs before there is a configuration. */
export const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {}, with: () => silentLog }

function lineOf(head: LogFields, fields: LogFields): string {
  try {
    return JSON.stringify({ ...head, ...fields }, printable) + '\n'
  } catch {
    return JSON.stringify({ ...head, unprintable: Object.keys(fields) }) + '\n' // a field that refers to itself
  }
}

/** `JSON.stringify` escapes control characters, so no field can begin a line of its own. */
function printable(key: string, value: unknown): unknown {
  if (SECRET_NAME.test(key)) return '[secret]'
  if (typeof value === 'string') return value.length > FIELD_MAX_LENGTH ? `${value.slice(0, FIELD_MAX_LENGTH)}…` : value
  if (typeof value === 'bigint') return value.toString()
  if (value instanceof Uint8Array) return `[${value.length} octets]`
  if (isSerializedBuffer(value)) return `[${value.data.length} octets]`
  if (value instanceof Error) return describe(value)
  return value
}

/** `Buffer` turns itself into this before a replacer sees it. */
const isSerializedBuffer = (value: unknown): value is { data: unknown[] } =>
  typeof value === 'object' &&
  value !== null &&
  (value as { type?: unknown }).type === 'Buffer' &&
  Array.isArray((value as { data?: unknown }).data)

function describe(error: Error): unknown {
  const { code, reason, facts } = error as { code?: unknown; reason?: unknown; facts?: unknown }
  return {
    name: error.name,
    message: error.message,
    ...(code === undefined ? {} : { code }),
    ...(reason === undefined ? {} : { reason }),
    ...(facts === undefined ? {} : { facts }),
    stack: error.stack,
    ...(error.cause === undefined ? {} : { cause: error.cause }),
  }
}
