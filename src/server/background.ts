/**
 * Work that comes by itself: the audit log's order, due CRLs, renewals.
 *
 * @module
 */
import { asTrustError } from '#base/errors.ts'
import type { Log } from '#base/log.ts'

export interface Task {
  /** For the log. */
  readonly name: string
  readonly everySeconds: number
  run(): Promise<unknown>
}

export interface Background {
  /** Lets what is under way finish, then starts nothing more. */
  stop(): Promise<void>
}

/** Runs each task now and then every so often, one run of it at a time. A run that fails is logged and tried again. */
export function runInBackground(
  tasks: readonly Task[],
  log: Log,
  pause: (milliseconds: number, signal: AbortSignal) => Promise<void>,
): Background {
  const stopping = new AbortController()
  const loops = tasks.map(async (task) => {
    while (!stopping.signal.aborted) {
      try {
        await task.run()
      } catch (thrown) {
        log.error('background work failed', { task: task.name, error: asTrustError(thrown) })
      }
      await pause(task.everySeconds * 1000, stopping.signal)
    }
  })
  return {
    async stop() {
      stopping.abort()
      await Promise.all(loops)
    },
  }
}
