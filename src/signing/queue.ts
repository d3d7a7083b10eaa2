/**
 * The way in to signing: so many at once, so many waiting, and then a plain no that says when to come again.
 *
 * What waits holds memory and a connection, so that a long queue helps nobody: whoever is refused at once can go elsewhere.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import { PRIORITIES, type Priority } from './signer.ts'

export interface SigningQueue {
  /** @throws TrustError `rateLimited` when as many wait as may; whatever `work` throws */
  run<T>(priority: Priority, work: () => Promise<T>): Promise<T>
  /** For work that is costly to bring here. @throws TrustError `rateLimited` as `run` would */
  checkRoom(): void
}

export interface QueueLimits {
  readonly runningMax: number
  readonly waitingMax: number
}

/** About as many as share one commit of the database; more at once would only wait there instead. */
const RUNNING_MAX = 256
/** A second's work of a fast server: who comes after that is told so. */
const WAITING_MAX = 4096
const RETRY_SECONDS = 1

export function signingQueue({ runningMax = RUNNING_MAX, waitingMax = WAITING_MAX }: Partial<QueueLimits> = {}): SigningQueue {
  const waiting: Readonly<Record<Priority, (() => void)[]>> = { high: [], normal: [], low: [] }
  let running = 0
  let count = 0

  const next = (): void => {
    for (const priority of PRIORITIES) {
      const start = waiting[priority].shift()
      if (start === undefined) continue
      count--
      start() // takes over the place of the one that ended
      return
    }
    running--
  }

  const checkRoom = (): void => {
    if (running >= runningMax && count >= waitingMax)
      throw new TrustError('rateLimited', 'signingBusy', { retryAfterSeconds: RETRY_SECONDS })
  }

  return {
    checkRoom,
    async run(priority, work) {
      if (running < runningMax) {
        running++
      } else {
        checkRoom()
        count++
        await new Promise<void>((resolve) => waiting[priority].push(resolve))
      }
      try {
        return await work()
      } finally {
        next()
      }
    },
  }
}
