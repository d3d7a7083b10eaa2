/**
 * Whether the numbers agree: ordered, issued, good, scrapped, burned, shipped and first seen; and who cheated where they do not.
 *
 * @module
 */
import { hash } from 'node:crypto'
import { importPublicKey } from '#algorithms/public-key.ts'
import type { Facts } from '#base/errors.ts'
import { keep, type Step } from '#store/batch.ts'
import type { Row } from '#store/database.ts'
import { parseCertificate, verifyCertificateSignature } from '#x509/certificate.ts'
import { attributeOf, parseName } from '#x509/name.ts'
import { type Allotment, allotmentsOf } from './allotment-record.ts'
import { burnedIn, termsOf } from './course.ts'
import { positionOf } from './messages.ts'
import { type AlarmKind, alarmStep } from './alarms.ts'
import { orderThatBore, PARTS_OF_ORDER } from './born.ts'
import { recordDue } from './device-records.ts'
import { shipDue, shipmentSteps } from './shipments.ts'
import { sightingStep } from './sightings.ts'
import { type Job, jobsOf, openOrder, type OrdersContext, type OrderTerms, type ProductionOrder, roomIn } from './orders.ts'

export interface JobReport {
  readonly id: string
  readonly state: Job['state']
  readonly tier: Job['tier']
  /** SHA-256 of the endorsement key that the job is bound to, from tier N1 on. */
  readonly endorsement: string | undefined
  readonly quota: number
  readonly scrapAllowance: number
  /** Entries of its log that are here. */
  readonly size: number
  readonly issued: number
  readonly good: number
  readonly scrap: number
  /** Neither good nor scrapped yet. */
  readonly unjudged: number
  readonly burned: number
  readonly refused: number
  readonly seenAt: number | undefined
}

export interface OrderAlarm {
  readonly kind: AlarmKind
  readonly subject: string
  readonly job: string | undefined
  readonly facts: Facts
  readonly at: number
}

export interface Reconciliation {
  readonly order: string
  readonly state: ProductionOrder['state']
  readonly ordered: number
  /** Not given to a job yet. */
  readonly room: { readonly quota: number; readonly scrap: number }
  readonly issued: number
  readonly good: number
  readonly scrap: number
  readonly unjudged: number
  readonly burned: number
  readonly shipped: number
  /** Devices that were seen in the field. */
  readonly seen: number
  readonly jobs: readonly JobReport[]
  /** What was born at lines of the server. */
  readonly allotments: readonly Allotment[]
  /** The newest first, at most {@link ALARMS_SHOWN}. */
  readonly alarms: readonly OrderAlarm[]
  readonly alarmCount: number
  /** Every job ended, as many are good as were ordered, and there is no alarm. */
  readonly agrees: boolean
}

export const ALARMS_SHOWN = 200
/** Of one kind, in one run: somebody who sees a thousand has seen enough to act. */
const FOUND_MAX = 1000

export async function reconcile(context: OrdersContext, name: string, actor: string): Promise<Reconciliation> {
  const { db, audit } = context
  const order = await openOrder(context, name)
  const jobs = await jobsOf(context, order)
  for (const job of jobs) await recordDue(context, job, actor)
  await shipDue(context, order, actor)
  const allotments = await allotmentsOf(context, order)
  const found: Step[] = []
  for (const { id, course } of jobs) found.push(...(await findingsOf(context, order, { id, good: course.good })))
  for (const allotment of allotments) found.push(...(await findingsOf(context, order, allotment)))
  found.push(...(await fieldFindings(context, order, jobs)))
  for (let at = 0; at < found.length; at += FOUND_MAX) await keep(db, found.slice(at, at + FOUND_MAX))

  const reports = jobs.map(reportOf)
  const sum = (field: 'issued' | 'good' | 'scrap' | 'unjudged' | 'burned'): number =>
    [...reports, ...allotments.map(countsOf)].reduce((total, report) => total + report[field], 0)
  const [shipped, seen, alarmCount] = await Promise.all([
    count(context, 'SELECT COUNT(*) AS number FROM order_shipment WHERE order_id = ?', order.id),
    count(context, 'SELECT COUNT(DISTINCT product_serial) AS number FROM order_sighting WHERE order_id = ?', order.id),
    count(context, 'SELECT COUNT(*) AS number FROM order_alarm WHERE order_id = ?', order.id),
  ])
  const good = sum('good')
  const report: Reconciliation = {
    order: name,
    state: order.state,
    ordered: order.terms.quantity,
    room: roomIn(order, jobs, allotments),
    issued: sum('issued'),
    good,
    scrap: sum('scrap'),
    unjudged: sum('unjudged'),
    burned: sum('burned'),
    shipped,
    seen,
    jobs: reports,
    allotments,
    alarms: await alarmsOf(context, order),
    alarmCount,
    agrees: alarmCount === 0 && good === order.terms.quantity && [...jobs, ...allotments].every(({ state }) => state === 'ended'),
  }
  await db.transaction((tx) =>
    audit.record(tx, {
      actor,
      act: 'order.reconcile',
      object: `order:${order.id}`,
      outcome: 'done',
      facts: { ordered: report.ordered, issued: report.issued, good, shipped, seen, alarms: alarmCount, agrees: report.agrees },
    }),
  )
  return report
}

function reportOf({ id, state, tier, ticket, course, size, seenAt }: Job): JobReport {
  const { issued, good, scrap, refused } = course
  const { quota, scrapAllowance } = ticket
  const counts = { issued, good, scrap, unjudged: issued - good - scrap, burned: burnedIn(termsOf(ticket), course), refused }
  return { id, state, tier, endorsement: ticket.endorsement?.key, quota, scrapAllowance, size, ...counts, seenAt }
}

/** Nothing burns where each birth is counted with its certificate. */
const countsOf = ({ issued, good, scrap }: Allotment) => ({ issued, good, scrap, unjudged: issued - good - scrap, burned: 0 })

async function count({ db }: OrdersContext, sql: string, ...parameters: string[]): Promise<number> {
  const [row] = await db.query(sql, ...parameters)
  return row?.['number'] as number
}

export async function alarmsOf(
  { db }: Pick<OrdersContext, 'db'>,
  { id }: Pick<ProductionOrder, 'id'>,
): Promise<readonly OrderAlarm[]> {
  const rows = await db.query(
    'SELECT * FROM order_alarm WHERE order_id = ? ORDER BY created_at DESC, id DESC LIMIT ?',
    id,
    ALARMS_SHOWN,
  )
  return rows.map((row) => ({
    kind: row['kind'] as AlarmKind,
    subject: row['subject'] as string,
    job: (row['job_id'] as string | null) ?? undefined,
    facts: JSON.parse(row['facts'] as string) as Facts,
    at: row['created_at'] as number,
  }))
}

/** What no single entry shows: the same position, serial number or key twice, in this job or another. */
async function findingsOf(
  context: OrdersContext,
  order: ProductionOrder,
  job: { readonly id: string; readonly good: number },
): Promise<readonly Step[]> {
  const { db } = context
  const raise = (kind: AlarmKind, subject: string, row: Row): Step =>
    alarmStep(context, {
      orderId: order.id,
      jobId: job.id,
      kind,
      subject,
      facts: Object.fromEntries(
        Object.entries(row).filter(([, value]) => typeof value === 'string' || typeof value === 'number'),
      ) as Facts,
    })
  const positions = await db.query(
    `SELECT position, COUNT(*) AS times FROM job_entry WHERE job_id = ? AND type = 'issue' GROUP BY position HAVING COUNT(*) > 1
      ORDER BY position LIMIT ${FOUND_MAX}`,
    job.id,
  )
  const serials = await serialsTwice(context, order, job)
  const keys = await db.query(
    `SELECT e.n AS entry, e.product_serial, e.key_hash FROM job_entry e WHERE e.job_id = ? AND e.type = 'issue' AND EXISTS (
        SELECT 1 FROM job_entry o WHERE o.organization_id = e.organization_id AND o.key_hash = e.key_hash AND o.type = 'issue'
          AND (o.job_id <> e.job_id OR o.n <> e.n)) ORDER BY e.n LIMIT ${FOUND_MAX}`,
    job.id,
  )
  const unborn = await db.query(
    `SELECT e.n AS entry, e.product_serial FROM job_entry e WHERE e.job_id = ? AND e.type IN ('good', 'scrap') AND NOT EXISTS (
        SELECT 1 FROM job_entry o WHERE o.organization_id = e.organization_id AND o.product_serial = e.product_serial
          AND o.type = 'issue' AND o.job_id = e.job_id) LIMIT ${FOUND_MAX}`,
    job.id,
  )
  const judged = await db.query(
    `SELECT product_serial, type, COUNT(*) AS times FROM job_entry WHERE job_id = ? AND type IN ('good', 'scrap')
      GROUP BY product_serial, type HAVING COUNT(*) > 1 LIMIT ${FOUND_MAX}`,
    job.id,
  )
  // what is scrapped and said to have been good never counts as both
  const good = await count(
    context,
    `SELECT COUNT(*) AS number FROM job_entry e WHERE e.job_id = ? AND e.type = 'good' AND NOT EXISTS (
        SELECT 1 FROM job_entry o WHERE o.organization_id = e.organization_id AND o.product_serial = e.product_serial
          AND o.type = 'scrap' AND o.job_id = e.job_id)`,
    job.id,
  )
  const said = job.good
  return [
    ...(good < said && judged.length === 0 ? [raise('judgedTwice', job.id, { said, good })] : []),
    ...judged.map((row) => raise('judgedTwice', row['product_serial'] as string, row)),
    ...positions.map((row) => raise('positionTwice', `${job.id} ${row['position'] as number}`, row)),
    ...serials.map((row) => raise('serialTwice', row['product_serial'] as string, row)),
    ...keys.map((row) => raise('keyTwice', row['key_hash'] as string, row)),
    ...unborn.map((row) => raise('judgedUnborn', row['product_serial'] as string, row)),
  ]
}

/** Orders that are held against one, where more have numbers of it: an alarm needs one. */
const ORDERS_COMPARED_MAX = 100

/** A serial number is one of its manufacturer: another's devices may well have the same (R15). */
async function serialsTwice(
  { db }: OrdersContext,
  order: ProductionOrder,
  { id: jobId }: { readonly id: string },
): Promise<readonly Row[]> {
  const others = `o.organization_id = e.organization_id AND o.product_serial = e.product_serial AND o.type = 'issue'
      AND (o.job_id <> e.job_id OR o.n <> e.n)`
  const orders = await db.query<{ id: string; terms: string }>(
    `SELECT DISTINCT x.id, x.terms FROM job_entry e JOIN job_entry o ON ${others}
      JOIN (SELECT id, order_id FROM production_job UNION ALL SELECT id, order_id FROM order_allotment) p ON p.id = o.job_id
      JOIN production_order x ON x.id = p.order_id WHERE e.job_id = ? AND e.type = 'issue' ORDER BY x.id`,
    jobId,
  )
  const maker = makerIn(order.terms)
  const same = orders
    .filter(({ id, terms }) => id === order.id || makerIn(JSON.parse(terms) as OrderTerms) === maker)
    .map(({ id }) => id)
    .slice(0, ORDERS_COMPARED_MAX)
  if (same.length === 0) return []
  const list = same.map(() => '?').join(', ')
  return db.query(
    `SELECT e.n AS entry, e.product_serial, e.key_hash FROM job_entry e WHERE e.job_id = ? AND e.type = 'issue' AND EXISTS (
        SELECT 1 FROM job_entry o WHERE ${others} AND o.job_id IN (SELECT id FROM production_job WHERE order_id IN (${list})
          UNION ALL SELECT id FROM order_allotment WHERE order_id IN (${list}))) ORDER BY e.n LIMIT ${FOUND_MAX}`,
    ...[jobId, ...same, ...same],
  )
}

/** `acme` of `acme/pump`; orders that name no model of devices are all of one maker, who has this installation. */
const makerIn = ({ model }: Pick<OrderTerms, 'model'>): string =>
  model.includes('/') ? (model.split('/')[0] as string).toLowerCase() : ''

/** What was shipped and seen, held to what was good. */
async function fieldFindings(
  context: OrdersContext,
  { id: orderId }: ProductionOrder,
  jobs: readonly Job[],
): Promise<readonly Step[]> {
  const { db, organizationId } = context
  const judged = (type: 'good' | 'scrap'): string =>
    `SELECT 1 FROM job_entry e WHERE e.organization_id = ? AND e.product_serial = s.product_serial AND e.type = '${type}'
      AND e.job_id IN (${PARTS_OF_ORDER})`
  const shipped = await db.query(
    `SELECT s.product_serial FROM order_shipment s WHERE s.order_id = ? AND (NOT EXISTS (${judged('good')}) OR EXISTS (${judged('scrap')}))
      LIMIT ${FOUND_MAX}`,
    ...[orderId, organizationId, orderId, orderId, organizationId, orderId, orderId],
  )
  const scrapped = await db.query(
    `SELECT s.product_serial, s.place FROM order_sighting s WHERE s.order_id = ? AND EXISTS (${judged('scrap')}) LIMIT ${FOUND_MAX}`,
    ...[orderId, organizationId, orderId, orderId],
  )
  // the log of an open job may still tell of it
  const mayCome = jobs.some(({ state }) => state === 'open')
  const unknown = mayCome
    ? []
    : await db.query(
        `SELECT s.product_serial, s.certificate_hash, s.place FROM order_sighting s WHERE s.order_id = ? AND NOT EXISTS (
        SELECT 1 FROM job_entry e WHERE e.organization_id = ? AND e.product_serial = s.product_serial AND e.type = 'issue'
          AND e.certificate_hash = s.certificate_hash) LIMIT ${FOUND_MAX}`,
        ...[orderId, organizationId],
      )
  const moving = await db.query(
    `SELECT product_serial, certificate_hash, COUNT(*) AS places FROM order_sighting WHERE order_id = ? AND place <> ''
      GROUP BY product_serial, certificate_hash, stay HAVING COUNT(*) > 1 LIMIT ${FOUND_MAX}`,
    orderId,
  )
  const raise = (kind: AlarmKind, subject: string, row: Row): Step =>
    alarmStep(context, { orderId, jobId: undefined, kind, subject, facts: row as Facts })
  const serialOf = (row: Row): string => row['product_serial'] as string
  return [
    ...shipped.map((row) => raise('shippedNotGood', serialOf(row), row)),
    ...scrapped.map((row) => raise('seenScrapped', serialOf(row), row)),
    ...unknown.map((row) => raise('seenInNoLog', row['certificate_hash'] as string, row)),
    ...moving.map((row) => raise('seenAtTwoPlaces', serialOf(row), row)),
  ]
}

/** What left the factory. @returns how many were not noted before */
export async function noteShipped(
  context: OrdersContext,
  name: string,
  serials: readonly string[],
  actor: string,
): Promise<number> {
  const { db, audit } = context
  const order = await openOrder(context, name)
  const before = await count(context, 'SELECT COUNT(*) AS number FROM order_shipment WHERE order_id = ?', order.id)
  await keep(db, [
    ...shipmentSteps(context, order, serials),
    audit.statement({
      actor,
      act: 'order.ship',
      object: `order:${order.id}`,
      outcome: 'done',
      facts: { devices: serials.length },
    }),
  ])
  await shipDue(context, order, actor)
  return (await count(context, 'SELECT COUNT(*) AS number FROM order_shipment WHERE order_id = ?', order.id)) - before
}

/**
 * A device showed its birth certificate somewhere: whether it is one of ours shows at once or when the logs are all here.
 *
 * @param place where, as whoever saw it names places
 */
export async function noteSeen(
  context: OrdersContext,
  name: string,
  { certificate: der, place }: { readonly certificate: Uint8Array; readonly place: string },
  actor: string,
): Promise<'known' | 'inNoLog' | 'foreignIssuer'> {
  const { db, audit } = context
  const order = await openOrder(context, name)
  const certificate = parseCertificate(der)
  const productSerial = attributeOf(parseName(certificate.subject), 'serialNumber') ?? ''
  const fingerprint = hash('sha256', der)
  let issuer: Job | undefined
  for (const job of await jobsOf(context, order))
    if (await verifyCertificateSignature(certificate, importPublicKey(job.nodeKey))) issuer = job
  // what is in a log is known, and so is what a line of the server bore; it is noted where it was ordered
  const bornFor = await orderThatBore(context, { productSerial, certificate: fingerprint })
  const seen = bornFor !== undefined ? 'known' : issuer === undefined ? 'foreignIssuer' : 'inNoLog'
  const position = positionOf(certificate.serialNumber)
  const facts = { productSerial, place, certificate: fingerprint, ...(position !== undefined && { position }) }
  const alarm = { orderId: order.id, jobId: issuer?.id, subject: fingerprint, facts }
  await keep(db, [
    seen === 'foreignIssuer'
      ? alarmStep(context, { ...alarm, kind: 'seenOfForeignIssuer' })
      : sightingStep(context, { orderId: bornFor ?? order.id, productSerial, certificate: fingerprint, place, stay: '' }),
    // the log of a job that is over says it all; an open one may still tell
    ...(seen === 'inNoLog' && issuer?.state !== 'open' ? [alarmStep(context, { ...alarm, kind: 'seenInNoLog' })] : []),
    audit.statement({
      actor,
      act: 'order.seen',
      object: `order:${bornFor ?? order.id}`,
      outcome: 'done',
      facts: { ...facts, seen },
    }),
  ])
  return seen
}
