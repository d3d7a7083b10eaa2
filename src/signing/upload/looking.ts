/**
 * The server's side of the thread that looks at artifacts: begun when the first comes, begun anew when it ended.
 *
 * @module
 */
import { Worker } from 'node:worker_threads'
import { TrustError } from '#base/errors.ts'
import { receivedError } from '#base/sent.ts'
import type { Choices, SignatureRequest } from '../format.ts'
import type { FromThread, ToThread, Written } from './messages.ts'

export interface Look {
  readonly file: string
  readonly formats: readonly string[]
  readonly choices: Choices
  /** @param read octets so far */
  progress(read: number): void
}

export interface Looked {
  readonly format: string
  readonly requests: readonly SignatureRequest[]
  /** @param out a file, which is on the disk afterwards */
  attach(answers: readonly Uint8Array[], out: string): Promise<Written>
  drop(): void
}

export interface Looking {
  /** @throws whatever the format throws; TrustError `unavailable` when the thread ended, which an artifact may have brought about */
  look(wanted: Look): Promise<Looked>
  close(): Promise<void>
}

/** What formats hold of an artifact is far less; an artifact that leads one astray ends the thread and not the server. */
const HEAP_MEGABYTES = 512

interface Waiting {
  progress(read: number): void
  settle(message: FromThread): void
  fail(error: Error): void
}

export function openLooking(): Looking {
  const waiting = new Map<number, Waiting>()
  let worker: Worker | undefined
  let asked = 0

  const running = (): Worker => {
    if (worker !== undefined) return worker
    const started = new Worker(new URL('thread.ts', import.meta.url), {
      name: 'artifacts',
      resourceLimits: { maxOldGenerationSizeMb: HEAP_MEGABYTES },
    })
    const end = (cause: unknown): void => {
      if (worker === started) worker = undefined
      const all = [...waiting.values()]
      waiting.clear()
      for (const each of all) each.fail(new TrustError('unavailable', 'artifactThreadEnded', { cause }))
    }
    started.on('error', end)
    started.on('exit', (code) => end(new Error(`it ended with ${code}`)))
    started.on('message', (message: FromThread) => {
      if (message.kind === 'progress') return waiting.get(message.id)?.progress(message.read)
      const found = waiting.get(message.id)
      waiting.delete(message.id)
      if (waiting.size === 0) started.unref()
      if (message.kind === 'failed') found?.fail(receivedError(message.error))
      else found?.settle(message)
    })
    started.unref()
    worker = started
    return started
  }

  const ask = <K extends FromThread['kind']>(
    message: ToThread,
    kind: K,
    progress: (read: number) => void = () => {},
  ): Promise<FromThread & { readonly kind: K }> => {
    const thread = running()
    const { promise, resolve, reject } = Promise.withResolvers<FromThread & { readonly kind: K }>()
    waiting.set(message.id, {
      progress,
      fail: reject,
      settle: (answer) =>
        answer.kind === kind
          ? resolve(answer as FromThread & { readonly kind: K })
          : reject(new TypeError(`${answer.kind} answers no ${message.kind}`)),
    })
    thread.ref()
    thread.postMessage(message, [])
    return promise
  }

  return {
    async look({ file, formats, choices, progress }) {
      const id = ++asked
      const { format, requests } = await ask({ kind: 'prepare', id, file, formats, choices }, 'prepared', progress)
      const drop = (): void => worker?.postMessage({ kind: 'drop', id } satisfies ToThread, [])
      return {
        format,
        requests,
        attach: async (answers, out) => (await ask({ kind: 'attach', id, answers, out }, 'written')).written,
        drop,
      }
    },
    async close() {
      await worker?.terminate()
    },
  }
}
