/**
 * Runs the batches that arrive together as one transaction, and those that do not get through one by one.
 *
 * @module
 */
import type { BatchOutcome } from '../batch.ts'
import { databaseClosed, type Lane, type Member } from '../group-commit.ts'
import { type Batch, kindOf, merge } from './merge.ts'

/** Bounds how long the first of a group waits for the last. */
const TOGETHER_MAX = 128

export interface MergingOptions {
  /** Of their own: each holds one connection. */
  readonly lanes: readonly Lane[]
  /** Runs a batch by itself, and says where it ended. */
  readonly alone: (batch: Batch) => Promise<BatchOutcome>
  readonly asRefusal: (error: unknown) => unknown
  readonly isConflict: (error: unknown) => boolean
}

interface Waiting {
  readonly batch: Batch
  readonly kind: string
  readonly resolve: (outcome: BatchOutcome | Promise<BatchOutcome>) => void
  readonly reject: (error: unknown) => void
}

export interface Merging {
  batch(batch: Batch): Promise<BatchOutcome>
  /** Refuses new batches and resolves when all accepted ones have settled. */
  close(): Promise<void>
}

export function merging({ lanes, alone, asRefusal, isConflict }: MergingOptions): Merging {
  const idle = [...lanes]
  const underWay = new Set<Promise<void>>()
  let queue: Waiting[] = []
  let scheduled = false
  let closed = false

  // after the sockets' events of this turn, as group commit does: what came in together goes out together
  const schedule = (): void => {
    if (scheduled || idle.length === 0 || queue.length === 0) return
    scheduled = true
    setImmediate(() => {
      scheduled = false
      const lane = idle.pop()
      if (lane === undefined) return
      const group = queue.slice(0, TOGETHER_MAX)
      queue = queue.slice(TOGETHER_MAX)
      const run = runGroup(lane, group).finally(() => {
        idle.push(lane)
        underWay.delete(run)
        schedule()
      })
      underWay.add(run)
      schedule()
    })
  }

  async function runGroup(lane: Lane, group: readonly Waiting[]): Promise<void> {
    try {
      if (await runTogether(lane, group)) for (const { resolve } of group) resolve({ kept: true })
      else for (const { resolve, batch } of group) resolve(alone(batch))
    } catch (error) {
      for (const { reject } of group) reject(asRefusal(error))
    }
  }

  /** @returns whether all were kept; nothing was when not. @throws when that is not known, or there is no connection */
  async function runTogether(lane: Lane, group: readonly Waiting[]): Promise<boolean> {
    const member: Member = { ended: false, sent: 0, answered: 0, failure: undefined, failed: false }
    await lane.begin(false)
    const tx = lane.transaction(member)
    const byKind = Map.groupBy(group, ({ kind }) => kind)
    const questions = [...byKind.values()].flatMap((some) => merge(some.map(({ batch }) => batch)))
    const answers = await Promise.allSettled(questions.map(({ sql, parameters }) => tx.query(sql, ...parameters)))
    member.ended = true
    const isMet = answers.every((answer, at) => answer.status === 'fulfilled' && questions[at]?.isMet(answer.value) === true)
    if (!isMet) {
      await lane.rollback()
      return false
    }
    try {
      await lane.commit()
      return true
    } catch (error) {
      await lane.rollback()
      if (isConflict(error)) return false
      throw error
    }
  }

  return {
    batch(batch) {
      if (closed) return Promise.reject(databaseClosed())
      const kind = kindOf(batch)
      if (kind === undefined) return alone(batch)
      return new Promise((resolve, reject) => {
        queue.push({ batch, kind, resolve, reject })
        schedule()
      })
    },
    async close() {
      closed = true
      for (schedule(); underWay.size > 0 || queue.length > 0; schedule()) {
        await Promise.all([...underWay, new Promise((resolve) => setImmediate(resolve))])
      }
    },
  }
}
