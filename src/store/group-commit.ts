/**
 * Group commit: transactions that arrive together share one `BEGIN … COMMIT`, each behind a savepoint of its own.
 *
 * Waiting for the disk is what a small transaction costs, so sharing the wait is worth a factor of ten. Members run
 * one after the other; each sees what the ones before it wrote, and all of them are told only after the COMMIT: a
 * refusal may rest on a row of a neighbor that then was not kept.
 *
 * @module
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import { TrustError } from '#base/errors.ts'
import type { Transaction } from './database.ts'

/**
 * After a conflict so many groups keep every other writer out, twice as many after each further one. Works of one kind
 * read and write next to each other, so where two of them met, the next two will; taking turns costs less than doing
 * work twice.
 */
const TURNS_MIN = 4
const TURNS_MAX = 256

/** A work that still conflicts when alone meets something other than our own writers. */
const CONFLICTS_MAX = 12

/** How long a work may wait without a statement under way: far above any honest one. It is given up after one to two of it. */
const WORK_MAX_MILLISECONDS = 15_000

/** What a member of a group has come to, known to the engine that runs its statements. */
export interface Member {
  /** Set once the work has settled: its transaction object is dead from then on. */
  ended: boolean
  /** Statements sent, and those answered. */
  sent: number
  answered: number
  /** The first statement's failure. PostgreSQL accepts nothing after one, so neither engine does. */
  failure: unknown
  failed: boolean
}

/** One writing connection. Calls come strictly one after the other. */
export interface Lane {
  /** Bounds how long one group holds what it has locked and makes the members that are done wait. */
  readonly membersMax: number
  /**
   * Whether the whole group sees the database as it was at `begin`. Then only works that were waiting by then may
   * join: a later one may come from a caller who has seen what another connection committed since.
   */
  readonly seesOnlyBegin: boolean
  /** @param alone keeps every other writer of the database out until the end of the group */
  begin(alone: boolean): Promise<void> | void
  savepoint(): Promise<void> | void
  /** What a member's work is handed; it runs its statements on this lane and notes failures in `member`. */
  transaction(member: Member): Transaction
  release(): Promise<void> | void
  /** Undoes what was done since the savepoint. @throws if the whole transaction is lost */
  undo(): Promise<void> | void
  commit(): Promise<void> | void
  /** Ends the transaction without keeping anything. Never throws. */
  rollback(): Promise<void> | void
}

export interface GroupCommitOptions {
  readonly lanes: readonly Lane[]
  /** True for failures that running the work again can mend: serialization, deadlock. */
  readonly isConflict: (error: unknown) => boolean
  /** Turns what the engine threw into the platform's errors. */
  readonly asRefusal: (error: unknown) => unknown
  readonly workMaxMilliseconds?: number | undefined
}

export interface GroupCommit {
  transaction<T>(work: (tx: Transaction) => Promise<T>): Promise<T>
  /** Refuses new work and resolves when all accepted work has settled. */
  close(): Promise<void>
}

interface Request {
  readonly work: (tx: Transaction) => Promise<unknown>
  readonly resolve: (value: unknown) => void
  readonly reject: (error: unknown) => void
  /** Counts up in the order of arrival. */
  readonly arrival: number
  conflicts: number
  /** What it will be told after the COMMIT. */
  outcome: Outcome | undefined
}

type Outcome = { readonly value: unknown } | { readonly error: unknown }

interface Watch {
  /** Who runs now, and what giving it up takes. */
  current: { readonly member: Member; readonly giveUp: (error: TrustError) => void } | undefined
  readonly timer: NodeJS.Timeout
}

export const databaseClosed = (): TrustError => new TrustError('unavailable', 'databaseClosed', { retryAfterSeconds: 5 })

export function groupCommit(options: GroupCommitOptions): GroupCommit {
  const { isConflict, asRefusal, workMaxMilliseconds = WORK_MAX_MILLISECONDS } = options
  const idle = [...options.lanes]
  let queue: Request[] = []
  let head = 0 // the queue's first request: shifting a long array would cost its length
  let arrivals = 0
  let scheduled = false
  const closing = Promise.withResolvers<void>()
  let closed = false
  let turns = TURNS_MIN
  let turnsLeft = 0
  const inside = new AsyncLocalStorage<Member>()

  const waiting = (): number => queue.length - head
  const next = (): Request | undefined => {
    const request = queue[head]
    if (request === undefined) return undefined
    head++
    if (head === queue.length) {
      queue = []
      head = 0
    }
    return request
  }
  const again = (requests: readonly Request[]): void => {
    queue = [...requests, ...queue.slice(head)]
    head = 0
  }

  const settleClose = (): void => {
    if (waiting() === 0 && idle.length === options.lanes.length) closing.resolve()
  }

  // setImmediate runs after the sockets' events of this turn, so requests that came in together form one group,
  // and a lone one waits for nothing else.
  const schedule = (): void => {
    if (scheduled || idle.length === 0 || waiting() === 0) return
    scheduled = true
    setImmediate(() => {
      scheduled = false
      const lane = idle.pop()
      if (lane === undefined) return
      void runGroup(lane).finally(() => {
        idle.push(lane)
        if (closed) settleClose()
        schedule()
      })
      schedule() // several lanes: the next one takes what this one leaves
    })
  }

  async function runGroup(lane: Lane): Promise<void> {
    let request = next()
    if (request === undefined) return
    const group: Request[] = []
    let conflicted: Request | undefined
    let begun = false
    const lastToJoin = lane.seesOnlyBegin ? arrivals : Infinity
    const mayJoin = (): boolean => group.length < lane.membersMax && (queue[head]?.arrival ?? Infinity) <= lastToJoin
    const watch = watchMembers()
    try {
      await lane.begin(turnsLeft > 0)
      if (turnsLeft > 0 && --turnsLeft === 0) turns = TURNS_MIN
      begun = true
      while (request !== undefined) {
        group.push(request)
        await lane.savepoint()
        const outcome = await runMember(lane, request, watch)
        if ('error' in outcome) {
          await lane.undo()
          if (isConflict(outcome.error)) {
            // What it waited for is held by a member of this very group or by another writer that waits for one:
            // let the group go first.
            conflicted = group.pop()
            break
          }
        } else {
          await lane.release()
        }
        request.outcome = outcome
        request = mayJoin() ? next() : undefined
      }
      if (group.some(({ outcome }) => outcome !== undefined && 'value' in outcome)) await lane.commit()
      else await lane.rollback()
    } catch (error) {
      await lane.rollback()
      if (!begun && request !== undefined) group.push(request)
      if (isConflict(error)) {
        retry(conflicted === undefined ? group : [conflicted, ...group], error)
        return
      }
      if (conflicted !== undefined) group.push(conflicted)
      // An engine that cannot even begin would make everyone wait for the same answer in turn.
      if (!begun) for (let other = next(); other !== undefined; other = next()) group.push(other)
      for (const { reject } of group) reject(asRefusal(error))
      return
    } finally {
      clearTimeout(watch.timer)
    }
    for (const { outcome, resolve, reject } of group) {
      if (outcome === undefined) continue
      if ('value' in outcome) resolve(outcome.value)
      else reject(asRefusal(outcome.error))
    }
    if (conflicted !== undefined) retry([conflicted], undefined)
  }

  function retry(requests: readonly Request[], cause: unknown): void {
    turnsLeft = turns
    turns = Math.min(turns * 2, TURNS_MAX)
    for (const request of requests) {
      request.conflicts++
      request.outcome = undefined
    }
    again(requests.filter(({ conflicts }) => conflicts <= CONFLICTS_MAX))
    for (const { conflicts, reject } of requests) {
      if (conflicts > CONFLICTS_MAX) reject(new TrustError('unavailable', 'databaseBusy', { cause, retryAfterSeconds: 1 }))
    }
  }

  async function runMember(lane: Lane, request: Request, watch: Watch): Promise<Outcome> {
    const member: Member = { ended: false, sent: 0, answered: 0, failure: undefined, failed: false }
    const tx = lane.transaction(member)
    try {
      const value = await new Promise((resolve, reject) => {
        watch.current = { member, giveUp: reject }
        inside.run(member, request.work, tx).then(resolve, reject)
      })
      if (member.failed) return { error: member.failure } // caught by the work, yet nothing after it can count
      return { value }
    } catch (error) {
      // A statement's conflict decides even when the work turned it into an error of its own.
      return { error: member.failed && isConflict(member.failure) ? member.failure : error }
    } finally {
      member.ended = true
      watch.current = undefined
    }
  }

  /**
   * Gives up a member that waits for something other than its statements, which have time limits of their own. One
   * timer for each group, not for each member: it acts when a look finds what the last one found.
   */
  function watchMembers(): Watch {
    let last: Member | undefined
    let answered = 0
    const look = (): void => {
      const { member, giveUp } = watch.current ?? {}
      if (member !== undefined && member === last && member.sent === member.answered && member.answered === answered) {
        member.ended = true
        giveUp?.(new TrustError('unavailable', 'transactionTooLong', { facts: { seconds: workMaxMilliseconds / 1000 } }))
      }
      last = member
      answered = member?.answered ?? 0
      watch.timer.refresh()
    }
    const watch: Watch = { current: undefined, timer: setTimeout(look, workMaxMilliseconds) }
    return watch
  }

  return {
    transaction<T>(work: (tx: Transaction) => Promise<T>): Promise<T> {
      const outer = inside.getStore()
      if (outer !== undefined && !outer.ended) {
        return Promise.reject(new TypeError('transactions do not nest: pass the transaction on instead'))
      }
      if (closed) return Promise.reject(databaseClosed())
      return new Promise<T>((resolve, reject) => {
        const settle = { resolve: resolve as (value: unknown) => void, reject }
        queue.push({ work, ...settle, arrival: ++arrivals, conflicts: 0, outcome: undefined })
        schedule()
      })
    },
    close() {
      closed = true
      settleClose()
      return closing.promise
    },
  }
}
