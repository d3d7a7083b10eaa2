/**
 * Devices that show themselves: what enrollment and reports notice by themselves, for reconciliation.
 *
 * A place is where somebody saw a device. Two places of one stay, which is an owner's and an area's, are one device twice, or one
 * that moved without a word; a device that is sold or moved begins another stay.
 *
 * @module
 */
import { hash } from 'node:crypto'
import { importPublicKey } from '#algorithms/public-key.ts'
import { keep, type Step } from '#store/batch.ts'
import { parseCertificate, verifyCertificateSignature } from '#x509/certificate.ts'
import { attributeOf, parseName } from '#x509/name.ts'
import { alarmStep } from './alarms.ts'
import { jobOf, type OrdersContext } from './orders.ts'

type Context = Pick<OrdersContext, 'db' | 'audit' | 'world' | 'organizationId'>

/** A device that is known to be born in this job. */
export interface Sighted {
  readonly job: string
  readonly productSerial: string
  /** Empty where it says nothing of a place. */
  readonly place: string
  /** Whose it was, and in which area. */
  readonly stay: string
}

/** Nothing where the same was noted before, and for births that no order counts. */
export async function stepsToSee(
  { db, audit, world, organizationId }: Context,
  { job, productSerial, place, stay }: Sighted,
  actor: string,
): Promise<readonly Step[]> {
  const [row] = await db.query(
    `SELECT e.certificate_hash, COALESCE(j.order_id, a.order_id) AS order_id FROM job_entry e
      LEFT JOIN production_job j ON j.id = e.job_id LEFT JOIN order_allotment a ON a.id = e.job_id
      WHERE e.organization_id = ? AND e.product_serial = ? AND e.type = 'issue' AND e.job_id = ? AND NOT EXISTS (
        SELECT 1 FROM order_sighting s WHERE s.order_id = COALESCE(j.order_id, a.order_id) AND s.certificate_hash = e.certificate_hash
          AND s.place = ?)`,
    ...[organizationId, productSerial, job, place],
  )
  if (row === undefined) return []
  const [orderId, certificate] = [row['order_id'] as string, row['certificate_hash'] as string]
  return [
    sightingStep({ world, organizationId }, { orderId, productSerial, certificate, place, stay }),
    audit.statement({
      ...{ actor, act: 'order.seen', object: `order:${orderId}`, outcome: 'done' },
      facts: { productSerial, certificate, seen: 'known', ...(place !== '' && { place }) },
    }),
  ]
}

export const sightingStep = (
  { world, organizationId }: Pick<Context, 'world' | 'organizationId'>,
  sighting: Omit<Sighted, 'job'> & { readonly orderId: string; readonly certificate: string },
): Step => ({
  sql: `INSERT INTO order_sighting (organization_id, order_id, product_serial, certificate_hash, place, stay, seen_at) VALUES (?, ?, ?, ?, ?, ?, ?)
      ON CONFLICT (order_id, certificate_hash, place) DO NOTHING`,
  parameters: [
    ...[organizationId, sighting.orderId, sighting.productSerial, sighting.certificate, sighting.place, sighting.stay],
    world.clock.now(),
  ],
})

/**
 * Somebody shows a certificate that one of our nodes issued, and that no log tells of: it was hidden, or its log is still to come.
 *
 * @param chain DER, the device's own first, as it was shown and validated
 */
export async function noteStranger(context: Context, chain: readonly Uint8Array[], place: string): Promise<void> {
  const { db, audit, world, organizationId } = context
  const [der, ...above] = chain
  if (der === undefined) return
  const certificate = parseCertificate(der)
  for (const issuer of above) {
    const key = parseCertificate(issuer).subjectPublicKeyInfo
    const [row] = await db.query('SELECT * FROM production_job WHERE node_key = ? AND organization_id = ?', key, organizationId)
    if (row === undefined || !(await verifyCertificateSignature(certificate, importPublicKey(key)))) continue
    const job = jobOf(row)
    const productSerial = attributeOf(parseName(certificate.subject), 'serialNumber') ?? ''
    const fingerprint = hash('sha256', der)
    const [known] = await db.query(
      `SELECT 1 AS found FROM job_entry e WHERE e.organization_id = ? AND e.product_serial = ? AND e.type = 'issue' AND e.certificate_hash = ?
        UNION SELECT 1 AS found FROM order_sighting s WHERE s.order_id = ? AND s.certificate_hash = ? AND s.place = ?`,
      ...[organizationId, productSerial, fingerprint, job.orderId, fingerprint, place],
    )
    if (known !== undefined) return
    const facts = { productSerial, place, certificate: fingerprint }
    const { orderId, id: jobId } = job
    await keep(db, [
      sightingStep({ world, organizationId }, { orderId, productSerial, certificate: fingerprint, place, stay: '' }),
      // the log of a job that is over says it all; an open one may still tell
      ...(job.state === 'open' ? [] : [alarmStep(context, { orderId, jobId, kind: 'seenInNoLog', subject: fingerprint, facts })]),
      audit.statement({
        ...{ actor: 'system', act: 'order.seen', object: `order:${orderId}`, outcome: 'done' },
        facts: { ...facts, seen: 'inNoLog' },
      }),
    ])
    return
  }
}
