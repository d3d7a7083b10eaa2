/**
 * How a job went, from its log: what was issued and judged, and which positions the present run may use.
 *
 * The node goes by it when it starts, and the maker when entries come in: both from the same lines.
 *
 * @module
 */
import { type CountingRecord, type CountingTerms, emptyRecord, noted } from './counting.ts'
import type { JobTicket, LogEntry } from './messages.ts'

export interface Course {
  readonly record: CountingRecord
  /** Positions that the present run may use: from `low`, below `high`. */
  readonly low: number
  readonly high: number
  readonly issued: number
  readonly good: number
  readonly scrap: number
  readonly refused: number
  readonly closed: boolean
}

export const termsOf = ({ counters, blockSize, quota, scrapAllowance }: JobTicket): CountingTerms => ({
  startsAt: counters.starts.value,
  blocksAt: counters.blocks.value,
  blockSize,
  positionsMax: quota + scrapAllowance,
})

export const newCourse = (terms: CountingTerms): Course => ({
  record: emptyRecord(terms),
  low: 0,
  high: 0,
  issued: 0,
  good: 0,
  scrap: 0,
  refused: 0,
  closed: false,
})

/** Where the block ends that the counter's value stands for. */
const endOf = ({ blocksAt, blockSize, positionsMax }: CountingTerms, block: number): number =>
  Math.min((block - blocksAt) * blockSize, positionsMax)

export function courseAfter(terms: CountingTerms, course: Course, entry: LogEntry): Course {
  const { record } = course
  switch (entry.type) {
    case 'start': {
      const next = { ...course, record: noted(record, entry) }
      const { stopped } = record
      // only the very next run goes on in the block that a clean stop left open
      const rest = stopped !== undefined && entry.start === stopped.start + 1 ? stopped.next : endOf(terms, record.block)
      return { ...next, low: rest, high: endOf(terms, record.block) }
    }
    case 'lease': {
      const low = course.low === course.high ? endOf(terms, entry.block - 1) : course.low
      return { ...course, record: noted(record, entry), low, high: endOf(terms, entry.block) }
    }
    case 'stop':
      return { ...course, record: noted(record, entry) }
    case 'issue':
      return { ...course, issued: course.issued + 1 }
    case 'good':
      return { ...course, good: course.good + 1 }
    case 'scrap':
      return { ...course, scrap: course.scrap + 1, good: course.good - (entry.wasGood ? 1 : 0) }
    case 'refused':
      return { ...course, refused: course.refused + 1 }
    case 'close':
      return { ...course, closed: true }
    case 'begin':
    case 'load':
      return course
  }
}

/** Positions that were leased and that nobody has; those of a block that is still open are among them. */
export const burnedIn = (terms: CountingTerms, { record, issued }: Course): number => endOf(terms, record.block) - issued

/** Whether a position was there to be used in the run that used it. */
export const mayUse = ({ low, high }: Course, position: number): boolean => position >= low && position < high
