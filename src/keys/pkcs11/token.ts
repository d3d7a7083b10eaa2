/**
 * One token, as the server sees it: a worker process that is started when needed, watched, and started again after it
 * ended, with growing pauses. Session errors and crashes are one case: the worker goes, the next one finds out what
 * is there.
 *
 * A PIN that the token refused is never sent again by itself: three or ten of them lock most tokens for good.
 *
 * @module
 */
import { type ChildProcess, spawn } from 'node:child_process'
import type { Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import { TrustError } from '#base/errors.ts'
import type { Log } from '#base/log.ts'
import type { Secret } from '#base/secret.ts'
import type { Clock } from '#base/world.ts'
import { ANSWER_MAX_OCTETS, answerKinds, batchedWriter, frameReader, type ReadFrame, requestKinds } from './frames.ts'
import {
  type ControlRequest,
  encodeSignRequest,
  type FoundKeys,
  type SignRequest,
  type TokenInfo,
  type TokenSelector,
  type WorkerRefusal,
} from './messages.ts'

/**
 * `idle` before first use, `locked` without a PIN, `pinWrong` after the token refused one, `gone` when the token, its
 * library or its worker cannot be reached.
 */
export type TokenState = 'idle' | 'opening' | 'ready' | 'locked' | 'pinWrong' | 'gone' | 'closed'

export interface TokenOptions {
  /** For messages: the name of the key store. */
  readonly store: string
  readonly module: string
  readonly selector: TokenSelector
  /** Undefined while nobody gave it. */
  readonly pin: () => Secret | undefined
  /** Signatures that the token is asked for at once. */
  readonly sessions: number
  readonly clock: Clock
  readonly log: Log
  /** Environment of the worker: libraries of vendors read their settings from it. */
  readonly environment: Readonly<Record<string, string | undefined>>
}

/** A session's way to the keys; ends with its worker. */
export interface TokenConnection {
  readonly info: TokenInfo
  find(label: string): Promise<FoundKeys>
  generate(request: Omit<Extract<ControlRequest, { op: 'generate' }>, 'op'>): Promise<FoundKeys>
  destroy(label: string): Promise<{ readonly destroyed: number }>
  sign(request: SignRequest): Promise<Uint8Array>
}

export interface Token {
  readonly name: string
  state(): TokenState
  /** What went wrong last, in the library's words; undefined while all is well. */
  problem(): string | undefined
  info(): TokenInfo | undefined
  /** Signatures under way. */
  load(): number
  /** Of the worker; for tests and for people who look at processes. */
  processId(): number | undefined
  /** The connection, where there is one at once. */
  connected(): TokenConnection | undefined
  /** @throws TrustError `unavailable`, at once while the token is known to be gone */
  connection(): Promise<TokenConnection>
  /** A person gives the PIN. @throws TrustError `forbidden` when the token refuses it, `unavailable` */
  unlock(pin: Secret): Promise<void>
  /** Ends the worker and begins anew after a pause: the token answered what it must not. @returns what to throw */
  distrust(problem: string): TrustError
  close(): Promise<void>
}

const RETRY_FIRST_MILLISECONDS = 250
/** A token that is plugged in again is found within this. */
const RETRY_MAX_MILLISECONDS = 30_000
/** A library that does not answer in this time hangs: its worker is ended. A signature takes milliseconds, over a network tens. */
const SIGN_DEADLINE_MILLISECONDS = 15_000
/** Opening may wait for a network; a slow token makes an RSA-4096 key in a minute. */
const CONTROL_DEADLINE_MILLISECONDS = 120_000
const DEADLINE_CHECK_MILLISECONDS = 1000
/** More would wait longer than any client does, and hold memory meanwhile. */
const IN_FLIGHT_MAX = 4096
/** Time for C_Finalize before the worker is ended the hard way. */
const CLOSE_MILLISECONDS = 2000
const BUSY_RETRY_SECONDS = 1

/** CKR_… that say that the session or the token is no more, or that nothing can be said: a new worker finds out. */
const CONNECTION_LOST: ReadonlySet<number> = new Set([
  0x2, // HOST_MEMORY
  0x3, // SLOT_ID_INVALID
  0x5, // GENERAL_ERROR
  0x6, // FUNCTION_FAILED
  0x30, // DEVICE_ERROR
  0x31, // DEVICE_MEMORY
  0x32, // DEVICE_REMOVED
  0x60, // KEY_HANDLE_INVALID: handles live as long as sessions
  0x82, // OBJECT_HANDLE_INVALID
  0xb0, // SESSION_CLOSED
  0xb3, // SESSION_HANDLE_INVALID
  0xe0, // TOKEN_NOT_PRESENT
  0xe1, // TOKEN_NOT_RECOGNIZED
  0x101, // USER_NOT_LOGGED_IN
  0x190, // CRYPTOKI_NOT_INITIALIZED
])
/** PIN_INCORRECT, PIN_INVALID, PIN_LEN_RANGE, PIN_EXPIRED, PIN_LOCKED */
const PIN_REFUSED: ReadonlySet<number> = new Set([0xa0, 0xa1, 0xa2, 0xa3, 0xa4])
/** CKF_USER_PIN_COUNT_LOW: a PIN was refused since the last login. */
const PIN_COUNT_LOW = 0x10000
const PIN_FINAL_TRY = 0x20000
const PIN_LOCKED = 0x40000

const WORKER = fileURLToPath(new URL('main.ts', import.meta.url))

interface Waiting {
  readonly deadline: number
  readonly resolve: (body: Buffer) => void
  readonly reject: (error: Error) => void
}

export const selectorText = (selector: TokenSelector): string =>
  'label' in selector ? `label:${selector.label}` : `serial:${selector.serialNumber}`

export function openToken({ store, module, selector, pin, sessions, clock, log, environment }: TokenOptions): Token {
  const name = selectorText(selector)
  let state: TokenState = 'idle'
  let problem: string | undefined
  let info: TokenInfo | undefined
  let worker: Worker | undefined
  let connection: TokenConnection | undefined
  let opening: Promise<void> | undefined
  let pinRefused = false
  /** Given by a person: kept, in memory only, for workers to come. */
  let givenPin: Secret | undefined
  let failures = 0
  let retryAt = 0
  let retry: NodeJS.Timeout | undefined
  let signing = 0

  const become = (next: TokenState, because?: string): void => {
    if (next === state && because === problem) return
    state = next
    problem = because
    const fields = { keyStore: store, name, state, ...(because !== undefined && { problem: because }) }
    if (next === 'ready') log.info('token ready', fields)
    else if (next !== 'opening' && next !== 'closed') log.warn('token not ready', fields)
  }

  const unavailable = (): TrustError => {
    const facts = { store, token: name, problem: problem ?? state }
    if (state === 'locked') return new TrustError('unavailable', 'tokenLocked', { facts })
    if (state === 'pinWrong') return new TrustError('unavailable', 'tokenPinWrong', { facts })
    const retryAfterSeconds = Math.max(1, Math.ceil((retryAt - clock.now()) / 1000))
    return new TrustError('unavailable', 'tokenGone', { facts, retryAfterSeconds })
  }

  /** The worker ended, or is to: what is under way fails, and the next attempt has its time. */
  const lose = (from: Worker, because: string): void => {
    if (worker !== from) return
    worker = undefined
    connection = undefined
    opening = undefined
    const pause = Math.min(RETRY_FIRST_MILLISECONDS * 2 ** failures, RETRY_MAX_MILLISECONDS)
    failures++
    retryAt = clock.now() + pause
    if (state !== 'closed') become('gone', because)
    from.end(unavailable)
    if (state === 'closed') return
    clearTimeout(retry)
    // so that a token that is back is seen without anyone asking
    retry = setTimeout(() => void attempt().catch(() => {}), pause).unref()
  }

  const start = async (): Promise<void> => {
    become('opening')
    const started = startWorker({ environment, sessions }, (because) => lose(started, because))
    worker = started
    try {
      info = await started.control<TokenInfo>({ op: 'open', module, token: selector, sessions })
    } catch (error) {
      lose(started, wordsOf(error))
      throw unavailable()
    }
    await logInAlone(started, info)
  }

  /** With the PIN that is known, if one is and it was not refused. */
  const logInAlone = async (started: Worker, tokenInfo: TokenInfo): Promise<void> => {
    const known = givenPin ?? readPin()
    if (known === undefined) become('locked')
    else if (pinRefused) become('pinWrong')
    else if (givenPin === undefined && (tokenInfo.flags & (PIN_COUNT_LOW | PIN_FINAL_TRY | PIN_LOCKED)) !== 0) {
      // Another process, or this one before it was started anew, may hold the same wrong PIN: one of them has tried it.
      pinRefused = true
      become('pinWrong', pinWords(tokenInfo.flags))
    } else await logIn(started, tokenInfo, known)
  }

  const readPin = (): Secret | undefined => {
    try {
      return pin()
    } catch (error) {
      log.error('the PIN of a key store cannot be read', { keyStore: store, name, error })
      return undefined
    }
  }

  const logIn = async (to: Worker, tokenInfo: TokenInfo, pin: Secret): Promise<void> => {
    try {
      await to.request(requestKinds.login, Buffer.from(pin.reveal('log in to a token')), CONTROL_DEADLINE_MILLISECONDS)
    } catch (error) {
      const refusal = refusalIn(error)
      if (refusal?.rv !== undefined && PIN_REFUSED.has(refusal.rv)) {
        pinRefused = true
        givenPin = undefined
        become('pinWrong', pinWords(refusal.flags ?? 0))
      } else lose(to, wordsOf(error))
      throw unavailable()
    }
    pinRefused = false
    connection = connectionOf(to, tokenInfo)
    become('ready')
  }

  /** One at a time: two would start two workers, or try a PIN twice. */
  const attempt = (): Promise<void> => {
    if (state === 'closed') return Promise.reject(unavailable())
    if (opening !== undefined) return opening
    if (worker !== undefined && state !== 'locked') return Promise.resolve()
    clearTimeout(retry)
    const begun = (worker !== undefined && info !== undefined ? logInAlone(worker, info) : start()).finally(() => {
      if (opening === begun) opening = undefined
    })
    opening = begun
    return begun
  }

  const connectionOf = (to: Worker, tokenInfo: TokenInfo): TokenConnection => {
    /** A refusal that speaks of the session ends the connection; others are the caller's. */
    const guarded = async <T>(work: Promise<T>): Promise<T> => {
      try {
        return await work
      } catch (error) {
        const refusal = refusalIn(error)
        if (refusal === undefined) throw error
        if (refusal.rv === undefined || CONNECTION_LOST.has(refusal.rv)) {
          lose(to, wordsOf(error))
          throw unavailable()
        }
        throw error
      }
    }
    return {
      info: tokenInfo,
      find: (label) => guarded(to.control<FoundKeys>({ op: 'find', label })),
      generate: (request) => guarded(to.control<FoundKeys>({ op: 'generate', ...request })),
      destroy: (label) => guarded(to.control<{ readonly destroyed: number }>({ op: 'destroy', label })),
      async sign(request) {
        if (signing >= IN_FLIGHT_MAX)
          throw new TrustError('unavailable', 'tokenBusy', { facts: { store }, retryAfterSeconds: BUSY_RETRY_SECONDS })
        signing++
        try {
          const signature = await guarded(to.request(requestKinds.sign, encodeSignRequest(request), SIGN_DEADLINE_MILLISECONDS))
          failures = 0
          return signature
        } finally {
          signing--
        }
      },
    }
  }

  return {
    name,
    state: () => state,
    problem: () => problem,
    info: () => info,
    load: () => signing,
    processId: () => worker?.processId,

    connected: () => connection,

    async connection() {
      if (connection !== undefined) return connection
      if (state === 'gone' && clock.now() < retryAt && opening === undefined) throw unavailable()
      await attempt()
      if (connection === undefined) throw unavailable()
      return connection
    },

    async unlock(pin) {
      if (connection !== undefined) return
      // what comes of the PIN that is known already is no matter here, only whether the token is there
      if (worker === undefined || opening !== undefined) await attempt().catch(() => {})
      if (worker === undefined || info === undefined) throw unavailable()
      if (connection !== undefined) return
      pinRefused = false
      try {
        await logIn(worker, info, pin)
      } catch (error) {
        if (pinRefused)
          throw new TrustError('forbidden', 'tokenPinRefused', { facts: { store, token: name, problem: problem ?? '' } })
        throw error
      }
      givenPin = pin
    },

    distrust(because) {
      if (worker !== undefined) lose(worker, because)
      return unavailable()
    },

    async close() {
      become('closed')
      clearTimeout(retry)
      const last = worker
      if (last !== undefined) {
        lose(last, 'closed')
        await last.exited
      }
    },
  }
}

const pinWords = (flags: number): string =>
  (flags & PIN_LOCKED) !== 0
    ? 'the token has locked this PIN'
    : (flags & PIN_FINAL_TRY) !== 0
      ? 'one more wrong PIN locks the token'
      : 'a PIN was refused'

/** What a worker refused, as it came. */
class WorkerError extends Error {
  override readonly name = 'WorkerError'
  readonly refusal: WorkerRefusal

  constructor(refusal: WorkerRefusal) {
    super(refusalWords(refusal))
    this.refusal = refusal
  }
}

const problemWords: Readonly<Record<NonNullable<WorkerRefusal['problem']>, string>> = {
  module: 'the library cannot be loaded',
  platform: 'PKCS #11 is offered on 64-bit Linux and macOS',
  tokenAbsent: 'no such token is present',
  tokenAmbiguous: 'several tokens have this label; name one by its serial number',
  notOpen: 'the session is not open',
  malformed: 'the library answered what makes no sense',
}

const refusalWords = ({ call, rv, problem }: WorkerRefusal): string =>
  problem !== undefined ? problemWords[problem] : `${call} refused with 0x${(rv ?? 0).toString(16)}`

/** @returns undefined for what is no refusal of the library */
export const refusalIn = (error: unknown): WorkerRefusal | undefined => (error instanceof WorkerError ? error.refusal : undefined)

const wordsOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

interface Worker {
  readonly processId: number | undefined
  readonly exited: Promise<void>
  request(kind: number, body: Uint8Array, deadlineMilliseconds: number): Promise<Buffer>
  control<T>(request: ControlRequest): Promise<T>
  /** Fails what is under way and lets the process go. */
  end(error: () => Error): void
}

/** @param lost called once, when the process ended or cannot be used any more */
function startWorker(
  { environment, sessions }: Pick<TokenOptions, 'environment' | 'sessions'>,
  lost: (because: string) => void,
): Worker {
  const child: ChildProcess = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', WORKER], {
    stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
    // a thread for each session: a call waits in one
    env: { ...environment, UV_THREADPOOL_SIZE: String(sessions) },
  })
  const channel = child.stdio[3] as Socket
  const waiting = new Map<number, Waiting>()
  let nextId = 1
  let ended = false
  let deadlines: NodeJS.Timeout | undefined
  const exited = new Promise<void>((resolve) => {
    child.once('exit', () => resolve())
    child.once('error', () => resolve())
  })

  /** An idle worker keeps nobody from ending. */
  const hold = (held: boolean): void => {
    if (held) {
      child.ref()
      channel.ref()
      return
    }
    child.unref()
    channel.unref()
  }
  hold(false)

  const write = batchedWriter((octets) => {
    if (!ended) channel.write(octets)
  })

  const settle = (id: number): Waiting | undefined => {
    const found = waiting.get(id)
    waiting.delete(id)
    if (waiting.size === 0 && !ended) hold(false)
    return found
  }

  const take = ({ id, kind, body }: ReadFrame): void => {
    const asked = settle(id)
    if (asked === undefined) return
    if (kind === answerKinds.done) asked.resolve(body)
    else asked.reject(new WorkerError(JSON.parse(body.toString()) as WorkerRefusal))
  }
  const read = frameReader(ANSWER_MAX_OCTETS, take)
  channel.on('data', (chunk: Buffer) => {
    try {
      read(chunk)
    } catch {
      lost('its worker answered what makes no sense')
    }
  })
  channel.on('error', () => lost('its worker ended'))
  child.once('error', (error) => lost(`its worker cannot be started: ${error.message}`))
  child.once('exit', (code, signal) => lost(`its worker ended with ${signal ?? `code ${code}`}`))

  /** One timer for all: a timer per signature would cost as much as the signature's way. */
  const watch = (): void => {
    deadlines = undefined
    if (waiting.size === 0 || ended) return
    const now = performance.now()
    if ([...waiting.values()].some(({ deadline }) => deadline <= now)) lost('the library does not answer')
    else deadlines = setTimeout(watch, DEADLINE_CHECK_MILLISECONDS).unref()
  }

  const request: Worker['request'] = (kind, body, deadlineMilliseconds) =>
    new Promise((resolve, reject) => {
      if (ended) {
        reject(new WorkerError({ call: 'request', problem: 'notOpen' }))
        return
      }
      const id = nextId
      nextId = nextId === 0xffff_ffff ? 1 : nextId + 1
      if (waiting.size === 0) hold(true)
      waiting.set(id, { deadline: performance.now() + deadlineMilliseconds, resolve, reject })
      deadlines ??= setTimeout(watch, DEADLINE_CHECK_MILLISECONDS).unref()
      write({ id, kind, body })
    })

  return {
    processId: child.pid,
    exited,
    request,
    async control(body) {
      const answer = await request(requestKinds.control, Buffer.from(JSON.stringify(body)), CONTROL_DEADLINE_MILLISECONDS)
      return JSON.parse(answer.toString())
    },
    end(error) {
      if (ended) return
      ended = true
      clearTimeout(deadlines)
      for (const { reject } of waiting.values()) reject(error())
      waiting.clear()
      channel.end()
      const last = setTimeout(() => child.kill('SIGKILL'), CLOSE_MILLISECONDS)
      child.once('exit', () => clearTimeout(last))
      hold(true)
    },
  }
}
