/**
 * `commands.json`: which operations of the device can be ordered, and which program does each; written by whoever builds the
 * device. What is not in it cannot be ordered, whoever signs.
 *
 * @module
 */
import { isAbsolute } from 'node:path'
import { TrustError } from '#base/errors.ts'
import { OPERATION } from '#commands/messages.ts'
import { isJSONObject, type JSONValue, parseJSONObject } from '#jose/json.ts'
import type { Device } from './device.ts'

const FILE = 'commands.json'
const FILE_MAX_OCTETS = 256 << 10
const TIMEOUT_USUAL_SECONDS = 10
const TIMEOUT_MAX_SECONDS = 600

export interface OperationProgram {
  /** Whole path and fixed arguments; what was ordered comes on its standard input. */
  readonly program: readonly [string, ...string[]]
  readonly timeoutSeconds: number
}

export interface CommandSettings {
  /** How well it is known which hardware holds the device's key, as its birth found. */
  readonly assurance: number
  /** Whether the device has a clock that it can go by; one without obeys only what answers its challenge. */
  readonly hasClock: boolean
  readonly operations: ReadonlyMap<string, OperationProgram>
  /** Checks that a command may ask for: a program that ends with 0 where it holds. */
  readonly preconditions: ReadonlyMap<string, OperationProgram>
}

const malformed = (detail: string): TrustError => new TrustError('malformed', 'agentFile', { facts: { file: FILE, detail } })

/** @returns undefined where the device takes no commands @throws TrustError `malformed` */
export function commandSettings({ directory }: Pick<Device, 'directory'>): CommandSettings | undefined {
  const octets = directory.read(FILE)
  if (octets === undefined) return undefined
  const { assurance = 0, clock = true, operations, preconditions = {}, ...others } = parseJSONObject(octets, FILE_MAX_OCTETS)
  const [other] = Object.keys(others)
  if (other !== undefined) throw malformed(`${other.slice(0, 40)} is none of assurance, clock, operations and preconditions`)
  if (typeof assurance !== 'number' || !Number.isInteger(assurance) || assurance < 0 || assurance > 4)
    throw malformed('assurance is not from 0 to 4')
  if (typeof clock !== 'boolean') throw malformed('clock is neither true nor false')
  return {
    ...{ assurance, hasClock: clock },
    operations: programsIn(operations, 'operations'),
    preconditions: programsIn(preconditions, 'preconditions'),
  }
}

function programsIn(value: JSONValue | undefined, what: string): ReadonlyMap<string, OperationProgram> {
  if (!isJSONObject(value)) throw malformed(`it has no ${what}`)
  return new Map(Object.entries(value).map(([name, one]) => [nameIn(name), programIn(one, name)]))
}

function nameIn(name: string): string {
  if (OPERATION.test(name)) return name
  throw malformed(`${name.slice(0, 40)} is no name of an operation`)
}

function programIn(value: JSONValue, name: string): OperationProgram {
  const { program, timeoutSeconds = TIMEOUT_USUAL_SECONDS, ...others } = isJSONObject(value) ? value : {}
  const [path, ...rest] = Array.isArray(program) ? (program as readonly JSONValue[]) : []
  if (typeof path !== 'string' || !isAbsolute(path) || !rest.every((one): one is string => typeof one === 'string'))
    throw malformed(`${name} is no list of a program, with its whole path, and its arguments`)
  if (typeof timeoutSeconds !== 'number' || !(timeoutSeconds > 0 && timeoutSeconds <= TIMEOUT_MAX_SECONDS))
    throw malformed(`timeoutSeconds of ${name} is not from 1 to ${TIMEOUT_MAX_SECONDS}`)
  if (Object.keys(others).length > 0) throw malformed(`${name} says more than program and timeoutSeconds`)
  return { program: [path, ...rest], timeoutSeconds }
}
