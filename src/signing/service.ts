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
import { uuidv7, type World } from '#base/world.ts'
import { usualDigest } from '#cms/digests.ts'
import { keep, type Step } from '#store/batch.ts'
import type { Requester, SigningContext } from './context.ts'
import { answer, type Answering } from './artifact/answer.ts'
import type { CMSRequest, RawRequest, SignatureRequest } from './format.ts'
import { signingQueue, type SigningQueue } from './queue.ts'
import { isParty, type SignerRecord } from './signer.ts'
import { askForTimeStamp } from './time-stamps.ts'
import { objectOf, openSigners, type OpenSigner, type Signers } from './signers.ts'
import { checkStanding, hourOf, lookAgain, stepsToUse } from './uses.ts'

export interface Wanted {
  readonly format: string
  /** For the same key, in this order; they count as one signature. */
  readonly requests: readonly SignatureRequest[]
  /** Which state of the signer the requests were made for, where they hold its certificates. */
  readonly signerVersion?: number
  /** Of the artifact, as whoever has it says. */
  readonly artifactOctets?: number
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

export function openSigning(context: SigningContext, approvals: Approvals, queue: SigningQueue = signingQueue()): Signing {
  const { audit, db, world } = context
  const signers = openSigners(context)

  /** @returns undefined where the signer was another by then, and asking again may help */
  async function attempt(open: OpenSigner, wanted: Wanted, by: Requester): Promise<Made | Waiting | undefined> {
    const { record, key } = open
    const now = world.clock.now()
    try {
      checkMay(open, wanted, by, now)
    } catch (refusal) {
      if (await isAsRead(open)) throw refusal
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
      const answering = answeringOf(open, now, world)
      const answers: Uint8Array[] = []
      for (const request of wanted.requests) answers.push(await answer(request, answering))
      const { signatureAlgorithm: algorithm } = record.key
      return { state: 'signed', answers, signatureAlgorithm: algorithm, signerVersion: record.version, entry }
    } catch (thrown) {
      await giveBack(record, now, ticket)
      throw withFacts(thrown, { entry, key: key.label })
    }
  }

  const isAsRead = async ({ record: { name, version } }: OpenSigner): Promise<boolean> => {
    signers.forget(name)
    return (await signers.open(name)).record.version === version
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

  return {
    signers,
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
    async sign(name, wanted, by) {
      const { record } = await signers.open(name)
      return queue.run(record.priority, async () => {
        try {
          return await sign(name, wanted, by)
        } catch (thrown) {
          const { code, reason, facts } = asTrustError(thrown)
          await audit.refuse({
            actor: by.actor,
            act: SIGNATURE_ACT,
            object: objectOf(record),
            reason,
            facts: { ...facts, code, format: wanted.format },
          })
          throw thrown
        }
      })
    },
  }
}

/** What needs no other record than the signer's own. */
function checkMay({ record, validity }: OpenSigner, wanted: Wanted, by: Requester, now: number): void {
  const { name } = record
  if (!isParty(record.users, by)) throw new TrustError('forbidden', 'signerNotYours', { facts: { name } })
  checkStanding({ record, validity }, now)
  if (!record.formats.includes(wanted.format)) {
    throw new TrustError('policyRefused', 'signerFormat', {
      facts: { name, format: wanted.format, formats: record.formats.join(', ') },
    })
  }
  if (wanted.signerVersion !== undefined && wanted.signerVersion !== record.version) {
    throw new TrustError('conflict', 'signerMoved', { facts: { name } })
  }
  const { sizeMaxOctets } = record
  if (sizeMaxOctets !== undefined) {
    if (wanted.artifactOctets === undefined) throw new TrustError('malformed', 'signerSizeUnsaid', { facts: { name } })
    if (wanted.artifactOctets > sizeMaxOctets)
      throw new TrustError('tooLarge', 'signerSize', { facts: { name, limit: sizeMaxOctets } })
  }
  for (const request of wanted.requests) checkForm(record, request)
}

/** What the key cannot sign is found before it is counted. */
function checkForm({ name, key }: SignerRecord, request: SignatureRequest): void {
  if (request.type === 'cms') {
    if (key.chain.length === 0) throw new TrustError('policyRefused', 'signerNoCertificate', { facts: { name } })
    checkContent(key.signatureAlgorithm, request)
    return
  }
  const { message } = request
  if ('octets' in message) return
  const { id, digest } = signatureAlgorithm(key.signatureAlgorithm)
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

const answeringOf = ({ record: { timeStamping, ...record }, key }: OpenSigner, now: number, world: World): Answering => ({
  key,
  // without one only raw signatures are asked for, which hold none: see checkForm
  certificates: record.key.chain as Answering['certificates'],
  signatureAlgorithm: record.key.signatureAlgorithm,
  signingTime: new Date(now),
  ...(timeStamping !== undefined && { timeStamp: (signature: Uint8Array) => askForTimeStamp(timeStamping, signature, world) }),
})

/** One artifact, signed as the key and the terms are now. */
const exactAct = (record: SignerRecord, wanted: Wanted): Act => ({
  kind: SIGNATURE_ACT,
  object: objectOf(record),
  parameters: {
    signer: record.name,
    key: record.key.label,
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
function factsOf({ key, version }: SignerRecord, { format, requests, artifactOctets }: Wanted): Facts {
  return {
    format,
    signatureAlgorithm: key.signatureAlgorithm,
    signerVersion: version,
    digests: requests.map(digestText).join(' '),
    ...(artifactOctets !== undefined && { artifactOctets }),
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
