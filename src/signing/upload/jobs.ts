/**
 * Artifacts that are signed here: taken in, hashed by the very formats that a client has, signed, and given back.
 *
 * Each is a job from the moment that all of it is on the disk: a row says what is to be done, so that a crash loses nothing
 * that was taken. What the key answered is kept before the artifact is put together, so that a job that goes on after a
 * crash is not signed twice, but for one that stopped between the two.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import type { ReadStream } from 'node:fs'
import { createReadStream, existsSync } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'
import type { SignatureAlgorithmId } from '#algorithms/table.ts'
import type { Approvals } from '#approvals/approvals.ts'
import { asTrustError, TrustError } from '#base/errors.ts'
import type { Log } from '#base/log.ts'
import { uuidv7, type World } from '#base/world.ts'
import type { Database } from '#store/database.ts'
import type { Requester } from '../context.ts'
import type { Choices, KeyChoice } from '../format.ts'
import { signingQueue } from '../queue.ts'
import type { Signing } from '../service.ts'
import type { LoneKey, SignerRecord } from '../signer.ts'
import type { Archive } from './archive.ts'
import { isOpen, type Job, type JobMade, jobStore } from './job.ts'
import { openLooking } from './looking.ts'
import { openSpool } from './spool.ts'

export interface Submission {
  readonly signer: string
  /** What the artifact shows and the signer signs, when undefined. */
  readonly format: string | undefined
  readonly options: Readonly<Record<string, string>>
  /** As whoever sends it says. */
  readonly octets: number | undefined
  readonly idempotencyKey: string | undefined
  readonly isPatient: boolean
  read(maxOctets: number): AsyncIterable<Uint8Array>
}

/** Octets that are read once. */
export interface Result {
  readonly job: Job
  readonly octets: number
  read(): AsyncIterable<Uint8Array>
}

/** A job as it is now. */
export interface JobNow {
  readonly job: Job
  /** Octets of it that were hashed; undefined where nobody is at it, or on another server. */
  readonly hashed?: number
}

export interface Jobs {
  /** @returns once all of it is on the disk @throws TrustError of any refusal that is known before; `rateLimited` */
  submit(wanted: Submission, by: Requester): Promise<Job>
  /** @returns the job as it is when it is over or waits for people, or after so long */
  settled(id: string, milliseconds: number): Promise<Job>
  find(id: string): Promise<JobNow>
  list: ReturnType<typeof jobStore>['list']
  /** @throws TrustError `conflict` once it is signed */
  cancel(id: string): Promise<Job>
  /** @throws TrustError `conflict` for what is not done, or lies on another server; `notFound` once it was removed */
  result(id: string): Promise<Result>
  /** Nobody will ask for it any more. */
  discard(id: string): Promise<void>
  /** For the background: goes on with what a crash or a refusal that may pass left, and removes what is old. */
  runOnce(): Promise<void>
  close(): Promise<void>
}

export interface JobsOptions {
  readonly db: Database
  readonly world: World
  readonly organizationId: string
  readonly log: Log
  readonly signing: Pick<Signing, 'check' | 'sign' | 'signers'>
  readonly approvals: Pick<Approvals, 'find'>
  readonly archive: Archive
  /** Who they are by now; undefined for one who may do nothing any more. */
  requesterOf(principalId: string): Promise<Requester | undefined>
  readonly directory: string
  readonly uploadMaxOctets: number
  readonly spoolMaxOctets: number
  readonly resultKeepHours: number
}

/** Artifacts that are hashed at once: they take turns on one thread, and more would only hold more files open. */
const RUNNING_MAX = 4
/** Who comes after that is told so before sending. */
const WAITING_MAX = 256
/** Uploads at once: each holds a connection and a megabyte. */
const UPLOADS_MAX = 64
const BUSY_SECONDS = 5
/** How long what may pass (a token that is away, an hour's signatures) is tried again for whoever does not wait. */
const PATIENCE_MILLISECONDS = 6 * 3_600_000
/** An artifact that ended the process that often is not looked at again. */
const BEGUN_MAX = 20
/** The signer moved on while the artifact was hashed, that often in a row. */
const MOVED_MAX = 3
/** Rows outlive their files: what became of a job is asked later than its result. */
const ROWS_KEPT_MILLISECONDS = 30 * 86_400_000

export function openJobs(options: JobsOptions): Jobs {
  const { db, world, organizationId, log, signing, approvals, archive } = options
  const store = jobStore(db, organizationId)
  const spool = openSpool(options.directory, options.spoolMaxOctets, world)
  const looking = openLooking()
  const queue = signingQueue({ runningMax: RUNNING_MAX, waitingMax: WAITING_MAX })
  const running = new Map<string, Running>()
  /** Not before then again. */
  const laterAt = new Map<string, number>()
  /** Artifacts whose jobs are not kept yet. */
  const coming = new Set<string>()
  let swept = false
  let closing = false

  const now = (): number => world.clock.now()

  async function submit(wanted: Submission, by: Requester): Promise<Job> {
    const { signer: name, format, options: chosen, octets: expected, idempotencyKey } = wanted
    const earlier = idempotencyKey === undefined ? undefined : await store.findByKey(by.actor, idempotencyKey)
    if (earlier !== undefined) return sameAs(earlier, wanted, await digestOf(wanted.read(earlier.octets)))
    const record = await signing.check(name, { ...(format !== undefined && { format }), artifactOctets: expected ?? 0 }, by)
    const limit = Math.min(options.uploadMaxOctets, record.sizeMaxOctets ?? Infinity)
    if ((expected ?? 0) > limit) throw new TrustError('tooLarge', 'bodyTooLarge', { facts: { limit } })
    queue.checkRoom()
    if (coming.size >= UPLOADS_MAX) throw new TrustError('rateLimited', 'signingBusy', { retryAfterSeconds: BUSY_SECONDS })
    const id = uuidv7(world)
    coming.add(id)
    try {
      const spooled = await spool.take(id, wanted.read(limit), expected)
      world.faults.reach('artifact spooled')
      const job: Job = {
        ...{ id, state: 'queued', signer: name, actor: by.actor, principalId: by.id, node: spool.node },
        ...(format !== undefined && { format }),
        ...{ options: chosen, ...spooled, isPatient: wanted.isPatient, begun: 0, createdAt: now() },
      }
      const kept = await store.insert(job, idempotencyKey)
      world.faults.reach('signing job kept')
      if (kept.id === id) {
        start(kept, record, by)
        return kept
      }
      await spool.drop(id, 'all')
      return sameAs(kept, { ...wanted, octets: job.octets }, job.digest)
    } finally {
      coming.delete(id)
    }
  }

  /** @param by who asked a moment ago; who it was is looked at again later */
  function start(job: Job, { priority }: Pick<SignerRecord, 'priority'>, by?: Requester): void {
    if (running.has(job.id) || closing) return
    const own = new Running(job.octets)
    running.set(job.id, own)
    laterAt.delete(job.id)
    void queue
      .run(priority, () => work(job, own, by))
      .catch((error: unknown) => log.error('a signing job could not be kept', { job: job.id, error: asTrustError(error) }))
      .finally(() => {
        running.delete(job.id)
        own.end()
      })
  }

  async function work(job: Job, own: Running, by: Requester | undefined): Promise<void> {
    if (own.canceled || closing) return
    let current: Job = { ...job, state: 'queued', begun: job.begun + 1 }
    try {
      if (current.begun > BEGUN_MAX) throw new TrustError('internal', 'jobBegunTooOften')
      if (!existsSync(spool.artifactOf(job.id))) throw new TrustError('conflict', 'jobFilesGone')
      if (!(await store.update(current))) return
      current = await signed(current, own, by ?? (await currentRequester(job)))
      if (current.state === 'queued') return
      if (await store.update(current)) world.faults.reach('signing job over')
      else await spool.drop(job.id, 'all') // somebody canceled it
      if (current.state === 'done') await spool.drop(job.id, 'artifact')
    } catch (thrown) {
      await failed(current, own, asTrustError(thrown))
    }
  }

  async function failed(job: Job, own: Running, refusal: TrustError): Promise<void> {
    if (closing) return // it goes on when the server does
    const { code, reason, retryAfterSeconds } = refusal
    const mayPass = code === 'rateLimited' || code === 'unavailable'
    if (mayPass && (job.isPatient || own.made !== undefined) && now() - job.createdAt < PATIENCE_MILLISECONDS) {
      const begun = reason === 'artifactThreadEnded' ? job.begun : 0 // that may be the artifact's own doing
      await store.update({ ...job, begun, ...(own.made !== undefined && { made: own.made }) })
      laterAt.set(job.id, now() + (retryAfterSeconds ?? 10) * 1000)
      return
    }
    if (code === 'internal') log.error('a signing job failed', { job: job.id, error: refusal })
    await store.update({ ...job, state: 'failed', problem: problemOf(refusal), endedAt: now() })
    await spool.drop(job.id, 'all')
  }

  const currentRequester = async ({ principalId }: Job): Promise<Requester> => {
    const by = await options.requesterOf(principalId)
    if (by === undefined) throw new TrustError('forbidden', 'jobNobody')
    return by
  }

  /** @returns the job as it is now: done, or waiting for people; still queued when it was canceled meanwhile */
  async function signed(job: Job, own: Running, by: Requester): Promise<Job> {
    const file = spool.artifactOf(job.id)
    own.made = job.made
    for (let moves = 0; ; moves++) {
      const { record } = await signing.signers.open(job.signer)
      const formats = job.format === undefined ? record.formats : [job.format]
      const choices = { ...(own.made === undefined ? choicesOf(record) : choicesThen(own.made)), options: job.options }
      own.hashed = 0
      const looked = await looking.look({ file, formats, choices, progress: (read) => own.at(read) })
      try {
        if (own.canceled) return job
        const { format, requests } = looked
        if (own.made === undefined) {
          if (record.archive === 'artifacts') await archive.keep(file, job, record.id)
          if (own.canceled) return job
          own.isSigning = true
          const made = await signing.sign(
            job.signer,
            {
              ...{ format, requests, signerVersion: record.version },
              ...{ artifactOctets: job.octets, artifactDigest: `sha256:${job.digest}`, job: job.id },
            },
            by,
          )
          if (made.state === 'waiting') return { ...job, format, state: 'waiting', approval: made.approval.id }
          world.faults.reach('signing job signed')
          own.made = madeOf(made, choices)
          await store.update({ ...job, format, made: own.made })
          world.faults.reach('signing job answered')
        }
        const answers = own.made.answers.map((each) => Uint8Array.fromBase64(each))
        const result = await looked.attach(answers, spool.signedOf(job.id))
        world.faults.reach('signing job written')
        return { ...job, format, made: own.made, result, state: 'done', endedAt: now() }
      } catch (thrown) {
        const hasMoved = thrown instanceof TrustError && thrown.reason === 'signerMoved'
        if (!hasMoved || moves >= MOVED_MAX) throw thrown
        signing.signers.forget(job.signer)
      } finally {
        own.isSigning = false
        looked.drop()
      }
    }
  }

  const found = async (id: string): Promise<Job> => {
    const job = await store.find(id)
    if (job === undefined) throw new TrustError('notFound', 'jobUnknown')
    return job
  }

  async function goOn(job: Job): Promise<void> {
    if (running.has(job.id) || now() < (laterAt.get(job.id) ?? 0)) return
    if (job.state === 'waiting' && job.approval !== undefined) {
      const { state } = await approvals.find(job.approval)
      if (state === 'pending') return
      if (state !== 'approved') {
        const refusal = new TrustError('policyRefused', 'jobNotApproved', { facts: { state } })
        await store.update({ ...job, state: 'failed', problem: problemOf(refusal), endedAt: now() })
        return spool.drop(job.id, 'all')
      }
    }
    try {
      queue.checkRoom()
    } catch {
      return // in a moment
    }
    const { record } = await signing.signers.find(job.signer)
    start(job, record)
  }

  async function removeOld(): Promise<void> {
    for (const { id, result, endedAt } of await store.ended(spool.node, now() - options.resultKeepHours * 3_600_000)) {
      if (result !== undefined) await spool.drop(id, 'all')
      if ((endedAt ?? 0) < now() - ROWS_KEPT_MILLISECONDS) await store.remove(id)
    }
  }

  return {
    submit,
    async settled(id, milliseconds) {
      await running.get(id)?.ended(milliseconds)
      return found(id)
    },
    async find(id) {
      const job = await found(id)
      const hashed = running.get(id)?.hashed
      return { job, ...(hashed !== undefined && isOpen(job) && { hashed: Math.min(hashed, job.octets) }) }
    },
    list: store.list,
    async cancel(id) {
      const job = await found(id)
      const own = running.get(id)
      if (job.state === 'canceled') return job
      if (!isOpen(job) || (own?.made ?? job.made) !== undefined || own?.isSigning === true)
        throw new TrustError('conflict', 'jobSigned', { facts: { state: job.state } })
      if (own !== undefined) own.canceled = true
      const canceled: Job = { ...job, state: 'canceled', endedAt: now() }
      if (!(await store.update(canceled))) return found(id)
      await spool.drop(id, 'all')
      return canceled
    },
    async result(id) {
      const job = await found(id)
      const { result, state, node } = job
      if (result === undefined) throw new TrustError('conflict', 'jobNotDone', { facts: { state } })
      if (node !== spool.node) throw new TrustError('conflict', 'jobElsewhere')
      const file = spool.signedOf(id)
      if (!existsSync(file)) throw new TrustError('notFound', 'jobResultGone')
      return { job, octets: result.octets, read: (): ReadStream => createReadStream(file, { highWaterMark: PIECE_OCTETS }) }
    },
    discard: (id) => spool.drop(id, 'all'),
    async runOnce() {
      const open = await store.open(spool.node)
      if (!swept) {
        swept = true
        const kept = await store.ended(spool.node, now() + 1)
        const idsOf = (jobs: readonly Job[]): string[] => jobs.map(({ id }) => id)
        const gone = await spool.sweep(new Set([...idsOf(open), ...running.keys(), ...coming]), new Set(idsOf(kept)))
        if (gone > 0) log.info('what the last stop left of artifacts was removed', { files: gone })
      }
      for (const job of open) await goOn(job)
      await removeOld()
    },
    async close() {
      closing = true
      const all = [...running.values()]
      for (const own of all) own.canceled = own.canceled || !own.isSigning
      await looking.close()
      await Promise.all(all.map((own) => own.ended(CLOSE_MILLISECONDS)))
    },
  }
}

/** As large as one read of the disk is quick. */
const PIECE_OCTETS = 1 << 20
/** A key that has been asked answers within that, or is away. */
const CLOSE_MILLISECONDS = 10_000

const problemOf = ({ code, reason, facts, retryAfterSeconds }: TrustError): NonNullable<Job['problem']> => ({
  ...{ code, reason, facts },
  ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
})

/** @throws TrustError `conflict` when the key of an earlier job comes with something else */
function sameAs(job: Job, { signer, format, options, octets }: Submission, digest: string): Job {
  const isSame =
    job.signer === signer &&
    job.digest === digest &&
    (octets ?? job.octets) === job.octets &&
    (format ?? job.format) === job.format &&
    isDeepStrictEqual({ ...job.options }, { ...options })
  if (!isSame) throw new TrustError('conflict', 'idempotencyKeyReused')
  return job
}

/** Of a body that is not kept. */
async function digestOf(pieces: AsyncIterable<Uint8Array>): Promise<string> {
  const hash = createHash('sha256')
  for await (const piece of pieces) hash.update(piece)
  return hash.digest('hex')
}

/** What is known of a job only while this process is at it. */
class Running {
  hashed = 0
  canceled = false
  isSigning = false
  made: JobMade | undefined = undefined
  readonly #octets: number
  readonly #end = Promise.withResolvers<void>()

  constructor(octets: number) {
    this.#octets = octets
  }

  at(read: number): void {
    this.hashed = Math.min(read, this.#octets)
  }

  end(): void {
    this.#end.resolve()
  }

  async ended(milliseconds: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined
    const bound = new Promise<void>((resolve) => (timer = setTimeout(resolve, milliseconds)))
    await Promise.race([this.#end.promise, bound])
    clearTimeout(timer)
  }
}

/** Formats that carry certificates find that there are none; the others do not look. */
const choiceOf = ({ signatureAlgorithm, chain }: LoneKey): KeyChoice => ({
  signatureAlgorithm,
  certificates: chain as unknown as KeyChoice['certificates'],
})

const choicesOf = ({ key }: SignerRecord): Choices => ({
  ...choiceOf(key),
  ...(key.companion !== undefined && { others: [choiceOf(key.companion)] }),
})

interface ThenChoice {
  readonly signatureAlgorithm: string
  readonly certificates: readonly string[]
}

const choiceThen = ({ signatureAlgorithm, certificates }: ThenChoice): KeyChoice => ({
  signatureAlgorithm: signatureAlgorithm as SignatureAlgorithmId, // as it was written
  certificates: certificates.map((each) => Uint8Array.fromBase64(each)) as unknown as KeyChoice['certificates'],
})

const choicesThen = (made: JobMade): Choices => ({
  ...choiceThen(made),
  ...(made.others.length > 0 && { others: made.others.map(choiceThen) }),
})

const madeOf = (
  {
    answers,
    entry,
    signerVersion,
    signatureAlgorithm,
  }: Extract<Awaited<ReturnType<Signing['sign']>>, { readonly state: 'signed' }>,
  { certificates, others = [] }: Choices,
): JobMade => ({
  answers: answers.map((octets) => octets.toBase64()),
  entry,
  signerVersion,
  signatureAlgorithm,
  certificates: certificates.map((der) => der.toBase64()),
  others: others.map((other) => ({
    signatureAlgorithm: other.signatureAlgorithm,
    certificates: other.certificates.map((der) => der.toBase64()),
  })),
})
