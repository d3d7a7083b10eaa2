/**
 * The time-stamping authority: says of a digest that it was there at a time.
 *
 * Requests that come while others are being recorded share one transaction: the signer's count, the serial numbers, and an
 * audit entry for each token are on disk before a token is made. A process that dies between the two leaves entries of
 * tokens that nobody has, and never a token without its entry or a serial number twice.
 *
 * Source: RFC 3161; RFC 5816; RFC 9882 for ML-DSA.
 *
 * @module
 */
import { setTimeout as wait } from 'node:timers/promises'
import { TrustError } from '#base/errors.ts'
import { uuidv7 } from '#base/world.ts'
import { digestOf } from '#cms/digests.ts'
import {
  type Accuracy,
  encodeGrantedTimeStamp,
  encodeTimeStampToken,
  type Imprint,
  parseTimeStampRequest,
  type TimeStampRequest,
  type TSTInfo,
} from '#cms/timestamp.ts'
import { take } from '#store/batch.ts'
import type { Row } from '#store/database.ts'
import { parseCertificate } from '#x509/certificate.ts'
import { parseName } from '#x509/name.ts'
import type { Requester, SigningContext } from '../context.ts'
import { isParty, type TimeStampTerms } from '../signer.ts'
import { objectOf, type OpenSigner, type Signers } from '../signers.ts'
import { checkStanding, isAsRead, lookAgain, stepsToUse } from '../uses.ts'
import type { ClockWatch } from './clock.ts'

export interface Stamped {
  /** DER TimeStampToken. */
  readonly token: Uint8Array
  /** The audit entry, by which its place in the log can be proven. */
  readonly entry: string
  readonly genTime: Date
}

export interface TimeStamping {
  /**
   * @param request DER TimeStampReq
   * @param by who asks; undefined for whoever comes over the public listener
   * @returns the token with DER TimeStampResp around it
   * @throws TrustError of any refusal
   */
  answer(name: string, request: Uint8Array, by?: Requester): Promise<Stamped & { readonly response: Uint8Array }>
  /** For a signer of this installation, in the name of whoever signs with it. @returns a token over these octets */
  stamp(name: string, octets: Uint8Array, by: Requester): Promise<Uint8Array>
  /** Whether the clock may be stated to others. */
  readonly clock: ClockWatch
}

/** Of the audit entry that each token has. */
export const TIME_STAMP_ACT = 'time-stamp.make'
/** Who comes without saying who they are. */
const ANYBODY = 'anybody'
/** About as many as share one commit of the database without making the first wait for the last. */
const GROUP_MAX = 256
/** A second's work of a fast server. */
const WAITING_MAX = 4096
const RETRY_SECONDS = 1
const TRIES_MAX = 4
const DIGEST = 'sha256'

interface Asked {
  readonly request: TimeStampRequest
  readonly actor: string
  readonly answered: PromiseWithResolvers<Stamped>
}

/** What a transaction gave out. */
interface Recorded {
  readonly entries: readonly string[]
  readonly infos: readonly TSTInfo[]
}

export function openTimeStamping(context: SigningContext, signers: Signers, clock: ClockWatch): TimeStamping {
  const { audit, db, world, organizationId } = context
  const queues = new Map<string, Asked[]>()
  let waiting = 0

  /** As it is now, with its next key if that is due. @throws TrustError `conflict` when it is changed without end */
  async function openNow(name: string): Promise<OpenAuthority> {
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      const open = await signers.open(name)
      const { timeStamps } = open.record
      if (timeStamps === undefined) throw new TrustError('notFound', 'noTimeStamps', { facts: { name } })
      if ((open.record.next?.at ?? Infinity) > world.clock.now()) return { open, terms: timeStamps }
      await lookAgain(signers, name, world.clock.now())
    }
    throw new TrustError('conflict', 'signerChanged', { facts: { name } })
  }

  async function ask(name: string, request: TimeStampRequest, by: Requester | undefined): Promise<Stamped> {
    const { open, terms } = await openNow(name)
    checkMayAsk(open, terms, request, by)
    clock.now(terms.accuracyMilliseconds) // who cannot be answered does not wait
    if (waiting >= WAITING_MAX) throw new TrustError('rateLimited', 'signingBusy', { retryAfterSeconds: RETRY_SECONDS })
    const answered = Promise.withResolvers<Stamped>()
    const asked = { request, actor: by?.actor ?? ANYBODY, answered }
    waiting++
    const queue = queues.get(name)
    if (queue !== undefined) queue.push(asked)
    else {
      queues.set(name, [asked])
      void drain(name)
    }
    try {
      return await answered.promise
    } finally {
      waiting--
    }
  }

  /** One group at a time for each signer: what comes meanwhile is the next. */
  async function drain(name: string): Promise<void> {
    await Promise.resolve() // requests that came in the same turn
    for (let queue = queues.get(name) ?? []; queue.length > 0; queue = queues.get(name) ?? []) {
      let group: readonly Asked[] = []
      try {
        const { open, terms } = await openNow(name)
        group = queue.splice(0, groupMax(open, terms))
        const recorded = await record(open, terms, group)
        if (recorded === undefined) {
          await lookAgain(signers, name, world.clock.now())
          await again(name, group)
        } else {
          void Promise.all(group.map((asked, at) => settle(asked, make(open, asked.request, recorded, at))))
          const last = recorded.infos.at(-1)?.genTime.getTime() ?? 0
          if (terms.ordering && last > world.clock.now()) await wait(last - world.clock.now()) // never ahead of the clock for long
        }
      } catch (error) {
        if (group.length === 0) group = queue.splice(0)
        for (const { answered } of group) answered.reject(error)
      }
    }
    queues.delete(name)
  }

  /** Where a group does not fit, some of it may: one by one, until each is answered or refused by itself. */
  async function again(name: string, group: readonly Asked[]): Promise<void> {
    for (const asked of group) await settle(asked, alone(name, asked))
  }

  async function alone(name: string, asked: Asked): Promise<Stamped> {
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      const { open, terms } = await openNow(name)
      const recorded = await record(open, terms, [asked])
      if (recorded !== undefined) return make(open, asked.request, recorded, 0)
      await lookAgain(signers, name, world.clock.now())
    }
    throw new TrustError('conflict', 'signerChanged', { facts: { name } })
  }

  /** @returns undefined where the signer is another by now, or has not so many uses left */
  async function record(open: OpenSigner, terms: TimeStampTerms, group: readonly Asked[]): Promise<Recorded | undefined> {
    const { record: signer } = open
    const now = Math.trunc(clock.now(terms.accuracyMilliseconds - aheadMax(terms)))
    try {
      checkStanding(open, now)
    } catch (refusal) {
      if (await isAsRead(signers, signer)) throw refusal
      return undefined
    }
    const entries = group.map(() => uuidv7(world))
    const chance = group.map(() => new Uint8Array(world.random.octets(SERIAL_CHANCE_OCTETS)))
    const [own] = signer.key.chain
    const { subject } = parseCertificate(own as Uint8Array) // checkTimeStampKey: it has one
    const tsa = { type: 'directoryName', value: parseName(subject) } as const
    try {
      return await db.transaction(async (tx) => {
        const [, rows] = await Promise.all([
          take(tx, stepsToUse(signer, now, group.length)),
          tx.query<CountRow>(
            `INSERT INTO time_stamp_count (signer_id, organization_id, next_serial, last_time) VALUES (?, ?, ?, ?)
              ON CONFLICT (signer_id) DO UPDATE SET next_serial = time_stamp_count.next_serial + excluded.next_serial,
                last_time = CASE WHEN time_stamp_count.last_time + CAST(? AS INTEGER) > excluded.last_time
                  THEN time_stamp_count.last_time + CAST(? AS INTEGER) ELSE excluded.last_time END
              RETURNING next_serial, last_time`,
            ...[signer.id, organizationId, group.length, terms.ordering ? now + group.length - 1 : now],
            ...(terms.ordering ? [group.length, group.length] : [0, 0]),
          ),
        ])
        const [{ next_serial: next, last_time: last }] = rows as [CountRow]
        checkNotBehind(last, now, terms)
        const infos = group.map(({ request: { imprint, nonce } }, at): TSTInfo => ({
          policy: terms.policy,
          imprint,
          serialNumber: serialNumber(next - group.length + at, chance[at] as Uint8Array),
          genTime: new Date(terms.ordering ? last - group.length + 1 + at : now),
          accuracy: accuracyOf(terms),
          ordering: terms.ordering,
          nonce,
          tsa,
          extensions: [],
        }))
        await Promise.all(
          infos.map((info, at) =>
            audit.record(tx, {
              id: entries[at] as string,
              actor: (group[at] as Asked).actor,
              act: TIME_STAMP_ACT,
              object: objectOf(signer),
              outcome: 'done',
              facts: factsOf(info, signer.version),
            }),
          ),
        )
        return { entries, infos }
      })
    } catch (error) {
      if (error instanceof TrustError && error.reason === 'signerChanged') return undefined
      throw error
    }
  }

  async function make(open: OpenSigner, { certReq }: TimeStampRequest, recorded: Recorded, at: number): Promise<Stamped> {
    world.faults.reach('time stamp recorded')
    const { key, record: signer } = open
    const [certificate, ...above] = signer.key.chain as readonly [Uint8Array, ...Uint8Array[]]
    const info = recorded.infos[at] as TSTInfo
    const signing = { key, certificate, signatureAlgorithm: signer.key.signatureAlgorithm }
    const token = await encodeTimeStampToken(info, signing, certReq ? above : undefined)
    return { token, entry: recorded.entries[at] as string, genTime: info.genTime }
  }

  return {
    clock,
    async answer(name, octets, by) {
      const stamped = await ask(name, parseTimeStampRequest(octets), by)
      return { ...stamped, response: encodeGrantedTimeStamp(stamped.token) }
    },
    async stamp(name, octets, by) {
      const imprint: Imprint = { digestAlgorithm: DIGEST, digest: digestOf(DIGEST, octets) }
      return (await ask(name, { imprint, certReq: true, extensions: [] }, by)).token
    },
  }
}

interface OpenAuthority {
  readonly open: OpenSigner
  readonly terms: TimeStampTerms
}

interface CountRow extends Row {
  readonly next_serial: number
  readonly last_time: number
}

async function settle(asked: Asked, making: Promise<Stamped>): Promise<void> {
  try {
    asked.answered.resolve(await making)
  } catch (error) {
    asked.answered.reject(error)
  }
}

function checkMayAsk(open: OpenSigner, terms: TimeStampTerms, request: TimeStampRequest, by: Requester | undefined): void {
  const { record } = open
  const { name, users } = record
  if (!terms.isPublic && (by === undefined || !isParty(users, by)))
    throw new TrustError('forbidden', 'signerNotYours', { facts: { name } })
  if (request.extensions.length > 0) throw new TrustError('unsupported', 'timeStampExtension')
  if (request.reqPolicy !== undefined && request.reqPolicy !== terms.policy)
    throw new TrustError('policyRefused', 'timeStampPolicy', { facts: { policy: terms.policy } })
}

/** How far times that must differ may run ahead of the clock; it is part of what the accuracy promises. */
const aheadMax = ({ ordering, accuracyMilliseconds }: TimeStampTerms): number =>
  ordering ? Math.floor(accuracyMilliseconds / 2) : 0

/** Times that are to be told apart are a millisecond apart. */
const groupMax = ({ record: { usesPerHourMax } }: OpenSigner, terms: TimeStampTerms): number =>
  Math.max(1, Math.min(GROUP_MAX, usesPerHourMax ?? GROUP_MAX, terms.ordering ? aheadMax(terms) : GROUP_MAX))

/**
 * A clock that was set back, also while nothing ran, is behind what was already stated.
 *
 * @param last the newest time that was given out, here or by another process
 */
function checkNotBehind(last: number, now: number, terms: TimeStampTerms): void {
  const ahead = last - now
  if (terms.ordering && ahead > aheadMax(terms) && ahead <= terms.accuracyMilliseconds)
    throw new TrustError('rateLimited', 'signingBusy', { retryAfterSeconds: RETRY_SECONDS })
  if (ahead <= terms.accuracyMilliseconds) return
  const detail = `it is ${ahead} ms before the newest time stamp`
  throw new TrustError('unavailable', 'clockDoubtful', { facts: { detail }, retryAfterSeconds: Math.ceil(ahead / 1000) })
}

const SERIAL_COUNT_OCTETS = 6
const SERIAL_CHANCE_OCTETS = 8

/**
 * The count makes it unique (RFC 3161, 2.4.2); the random part keeps it so after a restore from a backup, which counts again.
 * The first octet keeps it positive and of one length.
 */
function serialNumber(count: number, chance: Uint8Array): Uint8Array {
  const octets = new Uint8Array(1 + SERIAL_COUNT_OCTETS + SERIAL_CHANCE_OCTETS)
  octets[0] = 1
  Buffer.from(octets.buffer).writeUIntBE(count, 1, SERIAL_COUNT_OCTETS)
  octets.set(chance, 1 + SERIAL_COUNT_OCTETS)
  return octets
}

/** RFC 3161, 2.4.2: a part that is zero is left out. */
function accuracyOf({ accuracyMilliseconds }: TimeStampTerms): Accuracy {
  const seconds = Math.floor(accuracyMilliseconds / 1000)
  const millis = accuracyMilliseconds % 1000
  return { ...(seconds > 0 && { seconds }), ...(millis > 0 && { millis }) }
}

/** By serial number or digest whoever has a token, or the file, finds its entry in the log. */
const factsOf = ({ policy, serialNumber: serial, genTime, imprint }: TSTInfo, signerVersion: number) => ({
  policy,
  signerVersion,
  serialNumber: serial.toHex(),
  genTime: genTime.toISOString(),
  digest: `${imprint.digestAlgorithm}:${imprint.digest.toHex()}`,
})
