/**
 * Counting births where nobody looks: which positions of a job a node may still use, after any crash, copy or restore.
 *
 * What only goes forward (an NV counter of a TPM) is slow and wears out, so each of its steps leases a block of positions. What
 * lies on the disk can be put back, so it is believed only where the counters say that it is the latest.
 * `docs/decisions/0009-counting-offline.md` has who can do what, and why the rule is this one.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import type { Faults } from '#base/world.ts'

/** Goes forward by one and never back. */
export interface MonotonicCounter {
  read(): Promise<number>
  /** @returns its value afterwards, which another hand may have moved on */
  increment(): Promise<number>
}

export interface Counters {
  /** Of the program. */
  readonly starts: MonotonicCounter
  /** Of leased blocks. */
  readonly blocks: MonotonicCounter
}

/** What a ticket says about counting. */
export interface CountingTerms {
  /** The counters' values when the job began. */
  readonly startsAt: number
  readonly blocksAt: number
  /** Positions in a block. */
  readonly blockSize: number
  /** Quota and scrap allowance together: positions are below it. */
  readonly positionsMax: number
}

/** What the log keeps for counting. Each is durable before what it announces is done. */
export type CountingEntry =
  /** `starts` is about to be this. */
  | { readonly type: 'start'; readonly start: number }
  /** `blocks` is about to be this. */
  | { readonly type: 'lease'; readonly block: number }
  /** The run ends; `next` is the first position of the open block that it did not use. */
  | { readonly type: 'stop'; readonly next: number }

/** What a log says, to its last entry. */
export interface CountingRecord {
  /** The last start that was intended. */
  readonly start: number
  /** The last lease that was intended, as the counter's value. */
  readonly block: number
  /** A clean stop that no later start has used up, with the start of its run. */
  readonly stopped: { readonly start: number; readonly next: number } | undefined
}

export const emptyRecord = ({ startsAt, blocksAt }: CountingTerms): CountingRecord => ({
  start: startsAt,
  block: blocksAt,
  stopped: undefined,
})

/** A start does not use a clean stop up by being intended: only the counter says whether it came to it. */
export function noted(record: CountingRecord, entry: CountingEntry): CountingRecord {
  switch (entry.type) {
    case 'start':
      return { ...record, start: entry.start }
    case 'lease':
      return { ...record, block: entry.block, stopped: undefined }
    case 'stop':
      return { ...record, stopped: { start: record.start, next: entry.next } }
  }
}

/** Why a node has nothing left, for the maker to judge. */
export type Rollback =
  /** The counters are further than the log knows: it is an older copy. */
  | 'logIsOld'
  /** They are behind it: another TPM, or one that was put back. */
  | 'countersAreBehind'
  /** Somebody else counted while this ran. */
  | 'countedElsewhere'

export interface Counting {
  /**
   * Uses one position up. Calls may overlap: each gets its own.
   *
   * @returns a position that no other call ever got or gets
   * @throws TrustError `quotaExceeded` when the job has none left; `unavailable` (`countingRolledBack`) when somebody else counts
   */
  take(): Promise<number>
  /** Positions that can still be used, in this run. */
  left(): number
  /** Keeps how far the open block was used. Nothing is taken afterwards. */
  stop(): Promise<void>
}

export interface CountingOptions {
  readonly terms: CountingTerms
  readonly record: CountingRecord
  readonly counters: Counters
  /** @returns when it is on the disk */
  readonly append: (entry: CountingEntry) => Promise<void>
  readonly faults: Faults
}

/** @throws TrustError `unavailable` (`countingRolledBack`) when the log is not the latest, or the counters are not those of the ticket */
export async function startCounting({ terms, record, counters, append, faults }: CountingOptions): Promise<Counting> {
  const { blockSize, positionsMax, blocksAt } = terms
  const [starts, blocks] = [await counters.starts.read(), await counters.blocks.read()]
  check(terms, record, starts, blocks)
  // only a run that this TPM counted as the very last can have left something to go on with
  const rest = record.stopped !== undefined && record.stopped.start === starts ? record.stopped.next : undefined

  await append({ type: 'start', start: starts + 1 })
  faults.reach('start intended')
  if ((await counters.starts.increment()) !== starts + 1) throw rolledBack('countedElsewhere', record, starts, blocks)
  faults.reach('start counted')

  const endOf = (block: number): number => Math.min((block - blocksAt) * blockSize, positionsMax)
  let block = blocks
  let end = endOf(block)
  let next = rest ?? end
  let leasing: Promise<void> | undefined
  let ended: TrustError | undefined
  let isUnsure = false // whether an increment came to it that was never answered

  async function lease(): Promise<void> {
    if (isUnsure) {
      const now = await counters.blocks.read()
      if (now === block + 1) [block, next, end] = [now, endOf(now), endOf(now)] // burned, since nobody saw it come out as intended
      isUnsure = false
    }
    if (end >= positionsMax) return
    await append({ type: 'lease', block: block + 1 })
    faults.reach('lease intended')
    isUnsure = true
    const now = await counters.blocks.increment()
    isUnsure = false
    faults.reach('lease counted')
    if (now !== block + 1) throw (ended = rolledBack('countedElsewhere', record, starts + 1, now))
    ;[block, next, end] = [now, endOf(now - 1), endOf(now)]
  }

  return {
    async take() {
      for (;;) {
        if (ended !== undefined) throw ended
        if (next < end) return next++
        if (end >= positionsMax) throw new TrustError('quotaExceeded', 'jobUsedUp', { facts: { positions: positionsMax } })
        leasing ??= lease().finally(() => (leasing = undefined))
        await leasing
      }
    },
    left: () => (ended === undefined ? positionsMax - next : 0),
    async stop() {
      await leasing?.catch(() => {}) // whoever asked for it was told
      if (ended !== undefined) return
      ended = new TrustError('unavailable', 'nodeStopping')
      await append({ type: 'stop', next })
    },
  }
}

function check({ startsAt, blocksAt }: CountingTerms, record: CountingRecord, starts: number, blocks: number): void {
  // what was intended may not have come to it; nothing else may differ
  const isStart = starts === record.start || starts === Math.max(record.start - 1, startsAt)
  const isBlock = blocks === record.block || blocks === Math.max(record.block - 1, blocksAt)
  if (isStart && isBlock) return
  const isOld = starts > record.start || blocks > record.block
  throw rolledBack(isOld ? 'logIsOld' : 'countersAreBehind', record, starts, blocks)
}

const rolledBack = (found: Rollback, record: CountingRecord, starts: number, blocks: number): TrustError =>
  new TrustError('unavailable', 'countingRolledBack', {
    facts: { found, logStart: record.start, logBlock: record.block, starts, blocks },
  })
