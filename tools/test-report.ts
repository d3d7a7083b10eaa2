/**
 * Reads the test runner's events, prints a line per file, every failure, every skip with its reason, and the counts.
 *
 * Stricter than the runner in one point: a file in which no test ran counts as failed.
 *
 * @module
 */
import { relative, resolve } from 'node:path'
import { inspect } from 'node:util'

/** The part of the runner's events that is read here. */
export interface TestEvent {
  readonly type: string
  readonly data: {
    readonly file?: string | undefined
    readonly name?: string
    readonly line?: number | undefined
    readonly message?: string
    readonly skip?: string | boolean | undefined
    readonly details?: { readonly type?: string | undefined; readonly error?: unknown; readonly duration_ms?: number }
    readonly counts?: Counts
    readonly duration_ms?: number
    readonly success?: boolean
  }
}

interface Counts {
  readonly tests: number
  readonly suites: number
  readonly passed: number
  readonly failed: number
  readonly cancelled: number
  readonly skipped: number
  readonly todo: number
}

export interface ReportOptions {
  /** When tests are chosen by name, files without a match are no fault; a run without any still is. */
  readonly mayBeEmpty?: boolean
}

/** @returns whether everything that ran passed, and something ran */
export async function report(
  events: AsyncIterable<unknown>,
  print: (line: string) => void,
  { mayBeEmpty = false }: ReportOptions = {},
): Promise<boolean> {
  const skips = new Map<string, number>()
  const output = new Map<string, string>()
  const ran = new Set<string>()
  let emptyFiles = 0
  let total: TestEvent['data'] | undefined
  for await (const event of events) {
    const { type, data } = event as TestEvent
    const file = data.file === undefined ? '' : relative('', data.file)
    const isFile = data.name !== undefined && resolve(data.name) === data.file
    switch (type) {
      case 'test:stdout':
      case 'test:stderr':
        output.set(file, (output.get(file) ?? '') + (data.message ?? ''))
        break
      case 'test:pass':
        if (isSkipped(data)) skips.set(String(data.skip), (skips.get(String(data.skip)) ?? 0) + 1)
        if (isFile && !ran.has(file) && !mayBeEmpty) {
          emptyFiles++
          print(`✖ ${file}: no test ran in it`)
        }
        break
      case 'test:fail':
        if (failureType(data) !== 'subtestsFailed') print(failure(data, file))
        break
      case 'test:summary':
        if (data.file === undefined) total = data
        else {
          ran.add(file)
          print(fileLine(data, file))
        }
        if (data.success === false && output.has(file)) print(indent(output.get(file) ?? ''))
        output.delete(file)
        break
      default:
    }
  }
  for (const [file, text] of output) if (!ran.has(file)) print(`${file} wrote before it ended:\n${indent(text)}`)
  for (const [reason, count] of skips) print(`﹣ ${count} skipped: ${reason}`)
  const counts = total?.counts
  if (counts === undefined || total === undefined) {
    print('✖ the runner ended without a result')
    return false
  }
  const none = counts.tests === counts.skipped
  if (none) print('✖ no test ran')
  const { tests, suites, passed, failed, cancelled, skipped, todo } = counts
  print(`\nℹ tests ${tests}\nℹ suites ${suites}\nℹ pass ${passed - emptyFiles}\nℹ fail ${failed + emptyFiles}`)
  print(`ℹ cancelled ${cancelled}\nℹ skipped ${skipped}\nℹ todo ${todo}\nℹ duration_ms ${(total.duration_ms ?? 0).toFixed(0)}`)
  return total.success === true && emptyFiles === 0 && !none
}

const isSkipped = ({ skip }: TestEvent['data']): boolean => skip !== undefined && skip !== false

const failureType = ({ details }: TestEvent['data']): unknown =>
  typeof details?.error === 'object' && details.error !== null && 'failureType' in details.error
    ? details.error.failureType
    : undefined

function fileLine({ counts, duration_ms = 0, success }: TestEvent['data'], file: string): string {
  const { tests = 0, skipped = 0 } = counts ?? {}
  const seconds = (duration_ms / 1000).toFixed(1)
  return `${success === true ? '✔' : '✖'} ${file}  ${tests} tests${skipped > 0 ? `, ${skipped} skipped` : ''}, ${seconds} s`
}

function failure({ name, line, details }: TestEvent['data'], file: string): string {
  const error = details?.error
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error
  const isAssertion = cause instanceof Error && 'code' in cause && cause.code === 'ERR_ASSERTION'
  const text = typeof cause === 'string' ? cause : isAssertion ? (cause.stack ?? cause.message) : inspect(cause)
  return `✖ ${file}:${line ?? 1} ${name ?? ''}\n${indent(text.replaceAll(RUNNER_FRAME, ''))}`
}

/** Lines of a stack inside the runtime: true, and of no use to who reads the failure. */
const RUNNER_FRAME = /\n +at [^\n]*\bnode:[^\n]*/g

const indent = (text: string): string =>
  text
    .trimEnd()
    .split('\n')
    .map((line) => `    ${line}`)
    .join('\n')
