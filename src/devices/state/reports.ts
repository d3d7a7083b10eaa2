/**
 * Reports of devices, taken or held against them: a device that goes on from something that was never last, or runs what an
 * officer did not accept, is quarantined, and stays so until an officer clears it (R33).
 *
 * @module
 */
import { faultsOf } from './judgment.ts'
import { type Component, type Continuity, continuityOf, type ReadReport, readReport, REPORT_MAX_OCTETS } from './messages.ts'
import { TrustError } from '#base/errors.ts'
import { keep, type Step } from '#store/batch.ts'
import type { World } from '#base/world.ts'
import type { Row } from '#store/database.ts'
import { stepsToConfirm } from '../certificates.ts'
import { changed, stepsToChange, stepsToFlag } from '../change.ts'
import type { DevicesContext } from '../context.ts'
import { type Device, objectOf, openDevice } from '../device.ts'
import { type CertificateFacts, isUsable } from '../usable.ts'

export interface ReportsContext extends DevicesContext {
  /** The CA's record of this very certificate. @returns undefined for one that it did not issue */
  certificate(der: Uint8Array): Promise<CertificateFacts | undefined>
  /** Tells the CA of certificates that are to be held now. */
  tellDue(): Promise<void>
  readonly software: SoftwareReports
  /** What is noted of a device that shows itself, with its report. */
  stepsToSight(certificateId: string): Promise<readonly Step[]>
}

/** Who looks after what devices are told to run. */
export interface SoftwareReports {
  /** Whether the device runs it because it was told to, whatever an officer accepted before. */
  isDirected(deviceId: string, component: Component): Promise<boolean>
  /** What it runs, to be kept with the report. */
  stepsToRecord(
    device: Pick<Device, 'id' | 'modelId'>,
    components: readonly Component[],
    isAttested: boolean,
  ): Promise<readonly Step[]>
}

export interface DeviceReports {
  readonly reportMaxOctets: number
  /** @returns what the next report has to answer; `again` when this one was not looked at @throws TrustError `malformed`, `badProof`, `unauthenticated`, `forbidden` */
  take(octets: Uint8Array): Promise<ReportAnswer>
}

export interface ReportAnswer {
  readonly challenge: string
  /** The report does not answer what an officer's word made the server ask for: it counts for nothing, and the next is wanted now. */
  readonly again?: true
}

/** What is known of a device's reports. */
export interface ReportStanding {
  readonly counter: number
  readonly receivedAt: Date
  /** Whether there is something to hold its reports against. */
  readonly isExpected: boolean
  /** The next report is where it begins anew, and what it says is right. */
  readonly isAwaited: boolean
  readonly faults: readonly string[]
}

const ACTOR = 'service:device-reports'
const CHALLENGE_OCTETS = 24
/** A device that is quarantined for long lists of faults needs no more of them. */
const FAULTS_MAX = 20

export function deviceReports(context: ReportsContext): DeviceReports {
  const { db, world } = context

  async function take(octets: Uint8Array): Promise<ReportAnswer> {
    const read = await readReport(octets)
    const certificate = await context.certificate(read.certificate)
    if (certificate === undefined) throw new TrustError('unauthenticated', 'certificateUnknown')
    const usable = await isUsable(db, certificate, world.clock.now())
    if (!usable.isUsable) throw new TrustError('forbidden', usable.reason)
    const device = await openDevice(context, db, usable.deviceId)
    const row = await rowOf(context, device.id)
    // an older report, perhaps of a machine that was cut off for it, is not what the officer meant
    if (row?.is_awaited === 1 && read.report.challenge !== row.challenge) return { challenge: row.challenge, again: true }
    const continuity: Continuity = row?.is_awaited === 1 ? 'next' : continuityOf(read, row)
    if (continuity === 'repeated') return { challenge: row?.challenge ?? '' }
    const { faults, isAttested } =
      continuity === 'forked' ? { faults: [FORKED], isAttested: false } : await judge(context, device.id, read, row)
    if (faults.length > 0) return cutOff(device, row, faults, continuity === 'forked')
    const challenge = freshChallenge(world)
    await keep(db, [
      ...(usable.isFirst ? await confirming(device, certificate.certificateId) : []),
      ...(await context.stepsToSight(certificate.certificateId)),
      ...(await context.software.stepsToRecord(device, read.report.components, isAttested)),
      stepToKeep(context, device, row, {
        ...{ counter: read.report.counter, digest: read.digest, challenge, certificateId: certificate.certificateId },
        ...{ expected: row?.is_awaited === 1 ? octets : row?.expected, isAwaited: false, faults: [] },
      }),
    ])
    return { challenge }
  }

  /** Its report shows that the device has the certificate. */
  async function confirming(device: Device, certificateId: string): Promise<readonly Step[]> {
    const [row] = await db.query('SELECT role, area_id FROM device_certificate WHERE certificate_id = ?', certificateId)
    if (row?.['role'] !== 'operational') return []
    return stepsToConfirm(context, device, { certificateId, areaId: (row['area_id'] as string | null) ?? undefined }, ACTOR)
  }

  async function cutOff(
    device: Device,
    row: ReportRow | undefined,
    faults: readonly string[],
    isCopied: boolean,
  ): Promise<never> {
    const told = faults.slice(0, FAULTS_MAX)
    const facts = { reason: isCopied ? 'copied' : 'state', detail: told.join('; ').slice(0, 500) }
    const quarantine = { act: 'quarantine', actor: ACTOR, facts } as const
    const quarantined = changed(device, quarantine, world.clock.now()).device
    await keep(db, [
      ...stepsToChange(context, device, quarantine),
      ...(isCopied ? stepsToFlag(context, quarantined, { flag: 'clone', isSet: true, actor: ACTOR }) : []),
      stepToKeep(context, device, row, {
        ...{ counter: row?.counter ?? 0, digest: row?.digest ?? '', challenge: row?.challenge ?? '' },
        ...{ certificateId: row?.certificate_id ?? undefined, expected: row?.expected, isAwaited: false, faults: told },
      }),
    ])
    await context.tellDue()
    throw new TrustError('forbidden', isCopied ? 'deviceForked' : 'deviceStateWrong', { facts: { detail: facts.detail } })
  }

  return {
    reportMaxOctets: REPORT_MAX_OCTETS,
    take,
  }
}

const freshChallenge = ({ random }: World): string => random.octets(CHALLENGE_OCTETS).toBase64({ alphabet: 'base64url' })

const FORKED = 'two machines speak with its key, or it was put back to an earlier day'

interface Judgment {
  readonly faults: readonly string[]
  /** A TPM that is known vouches for how the device started. */
  readonly isAttested: boolean
}

async function judge(
  { software }: Pick<ReportsContext, 'software'>,
  deviceId: string,
  { report }: ReadReport,
  row: ReportRow | undefined,
): Promise<Judgment> {
  const { challenge, boot } = report
  if (row?.is_awaited === 1)
    return { faults: await faultsOf(report, { challenge, ...(boot !== undefined && { boot }) }), isAttested: false }
  const expected = row?.expected ?? undefined
  const accepted = expected === undefined ? undefined : (await readReport(expected)).report
  const components = accepted && (await acceptedOrDirected(software, deviceId, report.components, accepted.components))
  const faults = await faultsOf(report, {
    challenge: row?.challenge ?? '',
    ...(components !== undefined && { components }),
    ...(accepted?.boot !== undefined && { boot: accepted.boot }),
  })
  return { faults, isAttested: accepted?.boot !== undefined }
}

/** What an officer accepted, but for what the device was told to run since. */
async function acceptedOrDirected(
  software: SoftwareReports,
  deviceId: string,
  found: readonly Component[],
  accepted: readonly Component[],
): Promise<readonly Component[]> {
  const isAccepted = (one: Component): boolean =>
    accepted.some(({ name, version, digest }) => name === one.name && version === one.version && digest === one.digest)
  const directed: Component[] = []
  for (const one of found) if (!isAccepted(one) && (await software.isDirected(deviceId, one))) directed.push(one)
  return [...accepted.filter(({ name }) => directed.every((one) => one.name !== name)), ...directed]
}

/**
 * An officer's word: the next report of the device is right, and its numbers begin there. It has to answer a challenge that nobody
 * has seen before, so that no older report of it passes for that one.
 *
 * @throws TrustError `notFound`
 */
export async function acceptNextReport(context: DevicesContext, deviceId: string, actor: string): Promise<void> {
  const device = await openDevice(context, context.db, deviceId)
  const row = await rowOf(context, device.id)
  await keep(context.db, [
    stepToKeep(context, device, row, {
      ...{ counter: row?.counter ?? 0, digest: row?.digest ?? '', challenge: freshChallenge(context.world) },
      ...{ certificateId: row?.certificate_id ?? undefined, expected: row?.expected, isAwaited: true, faults: [] },
    }),
    context.audit.statement({ actor, act: 'device.accept-state', object: objectOf(device), outcome: 'done', facts: {} }),
  ])
}

/** @returns undefined while there is no report */
export async function reportStanding(context: DevicesContext, deviceId: string): Promise<ReportStanding | undefined> {
  const row = await rowOf(context, deviceId)
  if (row === undefined) return undefined
  return {
    counter: row.counter,
    receivedAt: new Date(row.received_at),
    isExpected: row.expected !== null,
    isAwaited: row.is_awaited === 1,
    faults: JSON.parse(row.faults) as readonly string[],
  }
}

interface ReportRow extends Row {
  readonly version: number
  readonly counter: number
  readonly digest: string
  readonly challenge: string
  readonly certificate_id: string | null
  readonly is_awaited: number
  readonly expected: Uint8Array | null
  readonly faults: string
  readonly received_at: number
}

async function rowOf({ db }: Pick<DevicesContext, 'db'>, deviceId: string): Promise<ReportRow | undefined> {
  const [row] = await db.query<ReportRow>('SELECT * FROM device_report WHERE device_id = ?', deviceId)
  return row
}

interface Kept {
  readonly counter: number
  readonly digest: string
  readonly challenge: string
  readonly certificateId: string | undefined
  readonly expected: Uint8Array | null | undefined
  readonly isAwaited: boolean
  readonly faults: readonly string[]
}

/** Of two reports at once, the second finds that the row moved on, and is judged again when it is sent again. */
function stepToKeep({ world, organizationId }: DevicesContext, { id }: Device, row: ReportRow | undefined, kept: Kept): Step {
  const version = (row?.version ?? 0) + 1
  const values = [
    ...[kept.counter, kept.digest, kept.challenge, kept.certificateId ?? null, kept.isAwaited ? 1 : 0],
    ...[kept.expected ?? null, JSON.stringify(kept.faults), world.clock.now()],
  ]
  const refusal = (): TrustError => new TrustError('conflict', 'deviceChanged')
  if (row === undefined) {
    return {
      sql: `INSERT INTO device_report (counter, digest, challenge, certificate_id, is_awaited, expected, faults, received_at, device_id, organization_id, version)
          VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      parameters: [...values, id, organizationId, version],
      refusal,
    }
  }
  return {
    sql: `UPDATE device_report SET counter = ?, digest = ?, challenge = ?, certificate_id = ?, is_awaited = ?, expected = ?, faults = ?,
        received_at = ?, version = ? WHERE device_id = ? AND version = ? RETURNING version`,
    parameters: [...values, version, id, row.version],
    expects: { version },
    refusal,
  }
}
