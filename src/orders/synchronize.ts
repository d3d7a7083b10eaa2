/**
 * Taking in what a node's log says: every entry held to the ticket and to the rule of counting, and the log to what of it
 * was seen before.
 *
 * A log that does not extend what was seen is another one: somebody copied or put back a node. Nothing of it is taken, and
 * the alarm stays.
 *
 * @module
 */
import { hash } from 'node:crypto'
import { importPublicKey, type PublicKey } from '#algorithms/public-key.ts'
import { asTrustError, type Facts, TrustError } from '#base/errors.ts'
import type { Reason } from '#base/sentences.ts'
import { keep, take } from '#store/batch.ts'
import { type Certificate, parseCertificate, verifyCertificateSignature } from '#x509/certificate.ts'
import { attributeOf, parseName } from '#x509/name.ts'
import { type Alarm, type AlarmKind, alarmStep } from './alarms.ts'
import { burnedIn, type Course, courseAfter, mayUse, termsOf } from './course.ts'
import { DUE_COLUMNS, dueFacts, recordDue } from './device-records.ts'
import {
  type Bundle,
  emptyChain,
  type EntryOf,
  follow,
  isInBlock,
  type JobEnd,
  type LogEntry,
  type LogHead,
  openStatement,
  parseBundle,
  parseEntry,
  peekStatement,
  positionOf,
} from './messages.ts'
import { type Job, type JobBirth, jobOf, type OrdersContext } from './orders.ts'

export interface Synchronized {
  readonly job: string
  readonly order: string
  /** Entries that were new. */
  readonly entries: number
  readonly births: number
  /** Entries that are here now: where the next bundle begins. */
  readonly size: number
  readonly state: Job['state']
  readonly alarms: number
}

/**
 * @param octets a bundle, as `sealworks node export` wrote it
 * @throws TrustError `badProof` for a log that is not the node's; `conflict` (`logForked`) with an alarm; `conflict` (`bundleGap`)
 */
export async function importBundle(context: OrdersContext, octets: Uint8Array, actor: string): Promise<Synchronized> {
  const bundle = parseBundle(octets)
  const { job: jobId } = peekStatement('log-head', bundle.head)
  const job = await openJob(context, jobId)
  const key = importPublicKey(job.nodeKey)
  let head: LogHead | undefined
  try {
    head = await openStatement('log-head', bundle.head, key)
    const end = bundle.end === undefined ? undefined : await openStatement('job-end', bundle.end, key)
    const fresh = await newEntries(context, job, bundle, head)
    if (job.state !== 'open' && fresh.length > 0) throw new Suspicion('entriesAfterEnd', 'productionJobOver', { size: job.size })
    const taken = await takeIn(context, job, { fresh, head, end, endText: bundle.end, key }, actor)
    context.world.faults.reach('log kept')
    return { ...taken, alarms: taken.alarms + (await recordDue(context, job, actor)) }
  } catch (error) {
    if (error instanceof Suspicion && head !== undefined) return raise(context, job, error, head, actor)
    const { code, reason, facts } = asTrustError(error)
    if (code === 'badProof') await refuse(context, job, { reason, facts: { ...facts } }, actor)
    throw error
  }
}

const refuse = (
  { audit }: OrdersContext,
  { id: job, orderId }: Job,
  { reason, facts }: { readonly reason: Reason; readonly facts: Facts },
  actor: string,
): Promise<void> =>
  audit.refuse({ actor, act: 'order.synchronize', object: `order:${orderId}`, reason, facts: { job, ...facts } })

/** A refusal that is an alarm as well. */
class Suspicion extends Error {
  readonly kind: AlarmKind
  readonly refusal: TrustError
  constructor(kind: AlarmKind, reason: 'logForked' | 'productionJobOver' | 'jobEndOther', facts: Facts) {
    super(reason)
    this.kind = kind
    this.refusal = new TrustError('conflict', reason, { facts })
  }
}

async function raise(
  context: OrdersContext,
  job: Job,
  { kind, refusal }: Suspicion,
  head: LogHead,
  actor: string,
): Promise<never> {
  const { orderId, id: jobId } = job
  const facts = { ...refusal.facts, known: job.head, shown: head.head, shownSize: head.size }
  await keep(context.db, [alarmStep(context, { orderId, jobId, kind, subject: `${jobId} ${head.head}`, facts })])
  await refuse(context, job, { reason: refusal.reason, facts }, actor)
  throw refusal
}

async function openJob({ db }: Pick<OrdersContext, 'db'>, id: string): Promise<Job> {
  const [row] = await db.query('SELECT * FROM production_job WHERE id = ?', id)
  if (row === undefined) throw new TrustError('notFound', 'productionJobUnknown', { facts: { job: id } })
  return jobOf(row)
}

interface Fresh {
  readonly entry: LogEntry
  /** The chain's end after it. */
  readonly head: string
}

/**
 * The log's own chain first, up to its signed head; then whether it is the log that was seen before.
 *
 * @throws Suspicion, TrustError `badProof`, `conflict`
 */
async function newEntries(
  context: OrdersContext,
  { id, size, head: known }: Job,
  { from, lines }: Bundle,
  head: LogHead,
): Promise<readonly Fresh[]> {
  const [first] = lines
  const before = first === undefined ? head.head : parseEntry(first).previous
  let at = { size: from, head: before }
  const heads = new Map([[from, before]])
  const fresh: Fresh[] = []
  for (const line of lines) {
    const { entry, end } = follow(at, line)
    at = end
    heads.set(end.size, end.head)
    if (entry.n >= size) fresh.push({ entry, head: end.head })
  }
  if (at.size !== head.size || at.head !== head.head) throw new TrustError('badProof', 'logBroken', { facts: { entry: at.size } })

  const forked = (where: number): Suspicion => new Suspicion('logForked', 'logForked', { size: where })
  if (from === 0 && before !== emptyChain.head) throw new TrustError('badProof', 'logBroken', { facts: { entry: 0 } })
  if (from > size) throw new TrustError('conflict', 'bundleGap', { facts: { from, size } })
  if (at.size >= size) {
    // what was seen before ends within this bundle, so that one comparison says it all
    if (heads.get(size) !== known) throw forked(size)
    return fresh
  }
  for (const row of await context.db.query(
    'SELECT size, head FROM job_head WHERE job_id = ? AND size >= ? AND size <= ?',
    id,
    from,
    at.size,
  ))
    if (heads.get(row['size'] as number) !== row['head']) throw forked(row['size'] as number)
  // an older state of the node that was signed anew, or a copy that went another way since
  const rows = await context.db.query(
    "SELECT n, certificate_hash FROM job_entry WHERE job_id = ? AND n >= ? AND n < ? AND type = 'issue'",
    ...[id, from, at.size],
  )
  const stored = new Map(rows.map((row) => [row['n'] as number, row['certificate_hash'] as string]))
  for (const line of lines) {
    const entry = parseEntry(line)
    const ours = entry.type === 'issue' ? sha256(Uint8Array.fromBase64(entry.certificate)) : undefined
    if (stored.get(entry.n) !== ours) throw forked(entry.n)
  }
  throw new TrustError('conflict', 'bundleOlder', { facts: { size: at.size } })
}

const sha256 = (octets: Uint8Array): string => hash('sha256', octets)

interface Taken {
  readonly fresh: readonly Fresh[]
  readonly head: LogHead
  readonly end: JobEnd | undefined
  readonly endText: string | undefined
  readonly key: PublicKey
}

async function takeIn(
  context: OrdersContext,
  job: Job,
  { fresh, head, end, endText, key }: Taken,
  actor: string,
): Promise<Synchronized> {
  const { db, audit, world, organizationId } = context
  const terms = termsOf(job.ticket)
  let course = job.course
  const alarms: Alarm[] = []
  let births = 0
  const rows: (string | number | Uint8Array | null)[][] = []
  const due: (string | number)[][] = []
  for (const { entry } of fresh) {
    const alarm = (kind: AlarmKind, subject: string, facts: Facts = {}): void =>
      void alarms.push({ orderId: job.orderId, jobId: job.id, kind, subject, facts: { entry: entry.n, ...facts } })
    const raised = alarms.length
    if (course.closed) alarm('entriesAfterEnd', `${job.id} ${entry.n}`)
    const birth = entry.type === 'issue' ? await birthOf(entry, { job, course, key, alarm }) : undefined
    if (birth !== undefined) births++
    // a device that an alarm is about gets no record: somebody looks first
    if (birth !== undefined && alarms.length === raised) due.push([job.id, organizationId, entry.n, 'issue', dueFacts(birth)])
    if (entry.type === 'good' || entry.type === 'scrap') due.push([job.id, organizationId, entry.n, entry.type, '{}'])
    if (entry.type === 'begin' && (entry.job !== job.id || entry.ticket !== hash('sha256', job.ticketText)))
      alarm('certificateOther', `${job.id} ticket`)
    rows.push(rowOf(entry, birth, job.id, organizationId))
    course = courseAfter(terms, course, entry)
  }
  if (end !== undefined) checkEnd(end, { ...head, course, burned: burnedIn(terms, course) }, job)
  const isOver = end !== undefined
  const last = fresh.at(-1)
  const size = job.size + fresh.length
  // what was given up stays so, also when its end turns up: an officer said that nothing of it is given out again
  const state = isOver && job.state === 'open' ? 'ended' : job.state
  await db.transaction(async (tx) => {
    await take(tx, [
      {
        sql: `UPDATE production_job SET version = version + 1, size = ?, head = ?, course = ?, state = ?, job_end = COALESCE(?, job_end), seen_at = ?
            WHERE id = ? AND size = ? AND head = ? AND state = ? RETURNING id`,
        parameters: [
          size,
          last?.head ?? job.head,
          JSON.stringify(course),
          state,
          endText ?? null,
          world.clock.now(),
          job.id,
          job.size,
          job.head,
          job.state, // it may have been given up meanwhile
        ],
        expects: { id: job.id },
        refusal: () => new TrustError('conflict', 'orderChanged'),
      },
      ...(fresh.length === 0
        ? []
        : [{ sql: 'INSERT INTO job_head (job_id, size, head) VALUES (?, ?, ?)', parameters: [job.id, size, head.head] }]),
      ...alarms.map((alarm) => alarmStep(context, alarm)),
    ])
    await tx.insertMany('job_entry', COLUMNS, rows)
    await tx.insertMany('job_device_due', DUE_COLUMNS, due)
    if (fresh.length === 0 && (!isOver || job.state === 'ended')) return // the same again
    await audit.record(tx, {
      actor,
      act: 'order.synchronize',
      object: `order:${job.orderId}`,
      outcome: 'done',
      facts: { job: job.id, size, head: head.head, births, alarms: alarms.length, ...(isOver && { ended: true }) },
    })
  })
  return {
    job: job.id,
    order: job.ticket.order,
    entries: fresh.length,
    births,
    size,
    state,
    alarms: alarms.length,
  }
}

const COLUMNS = [
  ...['job_id', 'organization_id', 'n', 'type', 'position', 'product_serial', 'key_hash'],
  ...['certificate_hash', 'certificate', 'detail', 'station', 'at'],
]

function rowOf(entry: LogEntry, birth: JobBirth | undefined, jobId: string, organizationId: string) {
  const serial = 'productSerial' in entry ? (entry.productSerial ?? null) : null
  const station = 'station' in entry ? (entry.station ?? null) : null
  const key = 'key' in entry ? (entry.key ?? null) : null
  const detail = 'reason' in entry ? entry.reason : entry.type === 'load' ? entry.firmware : null
  return [
    ...[jobId, organizationId, entry.n, entry.type, birth?.position ?? null, serial, key],
    ...[birth === undefined ? null : sha256(birth.certificate), birth?.certificate ?? null, detail, station, entry.at],
  ]
}

interface Judging {
  readonly job: Job
  readonly course: Course
  readonly key: PublicKey
  alarm(kind: AlarmKind, subject: string, facts?: Facts): void
}

/** A birth is kept whatever is wrong with it: what the node says it issued is there in the world. */
async function birthOf(entry: EntryOf<'issue'>, { job, course, key, alarm }: Judging): Promise<JobBirth> {
  const { position, productSerial, station, n, at, evidence, firmware } = entry
  const { ticket } = job
  const der = Uint8Array.fromBase64(entry.certificate)
  if (position >= ticket.quota + ticket.scrapAllowance) alarm('positionBeyondTicket', `${job.id} ${position}`, { productSerial })
  else if (!mayUse(course, position)) alarm('positionNotLeased', `${job.id} ${position}`, { productSerial })
  if (!isInBlock(ticket.serials, productSerial)) alarm('serialOutsideBlock', productSerial)
  if (!ticket.stations.includes(station)) alarm('stationForeign', station)
  const isLoaded = firmware === undefined ? ticket.firmwareSigners === undefined : ticket.firmware.includes(firmware)
  if (!isLoaded) alarm('firmwareOther', productSerial, { ...(firmware !== undefined && { firmware }) })
  const wrong = await findingOf(der, entry, key)
  if (wrong !== undefined) alarm('certificateOther', `${job.id} ${n}`, { productSerial, finding: wrong })
  return {
    productSerial,
    position,
    n,
    key: entry.key,
    certificate: der,
    evidence,
    firmware,
    station,
    operator: entry.operator,
    at,
  }
}

/** Whether the certificate is what its entry says of it. */
async function findingOf(
  der: Uint8Array,
  { position, key: spki, productSerial }: EntryOf<'issue'>,
  key: PublicKey,
): Promise<string | undefined> {
  let certificate: Certificate
  let named: string | undefined
  try {
    certificate = parseCertificate(der)
    named = attributeOf(parseName(certificate.subject), 'serialNumber')
    if (!(await verifyCertificateSignature(certificate, key))) return 'it is not signed by the node'
  } catch (error) {
    return asTrustError(error).message
  }
  if (positionOf(certificate.serialNumber) !== position) return 'it carries another position'
  if (sha256(certificate.subjectPublicKeyInfo) !== spki) return 'it is for another key'
  if (named !== productSerial) return 'it is for another device'
  return undefined
}

/** @throws Suspicion */
function checkEnd(end: JobEnd, log: LogHead & { readonly course: Course; readonly burned: number }, job: Job): void {
  const { issued, good, scrap, closed } = log.course
  const agrees =
    end.job === job.id &&
    end.size === log.size &&
    end.head === log.head &&
    end.issued === issued &&
    end.good === good &&
    end.scrap === scrap &&
    end.burned === log.burned &&
    (end.tier ?? job.tier) === job.tier
  if (!closed || !agrees) throw new Suspicion('jobEndOther', 'jobEndOther', { size: log.size })
}
