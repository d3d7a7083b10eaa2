/**
 * The issuing node at work: births within a ticket, without a network, each in the log before anybody has its certificate.
 *
 * @module
 */
import { hash } from 'node:crypto'
import { asTrustError, TrustError } from '#base/errors.ts'
import type { World } from '#base/world.ts'
import type { CertificationRequest } from '#x509/certification-request.ts'
import { type Counting, startCounting } from '../counting.ts'
import { burnedIn, type Course, courseAfter, newCourse, termsOf } from '../course.ts'
import {
  isInBlock,
  type JobTicket,
  type LogEntry,
  type NewEntry,
  parseEntry,
  POSITION_RANDOM_OCTETS,
  serialNumberAt,
} from '../messages.ts'
import type { BirthIssuer } from './births.ts'
import { openLogFile, type Place } from './log-file.ts'
import type { Machine } from './machine.ts'

/** Who stands at the line. */
export interface Asker {
  /** SHA-256 of the station's certificate, in hexadecimal. */
  readonly station: string
  readonly operator?: string
}

export interface NodeState {
  readonly course: Course
  /** Positions that can still be used, by the ticket and the counters. */
  readonly left: number
  readonly burned: number
  readonly size: number
}

export interface IssuingNode {
  readonly ticket: JobTicket
  /** @throws TrustError `forbidden` (`stationUnknown`) */
  checkStation(station: string, about?: CertificationRequest): Promise<void>
  /**
   * The same request again gets the same certificate.
   *
   * @returns DER
   * @throws TrustError of any refusal, which is in the log by then
   */
  issue(request: CertificationRequest, asker: Asker, check?: () => void): Promise<Uint8Array>
  /**
   * Notes that an image goes to a device, before it goes. A device that is born got its image for good: the same may come again.
   *
   * @param open gets it ready, when it may go
   * @throws TrustError of any refusal, which is in the log by then
   */
  load<T>(load: { readonly productSerial: string; readonly firmware: string; open(): Promise<T> }, asker: Asker): Promise<T>
  /** The device passed the test at the end of the line. @throws TrustError `notFound`, `conflict` */
  passed(productSerial: string, asker: Asker): Promise<void>
  /** The device will never be shipped; another may be born in its place. @throws TrustError `notFound`, `conflict` */
  scrap(productSerial: string, reason: string, asker: Asker): Promise<void>
  state(): NodeState
  /** Finishes what is under way, and keeps how far it came. */
  stop(): Promise<void>
  /** Nothing is issued any more, in this run or another. */
  end(): Promise<NodeState>
}

interface Birth {
  readonly key: string
  state: 'unjudged' | 'good' | 'scrap'
  /** Where its entry is, once it is durable. */
  entry: Promise<Place>
}

export interface OpenNodeOptions {
  readonly ticket: JobTicket
  /** As it was signed. */
  readonly ticketText: string
  readonly machine: Pick<Machine, 'counters'>
  readonly issuer: BirthIssuer
  readonly logPath: string
  readonly world: World
}

const sha256 = (octets: Uint8Array | string): string => hash('sha256', octets)

/**
 * Refusals that the log keeps: of machines that no ticket names, and of stations. Whoever reads so many knows enough; more would let
 * anybody at the line's network fill the log, which must hold the births.
 */
const STRANGERS_MAX = 1000
const REFUSED_MAX = 100_000
/** Times that images may be handed out for each position: many devices get theirs once more, few often. */
const LOADS_PER_POSITION = 2

/** @throws TrustError `unavailable` (`countingRolledBack`) for a log that is not the latest; `conflict` (`jobClosed`) */
export async function openIssuingNode(options: OpenNodeOptions): Promise<IssuingNode> {
  const { ticket, ticketText, machine, issuer, logPath, world } = options
  const terms = termsOf(ticket)
  const births = new Map<string, Birth>()
  const serialOfKey = new Map<string, string>()
  const loaded = new Map<string, string>()
  let [loads, strangers] = [0, 0]
  let course = newCourse(terms)
  let latest = 0

  const note = (entry: LogEntry | NewEntry): void => {
    course = courseAfter(terms, course, entry as LogEntry)
    if (entry.type === 'refused' && entry.reason === UNKNOWN_STATION) strangers++
    if (entry.type === 'load') {
      loads++
      loaded.set(entry.productSerial, entry.firmware)
    }
    if (entry.type === 'good' || entry.type === 'scrap') {
      const birth = births.get(entry.productSerial)
      if (birth !== undefined) birth.state = entry.type
    }
  }
  const log = await openLogFile(logPath, world.clock, (entry, place) => {
    if (entry.type === 'begin' && (entry.ticket !== sha256(ticketText) || entry.n !== 0))
      throw new TrustError('conflict', 'logOfAnotherJob')
    latest = entry.at
    if (entry.type === 'issue') {
      births.set(entry.productSerial, { key: entry.key, state: 'unjudged', entry: Promise.resolve(place) })
      serialOfKey.set(entry.key, entry.productSerial)
    }
    note(entry)
  })
  const append = (entry: NewEntry): Promise<Place> => {
    const durable = log.append(entry)
    note(entry)
    return durable
  }
  const counting = await startRun().catch(async (error: unknown) => {
    await log.close()
    throw error
  })

  async function startRun(): Promise<Counting> {
    if (course.closed) throw new TrustError('conflict', 'jobClosed')
    if (log.end().size === 0) await append({ type: 'begin', job: ticket.id, ticket: sha256(ticketText) })
    return startCounting({
      terms,
      record: course.record,
      counters: machine.counters,
      append: async (entry) => void (await append(entry)),
      faults: world.faults,
    })
  }

  let ending: TrustError | undefined
  let pending = 0 // births without an entry yet
  const underWay = new Set<Promise<unknown>>()

  const state = (): NodeState => ({
    course: course,
    left: Math.min(counting.left(), ticket.quota - live()),
    burned: burnedIn(terms, course),
    size: log.end().size,
  })
  const live = (): number => course.issued + pending - course.scrap

  function checkOpen(): void {
    if (ending !== undefined) throw ending
    // a clock that was set back gains nothing: what the log has seen has been
    const now = Math.max(world.clock.now(), latest)
    if (now < ticket.notBefore)
      throw new TrustError('policyRefused', 'ticketNotYet', { facts: { from: timeOf(ticket.notBefore) } })
    if (now >= ticket.notAfter) throw new TrustError('policyRefused', 'ticketEnded', { facts: { end: timeOf(ticket.notAfter) } })
  }

  const isNoted = (reason: string): boolean =>
    reason === UNKNOWN_STATION ? strangers < STRANGERS_MAX : course.refused - strangers < REFUSED_MAX

  /** Refusals are in the log before whoever asked hears of them, unless the log itself is the reason, or holds enough of them. */
  async function refused(thrown: unknown, about: Omit<NewEntry & { type: 'refused' }, 'type' | 'reason'>): Promise<never> {
    const error = asTrustError(thrown)
    if (error.code !== 'internal' && error.code !== 'unavailable' && isNoted(error.reason))
      await append({ type: 'refused', reason: error.reason, ...about })
    throw thrown
  }

  function tracked<T>(work: Promise<T>): Promise<T> {
    underWay.add(work)
    void Promise.allSettled([work]).then(() => underWay.delete(work))
    return work
  }

  async function issue(request: CertificationRequest, { station, operator }: Asker, check?: () => void): Promise<Uint8Array> {
    let about: { productSerial?: string; key?: string; station: string } = { station }
    try {
      checkOpen()
      checkKnown(station)
      check?.()
      const planned = await issuer.plan(request)
      const { productSerial } = planned
      const key = planned.keyHash.toHex()
      about = { ...(isWritable(productSerial) && { productSerial }), key, station }
      const known = births.get(productSerial)
      if (known?.key === key) return await again(known)
      if (known !== undefined) throw new TrustError('conflict', 'productHasAnotherKey', { facts: { productSerial } })
      if (serialOfKey.has(key)) throw new TrustError('policyRefused', 'keyOfAnotherProduct')
      if (!isInBlock(ticket.serials, productSerial))
        throw new TrustError('policyRefused', 'serialOutsideBlock', { facts: { productSerial } })
      const firmware = loaded.get(productSerial)
      if (ticket.firmwareSigners !== undefined && firmware === undefined)
        throw new TrustError('policyRefused', 'imageNotLoaded', { facts: { productSerial } })
      if (live() >= ticket.quota) throw new TrustError('quotaExceeded', 'quotaUsedUp', { facts: { quota: ticket.quota } })
      const { promise: entry, resolve, reject } = Promise.withResolvers<Place>()
      entry.catch(() => {}) // whoever waits for it hears it
      births.set(productSerial, { key, state: 'unjudged', entry })
      serialOfKey.set(key, productSerial)
      pending++
      let isCounted = false
      try {
        const position = await counting.take()
        world.faults.reach('position taken')
        const certificate = await planned.issue(serialNumberAt(position, world.random.octets(POSITION_RANDOM_OCTETS)))
        world.faults.reach('birth signed')
        const durable = append({
          type: 'issue',
          position,
          productSerial,
          key,
          certificate: certificate.toBase64(),
          evidence: sha256(request.der),
          ...(firmware !== undefined && { firmware }),
          station,
          ...(operator !== undefined && { operator }),
        })
        pending--
        isCounted = true
        world.faults.reach('birth written')
        resolve(await durable)
        world.faults.reach('birth durable')
        return certificate
      } catch (error) {
        if (!isCounted) {
          pending--
          births.delete(productSerial)
          serialOfKey.delete(key)
        }
        reject(error)
        throw error
      }
    } catch (error) {
      return refused(error, about)
    }
  }

  async function again({ entry }: Birth): Promise<Uint8Array> {
    const found = parseEntry(await log.read(await entry))
    if (found.type !== 'issue') throw new TypeError('the place of a birth holds something else')
    return Uint8Array.fromBase64(found.certificate)
  }

  function checkKnown(station: string): void {
    if (!ticket.stations.includes(station)) throw new TrustError('forbidden', UNKNOWN_STATION)
  }

  /** For the entry that follows at once. */
  function checkLoads(): void {
    const most = LOADS_PER_POSITION * terms.positionsMax
    if (loads >= most) throw new TrustError('quotaExceeded', 'imageLoadsUsedUp', { facts: { most } })
  }

  function checkLoad(productSerial: string, firmware: string, station: string): void {
    checkOpen()
    checkKnown(station)
    if (!isInBlock(ticket.serials, productSerial))
      throw new TrustError('policyRefused', 'serialOutsideBlock', { facts: { productSerial } })
    if (!ticket.firmware.includes(firmware))
      throw new TrustError('policyRefused', 'imageNotInTicket', { facts: { image: firmware } })
    const birth = births.get(productSerial)
    if (birth !== undefined && (birth.state === 'scrap' || loaded.get(productSerial) !== firmware))
      throw new TrustError('conflict', 'imageAfterBirth', { facts: { productSerial } })
  }

  const load: IssuingNode['load'] = async ({ productSerial, firmware, open }, { station, operator }) => {
    try {
      checkLoad(productSerial, firmware, station)
      const opened = await open()
      checkLoad(productSerial, firmware, station) // it may have been born meanwhile
      checkLoads()
      await append({ type: 'load', firmware, productSerial, station, ...(operator !== undefined && { operator }) })
      return opened
    } catch (error) {
      return refused(error, { station, ...(isWritable(productSerial) && { productSerial }) })
    }
  }

  async function judge(
    productSerial: string,
    entry: { type: 'good' } | { type: 'scrap'; reason: string },
    { station, operator }: Asker,
  ): Promise<void> {
    if (ending !== undefined) throw ending
    checkKnown(station)
    const birth = births.get(productSerial)
    if (birth === undefined) throw new TrustError('notFound', 'notBornHere')
    await birth.entry
    // good may become scrap, and nothing comes back from scrap
    if (birth.state === 'scrap' || birth.state === entry.type)
      throw new TrustError('conflict', 'judgedAlready', { facts: { judged: birth.state } })
    const judged = entry.type === 'scrap' ? { ...entry, wasGood: birth.state === 'good' } : entry
    await append({ ...judged, productSerial, station, ...(operator !== undefined && { operator }) })
  }

  async function finish(reason: 'nodeStopping' | 'jobClosed'): Promise<void> {
    ending ??= new TrustError(reason === 'jobClosed' ? 'conflict' : 'unavailable', reason)
    await Promise.allSettled([...underWay])
  }

  return {
    ticket,
    async checkStation(station) {
      try {
        checkKnown(station)
      } catch (error) {
        await refused(error, { station })
      }
    },
    issue: (request, asker, check) => tracked(issue(request, asker, check)),
    load: (wanted, asker) => tracked(load(wanted, asker)),
    passed: (productSerial, asker) => tracked(judge(productSerial, { type: 'good' }, asker)),
    scrap: (productSerial, reason, asker) => tracked(judge(productSerial, { type: 'scrap', reason }, asker)),
    state,
    async stop() {
      await finish('nodeStopping')
      await counting.stop()
      await log.close()
    },
    async end() {
      await finish('jobClosed')
      await counting.stop()
      const { issued, good, scrap } = course
      await append({ type: 'close', issued, good, scrap, burned: burnedIn(terms, course) })
      world.faults.reach('close written')
      const last = state()
      await log.close()
      return last
    },
  }
}

const UNKNOWN_STATION = 'stationUnknown'

/** What the log's lines can hold; another serial is outside every block. */
const isWritable = (productSerial: string): boolean => /^[A-Za-z0-9'()+,./:=?-]{1,64}$/.test(productSerial)

const timeOf = (milliseconds: number): string => new Date(milliseconds).toISOString()
