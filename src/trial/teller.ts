/**
 * Tells the story on standard output: aligned, quiet, and plain text when that is no terminal.
 *
 * @module
 */
import { printable } from '#cli/terminal.ts'
import type { Chapter, Outcome } from './story.ts'
import type { TimedTally } from './play.ts'

export interface Teller {
  line(text?: string): void
  /** For what matters less than the lines around it. */
  aside(text: string): void
  chapter(chapter: Pick<Chapter, 'title' | 'about'>): void
  /** A step begins: shown on a terminal until it ends. */
  step(title: string): void
  progress(done: number, total: number): void
  outcome(title: string, outcome: Outcome, seconds: number): void
  failure(title: string, reason: string): void
  summary(tallies: readonly TimedTally[]): void
}

export interface TellerOptions {
  readonly write: (text: string) => void
  /** Cursor movement for the running step. */
  readonly terminal: boolean
  readonly colors: boolean
}

/** The longest title fits; with its time and a short result, a line fits 100 columns. */
const TITLE_COLUMNS = 47
const TIME_COLUMNS = 8
const ERASE_LINE = '\r\u001b[2K'
const STYLES = { green: 32, red: 31, yellow: 33, bold: 1, dim: 2 } as const

export function teller({ write, terminal, colors }: TellerOptions): Teller {
  const style = (name: keyof typeof STYLES, text: string): string => (colors ? `\u001b[${STYLES[name]}m${text}\u001b[0m` : text)
  const line = (text = ''): void => write(`${terminal ? ERASE_LINE : ''}${text}\n`)
  let running = ''
  const told = (mark: string, title: string, seconds: number, said: string): void =>
    line(`  ${mark} ${title.padEnd(TITLE_COLUMNS)}${style('dim', duration(seconds).padStart(TIME_COLUMNS))}  ${printable(said)}`)

  return {
    line,
    aside: (text) => line(style('dim', text)),
    chapter({ title, about }) {
      line()
      line(style('bold', title))
      line(style('dim', about))
    },
    step(title) {
      running = title
      if (terminal) write(`${ERASE_LINE}  ${style('dim', `· ${title}`)}`)
    },
    progress(done, total) {
      if (terminal) write(`${ERASE_LINE}  ${style('dim', `· ${running}  ${done} of ${total}`)}`)
    },
    outcome(title, { said, tally, skipped }, seconds) {
      const rate = tally?.timed === true ? `, ${rateOf(tally.count, seconds)} a second` : ''
      told(skipped === true ? style('yellow', '–') : style('green', '✓'), title, seconds, `${said}${rate}`)
    },
    failure(title, reason) {
      line(`  ${style('red', '✗')} ${title}`)
      for (const part of reason.split('\n')) line(`    ${printable(part)}`)
    },
    summary(tallies) {
      line(
        style(
          'bold',
          `  ${''.padEnd(TITLE_COLUMNS - 7)}${'how many'.padStart(10)}${'how long'.padStart(12)}${'a second'.padStart(12)}`,
        ),
      )
      for (const { what, count, seconds } of tallies) {
        const time = seconds === undefined ? '' : duration(seconds)
        const rate = seconds === undefined ? '' : rateOf(count, seconds)
        line(
          `  ${what.padEnd(TITLE_COLUMNS - 7)}${grouped(count).padStart(10)}${time.padStart(12)}${rate.padStart(12)}`.trimEnd(),
        )
      }
    },
  }
}

export const duration = (seconds: number): string =>
  seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(1)} s`

/** A step shorter than a millisecond has no rate that means anything. */
const rateOf = (count: number, seconds: number): string => (seconds < 0.001 ? '–' : grouped(Math.round(count / seconds)))

export const grouped = (count: number): string => count.toLocaleString('en-US')

export const formatSize = (octets: number): string => `${grouped(octets)} octets`
