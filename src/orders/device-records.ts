/**
 * What a job's log says of devices goes on to whoever keeps them, after the log itself is kept.
 *
 * An import leaves a note of every birth and verdict in its own transaction; each note goes away in the transaction that keeps
 * the device's record, or the alarm that says why there is none. So a server that ends in between goes on where it was, with the
 * next import or reconciliation of the job, and nothing is recorded twice.
 *
 * @module
 */
import { asTrustError, TrustError, type TrustErrorCode } from '#base/errors.ts'
import { keep, type Step } from '#store/batch.ts'
import type { Row } from '#store/database.ts'
import { alarmStep } from './alarms.ts'
import type { Job, JobBirth, JobDevices, OrdersContext } from './orders.ts'

/** Kept at once: enough that a disk is not waited for with each device, and little to do again when one is refused. */
const TOGETHER = 64
/** Of one kind in one call, so that a request ends: the next call goes on. A bundle has no more. */
const CALL_MAX = 20_000

type DueType = 'issue' | 'good' | 'scrap'

/** One that waits: the columns of `job_device_due`. */
export const DUE_COLUMNS = ['job_id', 'organization_id', 'n', 'type', 'facts']

/** What the entry's own row does not have. */
export const dueFacts = ({ evidence, firmware, operator }: Pick<JobBirth, 'evidence' | 'firmware' | 'operator'>): string =>
  JSON.stringify({ evidence, firmware, operator })

/** @returns how many alarms there are more @throws nothing that says something about a device: that is an alarm */
export async function recordDue(context: OrdersContext, job: Job, actor: string): Promise<number> {
  const devices = await context.devicesOf(job)
  if (devices === undefined) return 0
  // births first: a verdict is about a device that is recorded
  const births = await recordAll(context, job, ['issue'], (row) => devices.stepsToBear(birthOf(row), actor))
  const verdicts = await recordAll(context, job, ['good', 'scrap'], (row) => verdictOf(devices, row, actor))
  return births + verdicts
}

async function verdictOf(devices: JobDevices, row: Row, actor: string): Promise<readonly Step[]> {
  return devices.stepsToJudge(row['product_serial'] as string, row['type'] as 'good' | 'scrap', actor)
}

async function recordAll(
  context: OrdersContext,
  job: Job,
  types: readonly DueType[],
  stepsFor: (row: Row) => Promise<readonly Step[]>,
): Promise<number> {
  let alarms = 0
  let after = -1
  for (let done = 0; done < CALL_MAX; done += TOGETHER) {
    const rows = await context.db.query(
      `SELECT d.n, d.type, d.facts, e.position, e.product_serial, e.key_hash, e.certificate, e.station, e.at
        FROM job_device_due d JOIN job_entry e ON e.job_id = d.job_id AND e.n = d.n
        WHERE d.job_id = ? AND d.n > ? AND d.type IN (${types.map(() => '?').join(', ')}) ORDER BY d.n LIMIT ${TOGETHER}`,
      ...[job.id, after, ...types],
    )
    const last = rows.at(-1)
    if (last === undefined) break
    if (!(await recordTogether(context, job, rows, stepsFor)))
      for (const row of rows) alarms += await recordOne(context, job, row, stepsFor)
    context.world.faults.reach('devices recorded')
    after = last['n'] as number
  }
  return alarms
}

/** @returns whether nothing was wrong with any of them */
async function recordTogether(
  { db }: OrdersContext,
  { id }: Job,
  rows: readonly Row[],
  stepsFor: (row: Row) => Promise<readonly Step[]>,
): Promise<boolean> {
  try {
    const steps: Step[] = []
    for (const row of rows) steps.push(settled(id, row), ...(await stepsFor(row)))
    await keep(db, steps)
    return true
  } catch (error) {
    refusalIn(error)
    return false
  }
}

async function recordOne(
  context: OrdersContext,
  job: Job,
  row: Row,
  stepsFor: (row: Row) => Promise<readonly Step[]>,
): Promise<number> {
  try {
    await keep(context.db, [settled(job.id, row), ...(await stepsFor(row))])
    return 0
  } catch (error) {
    const { reason, facts } = refusalIn(error)
    if (PASSING.has(reason)) return 0
    const n = row['n'] as number
    const productSerial = row['product_serial'] as string
    const alarm = alarmStep(context, {
      ...{ orderId: job.orderId, jobId: job.id, kind: 'deviceNotRecorded', subject: `${job.id} ${n}` },
      facts: { ...facts, entry: n, productSerial, reason },
    })
    try {
      await keep(context.db, [settled(job.id, row), alarm])
      return 1
    } catch (other) {
      if (PASSING.has(refusalIn(other).reason)) return 0
      throw other
    }
  }
}

/** Somebody was at the same device, or at the same log, at the same moment: what is left to do waits. */
const PASSING: ReadonlySet<string> = new Set(['deviceChanged', 'orderChanged'])
const REFUSALS: ReadonlySet<TrustErrorCode> = new Set(['conflict', 'policyRefused', 'notFound'])

/** @throws what is no refusal */
export function refusalIn(error: unknown): TrustError {
  const refusal = asTrustError(error)
  if (!REFUSALS.has(refusal.code)) throw error
  return refusal
}

/** Whoever is second at the same note keeps nothing. */
const settled = (jobId: string, row: Row): Step => ({
  sql: 'DELETE FROM job_device_due WHERE job_id = ? AND n = ? RETURNING n',
  parameters: [jobId, row['n'] as number],
  expects: { n: row['n'] as number },
  refusal: () => new TrustError('conflict', 'orderChanged'),
})

function birthOf(row: Row): JobBirth {
  const { evidence, firmware, operator } = JSON.parse(row['facts'] as string) as Pick<
    JobBirth,
    'evidence' | 'firmware' | 'operator'
  >
  return {
    productSerial: row['product_serial'] as string,
    position: row['position'] as number,
    n: row['n'] as number,
    key: row['key_hash'] as string,
    certificate: row['certificate'] as Uint8Array,
    evidence,
    firmware,
    station: row['station'] as string,
    operator,
    at: row['at'] as number,
  }
}
