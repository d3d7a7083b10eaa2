/**
 * How answers look on a terminal: aligned tables cut to its width, lists of fields, progress bars.
 *
 * Names in certificates are chosen by strangers: what could move the cursor or turn the writing direction is shown as
 * a mark, never sent to the terminal.
 *
 * @module
 */
import type { Clock } from '#base/world.ts'

/** Control characters, and those that change the direction of what follows (Unicode TR 36, 3.3). */
const UNPRINTABLE = /[\p{Cc}\p{Zl}\p{Zp}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu

export const printable = (text: string): string => text.replace(UNPRINTABLE, '\u{fffd}')

export interface Column<Row> {
  readonly title: string
  cell(row: Row): string | number | null | undefined
}

const GAP = '  '
/** Narrower, a column says nothing any more. */
const COLUMN_LEAST = 8

/** @param columns width of the terminal; undefined cuts nothing */
export function table<Row>(rows: readonly Row[], shape: readonly Column<Row>[], columns: number | undefined): string {
  if (rows.length === 0) return 'none\n'
  const cells = [
    shape.map(({ title }) => title),
    ...rows.map((row) => shape.map(({ cell }) => printable(String(cell(row) ?? '–')))),
  ]
  const widths = shape.map((_, at) => Math.max(...cells.map((line) => width(line[at] ?? ''))))
  if (columns !== undefined) shrink(widths, columns - GAP.length * (widths.length - 1))
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, at) => pad(cut(cell, widths[at] ?? 0), widths[at] ?? 0))
      .join(GAP)
      .trimEnd()
  return cells.map((row) => `${line(row)}\n`).join('')
}

/** Takes from the widest until all fit. */
function shrink(widths: number[], room: number): void {
  const total = (): number => widths.reduce((sum, one) => sum + one, 0)
  while (total() > room) {
    const widest = Math.max(...widths)
    if (widest <= COLUMN_LEAST) return
    widths[widths.indexOf(widest)] = Math.max(COLUMN_LEAST, widest - 1)
  }
}

const width = (text: string): number => [...text].length
const pad = (text: string, to: number): string => text + ' '.repeat(Math.max(0, to - width(text)))
const cut = (text: string, to: number): string => (width(text) <= to ? text : `${[...text].slice(0, to - 1).join('')}…`)

/** One field a line, nested ones indented; what is not there is left out. */
export function fields(value: unknown, indent = ''): string {
  if (!isRecord(value)) return `${indent}${scalar(value)}\n`
  const entries = Object.entries(value).filter(([, field]) => field !== undefined && field !== null)
  const longest = Math.max(0, ...entries.filter(([, field]) => isFlat(field)).map(([name]) => words(name).length))
  return entries
    .map(([name, field]) => {
      if (isFlat(field)) return `${indent}${words(name).padEnd(longest)}${GAP}${scalar(field)}\n`
      const below = Array.isArray(field)
        ? field.map((entry: unknown) => bullet(fields(entry, `${indent}    `), indent)).join('')
        : fields(field, `${indent}  `)
      return `${indent}${words(name)}\n${below}`
    })
    .join('')
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const isFlat = (value: unknown): boolean =>
  typeof value !== 'object' || value === null || (Array.isArray(value) && value.every((entry) => typeof entry !== 'object'))

function scalar(value: unknown): string {
  if (Array.isArray(value)) return value.length === 0 ? 'none' : value.map(scalar).join(', ')
  if (typeof value === 'boolean') return value ? 'yes' : 'no'
  return printable(typeof value === 'string' ? value : value === undefined || value === null ? '–' : JSON.stringify(value))
}

const bullet = (text: string, indent: string): string => `${indent}  - ${text.slice(indent.length + 4)}`

/** `keyAlgorithm` reads "key algorithm"; `publicKeySHA256` keeps its capitals. */
export const words = (name: string): string =>
  printable(name).replace(
    /([a-z0-9])([A-Z])(?=[a-z]|$)/g,
    (_, before: string, letter: string) => `${before} ${letter.toLowerCase()}`,
  )

export interface Progress {
  /** @param done of the total, or simply how many */
  at(done: number): void
  /** Takes the bar away again. */
  end(): void
}

export const noProgress: Progress = { at() {}, end() {} }

const BAR_COLUMNS = 24
/** Often enough to move, seldom enough to cost nothing. */
const REDRAW_MILLISECONDS = 100

/** @param write to a terminal */
export function progressBar(label: string, total: number | undefined, clock: Clock, write: (text: string) => void): Progress {
  let drawn = -Infinity
  return {
    at(done) {
      const now = clock.now()
      if (now - drawn < REDRAW_MILLISECONDS && done !== total) return
      drawn = now
      write(`\r\u001b[2K${label} ${total === undefined ? done : `${bar(done / Math.max(1, total))} ${done} of ${total}`}`)
    },
    end: () => write('\r\u001b[2K'),
  }
}

function bar(part: number): string {
  const full = Math.round(Math.min(1, part) * BAR_COLUMNS)
  return `[${'='.repeat(full)}${' '.repeat(BAR_COLUMNS - full)}]`
}
