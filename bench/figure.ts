/**
 * Figures: what a bench measured, what it is meant to reach, and how both are shown and kept.
 *
 * @module
 */
import { execFileSync } from 'node:child_process'
import { appendFileSync } from 'node:fs'
import { availableParallelism, cpus, loadavg } from 'node:os'
import { fileURLToPath } from 'node:url'

export interface Figure {
  /** Stable, for comparing runs: `est.keptAlive.perSecond`. */
  readonly name: string
  readonly value: number
  readonly unit: string
  readonly reach?: { readonly atLeast: number } | { readonly below: number }
  /** What a reader must know to compare it. */
  readonly note?: string
}

export interface Run {
  readonly commit: string
  readonly date: string
  readonly machine: Machine
  /** Processes that wanted a core, over the last minute, before and after: others on the machine make figures worse. */
  readonly load: { readonly before: number; readonly after: number }
  readonly figures: readonly Figure[]
}

export interface Machine {
  readonly cores: number
  readonly cpu: string
  readonly node: string
  readonly openssl: string
}

export const machine = (): Machine => ({
  cores: availableParallelism(),
  cpu: cpus()[0]?.model ?? 'unknown',
  node: process.version,
  openssl: process.versions.openssl,
})

export const loadNow = (): number => Number((loadavg()[0] as number).toFixed(2))

const HERE = fileURLToPath(new URL('.', import.meta.url))

/** With `+` where files differ from the commit. */
export function commitOf(): string {
  const git = (...words: string[]): string => execFileSync('git', words, { cwd: HERE, encoding: 'utf8' }).trim()
  try {
    return git('rev-parse', '--short=12', 'HEAD') + (git('status', '--porcelain', '--', '../src', '.') === '' ? '' : '+')
  } catch {
    return 'unknown'
  }
}

/** One line for each run; figures of one machine can be compared, those of two cannot. */
export function keep({ figures, ...run }: Run): void {
  const values = Object.fromEntries(figures.map(({ name, value }) => [name, Number(value.toPrecision(4))]))
  appendFileSync(new URL('results.jsonl', import.meta.url), `${JSON.stringify({ ...run, figures: values })}\n`)
}

export function table({ figures, machine: { cores, cpu, node, openssl }, load, commit }: Run): string {
  const rows = figures.map((figure) => [figure.name, show(figure), reachOf(figure), verdict(figure), figure.note ?? ''])
  const widths = [0, 1, 2, 3].map((column) => Math.max(...rows.map((row) => (row[column] as string).length)))
  const lines = rows.map((row) =>
    row
      .map((cell, column) => (column === 1 ? cell.padStart(widths[1] as number) : cell.padEnd(widths[column] ?? 0)))
      .join('  ')
      .trimEnd(),
  )
  const head = `${commit}: ${cores} cores of ${cpu}, Node ${node}, OpenSSL ${openssl}, load ${load.before} before and ${load.after} after`
  const busy = load.before > cores / 4 ? '\nOthers use this machine: trust the ratios more than the rates.' : ''
  return `${head}${busy}\n\n${lines.join('\n')}\n`
}

const show = ({ value, unit }: Figure): string =>
  `${value.toLocaleString('en-US', { maximumSignificantDigits: 4 })}${unit === '' ? '' : ` ${unit}`}`

function reachOf({ reach }: Figure): string {
  if (reach === undefined) return ''
  return 'atLeast' in reach ? `at least ${reach.atLeast.toLocaleString('en-US')}` : `below ${reach.below.toLocaleString('en-US')}`
}

/** For people; nothing is asserted about time. */
function verdict({ reach, value }: Figure): string {
  if (reach === undefined) return ''
  return ('atLeast' in reach ? value >= reach.atLeast : value < reach.below) ? 'reached' : 'missed'
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? (sorted[middle] as number) : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2
}
