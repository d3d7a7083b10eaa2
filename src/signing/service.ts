/**
 * Signing: everything that can refuse is asked, counted and recorded before the key is touched.
 *
 * One batch for each signature, on disk before it is made: the count goes up if the signer still is as it was read and
 * has signatures left, and the audit entry is written. A signature that then fails is given back and recorded as refused; one
 * that was made is in the log, whatever happens to the process afterwards.
 *
 * @module
 */
import { hash } from 'node:crypto'
import { signatureAlgorithm, type SignatureAlgorithmId } from '#algorithms/table.ts'
import type { Act, ActValue } from '#approvals/act.ts'
import type { ActKind, Approval, Approvals, Ticket } from '#approvals/approvals.ts'
import { asTrustError, type Facts, TrustError } from '#base/errors.ts'
import { uuidv7 } from '#base/world.ts'
import { usualDigest } from '#cms/digests.ts'
import type { Signer } from '#keys/key-store.ts'
import { keep, type Step } from '#store/batch.ts'
import type { Requester, SigningContext } from './context.ts'
import { answer, type Answering, type AnsweringWith, askedFor, keysFor } from './artifact/answer.ts'
import type { CMSRequest, RawRequest, SignatureRequest } from './format.ts'
import { signingFormat } from './formats/registry.ts'
import { signingQueue, type SigningQueue } from './queue.ts'
import { isParty, keysOf, type LoneKey, type SignerRecord } from './signer.ts'
import { askForTimeStamp, isTimeStampURL } from './time-stamps.ts'
import { keyFacts, objectOf, openSigners, type OpenSigner, type Signers } from './signers.ts'
import { openTimeStamping, type TimeStamping } from './tsp/authority.ts'
import type { ClockWatch } from './tsp/clock.ts'
import { checkStanding, hourOf, isAsRead, lookAgain, stepsToUse } from './uses.ts'

export interface Wanted {
  readonly format: string
  /** For the same key, in this order; they count as one signature. */
  readonly requests: readonly SignatureRequest[]
  /** Which state of the signer the requests were made for, where they hold its certificates. */
  readonly signerVersion?: number
  /** Of the artifact, as whoever has it says. */
  readonly artifactOctets?: number
  /** Of the artifact, where the server has it: `sha256:` and hexadecimal digits. */
  readonly artifactDigest?: string
  /** Which job of ours asks. */
  readonly job?: string
}

export interface WantedUses {
  readonly uses: number
  readonly seconds: number
  readonly reason?: string
}

export interface Made {
  readonly state: 'signed'
  /** To the requests, in their order. */
  readonly answers: readonly Uint8Array[]
  readonly signatureAlgorithm: SignatureAlgorithmId
  /** Of the signer's second key, which signed the same. */
  readonly companionAlgorithm?: SignatureAlgorithmId
  readonly signerVersion: number
  /** The audit entry, by which its place in the log can be proven. */
  readonly entry: string
}

/** People have to agree first; whoever asks comes again when they have. */
export interface Waiting {
  readonly state: 'waiting'
  readonly approval: Approval
}

export interface Signing {
  readonly signers: Signers
  readonly timeStamps: TimeStamping
  /**
   * What can be said before an artifact is here.
   *
   * @throws TrustError of any refusal, which is then in the audit log
   */
  check(name: string, wanted: Pick<Wanted, 'artifactOctets'> & { readonly format?: string }, by: Requester): Promise<SignerRecord>
  /** @throws TrustError of any refusal, which is then in the audit log; `rateLimited` when there is too much to do */
  sign(name: string, wanted: Wanted, by: Requester): Promise<Made | Waiting>
  /** Asks people to agree to so many signatures of whatever artifacts, for so long, by whoever asks. */
  askForUses(name: string, wanted: WantedUses, by: Requester): Promise<Approval>
}

/** Of the audit entry that each signature has. */
export const SIGNATURE_ACT = 'signature.make'
const USES_ACT = 'signature.uses'
/** The record changed between reading and signing that often in a row: somebody edits it without end. */
const TRIES_MAX = 4

export function openSigning(
  context: SigningContext,
  approvals: Approvals,
  clock: ClockWatch,
  queue: SigningQueue = signingQueue(),
): Signing {
  const { audit, db, world } = context
  const signers = openSigners(context)
  const timeStamps = openTimeStamping(context, signers, clock)

  /** @returns undefined where the signer was another by then, and asking again may help */
  async function attempt(open: OpenSigner, wanted: Wanted, by: Requester): Promise<Made | Waiting | undefined> {
    const { record } = open
    const now = world.clock.now()
    try {
      checkMay(open, wanted, by, now)
    } catch (refusal) {
      if (await isAsRead(signers, record)) throw refusal
      return undefined // another process changed it: what it is now may say yes
    }
    const ticket = record.approval === undefined ? undefined : await ticketFor(record, wanted, by)
    if (record.approval !== undefined && ticket === undefined) {
      const rule = { ...record.approval, usesMax: 1 }
      return { state: 'waiting', approval: await approvals.ask(exactAct(record, wanted), rule, by) }
    }
    const entry = uuidv7(world)
    const facts = { ...factsOf(record, wanted), ...(ticket !== undefined && { approval: ticket.approvalId }) }
    const recorded = audit.statement({
      id: entry,
      actor: by.actor,
      act: SIGNATURE_ACT,
      object: objectOf(record),
      outcome: 'done',
      facts,
    })
    if (!(await isKept([...stepsToUse(record, now), ...(ticket?.steps ?? []), recorded]))) return undefined
    try {
      const answering = answeringOf(open, now, timeStampFor(open, by))
      const answers: Uint8Array[] = []
      for (const request of wanted.requests) answers.push(await answer(request, answering))
      const { signatureAlgorithm: algorithm, companion } = record.key
      return {
        state: 'signed',
        answers,
        signatureAlgorithm: algorithm,
        ...(companion !== undefined && { companionAlgorithm: companion.signatureAlgorithm }),
        signerVersion: record.version,
        entry,
      }
    } catch (thrown) {
      await giveBack(record, now, ticket)
      throw withFacts(thrown, { entry, ...keyFacts(record.key) })
    }
  }

  /** From an authority of this installation, by its name, or from one elsewhere. */
  const timeStampFor = ({ record: { timeStamping } }: OpenSigner, by: Requester): Answering['timeStamp'] => {
    if (timeStamping === undefined) return undefined
    return isTimeStampURL(timeStamping)
      ? (signature) => askForTimeStamp(timeStamping, signature, world)
      : (signature) => timeStamps.stamp(timeStamping, signature, by)
  }

  const isKept = async (steps: readonly Step[]): Promise<boolean> => {
    try {
      await keep(db, steps)
      return true
    } catch (error) {
      if (error instanceof TrustError && (error.reason === 'signerChanged' || error.reason === 'approvalGone')) return false
      throw error
    }
  }

  const giveBack = (record: SignerRecord, at: number, ticket: Ticket | undefined): Promise<unknown> =>
    keep(db, [
      {
        sql: `UPDATE signer_use SET uses = uses - 1, window_uses = CASE WHEN window_start = ? THEN window_uses - 1 ELSE window_uses END
          WHERE signer_id = ?`,
        parameters: [hourOf(at), record.id],
      },
      ...(ticket?.giveBack ?? []),
    ])

  /** For this very artifact, or for so many of whoever asks. */
  const ticketFor = async (record: SignerRecord, wanted: Wanted, by: Requester): Promise<Ticket | undefined> =>
    (await approvals.ticketFor(exactAct(record, wanted))) ?? (await approvals.ticketFor(usesAct(record, by)))

  async function sign(name: string, wanted: Wanted, by: Requester): Promise<Made | Waiting> {
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      const open = await signers.open(name)
      if ((open.record.next?.at ?? Infinity) <= world.clock.now()) {
        await lookAgain(signers, name, world.clock.now())
        continue
      }
      const made = await attempt(open, wanted, by)
      if (made !== undefined) return made
      await lookAgain(signers, name, world.clock.now())
    }
    throw new TrustError('conflict', 'signerChanged', { facts: { name } })
  }

  /** @throws whatever `work` throws, once it is in the audit log */
  const refusable = async <T>(
    record: SignerRecord,
    { format }: Pick<Wanted, 'format'>,
    by: Requester,
    work: () => Promise<T>,
  ): Promise<T> => {
    try {
      return await work()
    } catch (thrown) {
      const { code, reason, facts } = asTrustError(thrown)
      const refused = { actor: by.actor, act: SIGNATURE_ACT, object: objectOf(record), reason }
      await audit.refuse({ ...refused, facts: { ...facts, code, format } })
      throw thrown
    }
  }

  return {
    signers,
    timeStamps,
    async askForUses(name, { uses, seconds, reason }, by) {
      const { record } = await signers.find(name)
      const { approval: rule } = record
      if (!isParty(record.users, by)) throw new TrustError('forbidden', 'signerNotYours', { facts: { name } })
      if (rule === undefined) throw new TrustError('conflict', 'signerNeedsNobody', { facts: { name } })
      if (uses > rule.usesMax || seconds > rule.validSeconds) {
        const facts = { name, uses: rule.usesMax, seconds: rule.validSeconds }
        throw new TrustError('policyRefused', 'signerUsesTooMany', { facts })
      }
      return approvals.ask(usesAct(record, by), { ...rule, usesMax: uses, validSeconds: seconds }, by, reason)
    },
    async check(name, { format, artifactOctets }, by) {
      const { record } = await signers.open(name)
      const wanted = { format: format ?? record.formats[0] ?? '', ...(artifactOctets !== undefined && { artifactOctets }) }
      const check = async (): Promise<SignerRecord> => {
        const open = await signers.open(name)
        checkTerms(open, wanted, by, world.clock.now())
        return open.record
      }
      return refusable(record, wanted, by, async () => {
        try {
          return await check()
        } catch (refusal) {
          if (await isAsRead(signers, record)) throw refusal
          return check()
        }
      })
    },
    async sign(name, wanted, by) {
      const { record } = await signers.open(name)
      return queue.run(record.priority, () => refusable(record, wanted, by, () => sign(name, wanted, by)))
    },
  }
}

/** What needs no other record than the signer's own. */
function checkMay(open: OpenSigner, wanted: Wanted, by: Requester, now: number): void {
  checkTerms(open, wanted, by, now)
  const { record } = open
  const { name } = record
  if (record.archive !== undefined && wanted.artifactDigest === undefined)
    throw new TrustError('policyRefused', 'signerUploadNeeded', { facts: { name } })
  if (wanted.signerVersion !== undefined && wanted.signerVersion !== record.version) {
    throw new TrustError('conflict', 'signerMoved', { facts: { name } })
  }
  for (const request of wanted.requests) {
    checkAsked(wanted.format, request)
    checkForm(record, request)
  }
  checkAllSign(record, wanted)
}

function checkTerms(
  { record, validity }: OpenSigner,
  wanted: Pick<Wanted, 'format' | 'artifactOctets'>,
  by: Requester,
  now: number,
): void {
  const { name } = record
  if (!isParty(record.users, by)) throw new TrustError('forbidden', 'signerNotYours', { facts: { name } })
  checkStanding({ record, validity }, now)
  if (record.timeStamps !== undefined) throw new TrustError('policyRefused', 'timeStampsOnly', { facts: { name } })
  if (!record.formats.includes(wanted.format)) {
    throw new TrustError('policyRefused', 'signerFormat', {
      facts: { name, format: wanted.format, formats: record.formats.join(', ') },
    })
  }
  const { sizeMaxOctets } = record
  if (sizeMaxOctets !== undefined) {
    if (wanted.artifactOctets === undefined) throw new TrustError('malformed', 'signerSizeUnsaid', { facts: { name } })
    if (wanted.artifactOctets > sizeMaxOctets)
      throw new TrustError('tooLarge', 'signerSize', { facts: { name, limit: sizeMaxOctets } })
  }
}

/** Keys that sign together do so always: one alone would look like a signature from which the other was taken away. */
function checkAllSign({ name, key }: SignerRecord, { requests }: Wanted): void {
  const keys = keysOf(key)
  const signing = new Set(requests.flatMap(({ by }) => keysFor(by, [...keys.keys()])))
  if (signing.size < keys.length) throw new TrustError('policyRefused', 'signerKeyLeftOut', { facts: { name } })
}

/** The artifact is not here, but what is asked for must be what the format asks for: a bare signature can become anything. */
function checkAsked(format: string, request: SignatureRequest): void {
  const asked = askedFor(request)
  if (asked === undefined || !signingFormat(format).asks.includes(asked))
    throw new TrustError('policyRefused', 'formatRequest', { facts: { format } })
}

/** What a key cannot sign is found before it is counted. */
function checkForm({ name, key: all }: SignerRecord, request: SignatureRequest): void {
  for (const key of keysFor(request.by, keysOf(all))) {
    if (request.type === 'raw') checkMessage(key.signatureAlgorithm, request)
    else if (key.chain.length === 0) throw new TrustError('policyRefused', 'signerNoCertificate', { facts: { name } })
    else checkContent(key.signatureAlgorithm, request)
  }
}

function checkMessage(algorithm: SignatureAlgorithmId, { message }: RawRequest): void {
  if ('octets' in message) return
  const { id, digest } = signatureAlgorithm(algorithm)
  if (digest === null) throw new TrustError('unsupported', 'digestNotTaken', { facts: { signature: id } })
  if (message.digestAlgorithm !== digest) {
    throw new TrustError('unsupported', 'digestOther', {
      facts: { signature: id, expected: digest, digest: message.digestAlgorithm },
    })
  }
}

function checkContent(id: SignatureAlgorithmId, { content }: CMSRequest): void {
  const expected = usualDigest(id)
  if ('attached' in content || content.detached.has(expected)) return
  const digest = [...content.detached.keys()].join(', ')
  throw new TrustError('unsupported', 'digestOther', { facts: { signature: id, expected, digest } })
}

function answeringOf({ record, key, companion }: OpenSigner, now: number, timeStamp: Answering['timeStamp']): Answering {
  const answeringWith = (signer: Signer, { chain, signatureAlgorithm: algorithm }: LoneKey): AnsweringWith => ({
    key: signer,
    // without one only raw signatures are asked for, which hold none: see checkForm
    certificates: chain as unknown as AnsweringWith['certificates'],
    signatureAlgorithm: algorithm,
  })
  const second = record.key.companion
  return {
    ...answeringWith(key, record.key),
    ...(companion !== undefined && second !== undefined && { others: [answeringWith(companion, second)] }),
    signingTime: new Date(now),
    ...(timeStamp !== undefined && { timeStamp }),
  }
}

/** One artifact, signed as the key and the terms are now. */
const exactAct = (record: SignerRecord, wanted: Wanted): Act => ({
  kind: SIGNATURE_ACT,
  object: objectOf(record),
  parameters: {
    signer: record.name,
    ...keyFacts(record.key),
    format: wanted.format,
    signatureAlgorithm: record.key.signatureAlgorithm,
    requests: wanted.requests.map((request) => `sha256:${hash('sha256', requestText(request), 'hex')}`),
    digests: wanted.requests.map(digestText),
    artifactOctets: wanted.artifactOctets ?? null,
  },
})

/** Whatever artifacts, by one who asked; how many and how long is the rule's. */
const usesAct = (record: SignerRecord, by: Requester): Act => ({
  kind: USES_ACT,
  object: objectOf(record),
  parameters: { signer: record.name, by: by.actor },
})

/** All that a request says, as one text: two of the same text are answered alike. */
const requestText = (request: SignatureRequest): string =>
  JSON.stringify(request, (_, value: unknown) =>
    value instanceof Map ? [...value.entries()] : value instanceof Uint8Array ? value.toBase64() : value,
  )

/** What this room asks approval for. */
export const signingActs: readonly ActKind[] = [
  {
    id: SIGNATURE_ACT,
    describe({ parameters: { signer, format, digests } }) {
      return `Sign one artifact with the signer ${textOf(signer)} as ${textOf(format)}: ${textOf(digests)}`
    },
  },
  {
    id: USES_ACT,
    describe: ({ parameters: { signer, by } }) =>
      `Sign artifacts not yet known with the signer ${textOf(signer)}, by ${textOf(by)}`,
  },
]

const textOf = (value: ActValue | undefined): string => (typeof value === 'string' ? value : JSON.stringify(value))

/** What was signed, so that whoever has the artifact finds its entry in the log. */
function factsOf({ key, version }: SignerRecord, { format, requests, artifactOctets, artifactDigest, job }: Wanted): Facts {
  return {
    format,
    ...keyFacts(key),
    signatureAlgorithm: key.signatureAlgorithm,
    signerVersion: version,
    digests: requests.map(digestText).join(' '),
    ...(artifactOctets !== undefined && { artifactOctets }),
    ...(artifactDigest !== undefined && { artifactDigest }),
    ...(job !== undefined && { job }),
  }
}

function digestText(request: SignatureRequest): string {
  if (request.type === 'raw') return rawDigest(request)
  const { content } = request
  if ('attached' in content) return `sha256:${hash('sha256', content.attached, 'hex')}`
  return [...content.detached].map(([id, octets]) => `${id}:${octets.toHex()}`).join(' ')
}

const rawDigest = ({ message }: RawRequest): string =>
  'octets' in message ? `sha256:${hash('sha256', message.octets, 'hex')}` : `${message.digestAlgorithm}:${message.digest.toHex()}`

/** The same refusal with more for the log. */
function withFacts(thrown: unknown, facts: Facts): TrustError {
  const { code, reason, facts: own, retryAfterSeconds } = asTrustError(thrown)
  return new TrustError(code, reason, {
    facts: { ...own, ...facts },
    cause: thrown,
    ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
  })
}
