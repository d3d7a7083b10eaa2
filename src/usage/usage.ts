/**
 * Records of usage, taken or held against the device: what cannot follow what is here is refused and alarmed, and nothing of it
 * counts until an officer has decided.
 *
 * @module
 */
import type { Audit } from '#audit/audit.ts'
import { type Facts, TrustError } from '#base/errors.ts'
import { uuidv7, type World } from '#base/world.ts'
import { keep, type Step } from '#store/batch.ts'
import type { Database, Row } from '#store/database.ts'
import { type Counter, type LastUsage, type ReadUsage, readUsage, type Succession, successionOf } from './messages.ts'

/** A device, as far as its usage goes. */
export interface CountingDevice {
  readonly id: string
  readonly productSerial: string
  /** `MANUFACTURER/MODEL` */
  readonly model: string
}

export interface UsageContext {
  readonly db: Database
  readonly audit: Audit
  readonly world: World
  readonly organizationId: string
  /** @throws TrustError `notFound` */
  device(id: string): Promise<CountingDevice>
  /** Whose device this certificate is, while it may be used. @throws TrustError `unauthenticated`, `forbidden` */
  deviceOf(certificate: Uint8Array): Promise<string>
  /** Whose the device was then, by name; empty for nobody. */
  ownerAt(deviceId: string, at: number): Promise<string>
}

export const usageAlarmKinds = ['forked', 'set-back', 'begun-anew', 'gap'] as const
export type UsageAlarmKind = (typeof usageAlarmKinds)[number]

const ACTOR = 'service:device-usage'
/** Times of records are whole seconds: whoever owned the device at the end of the last one. */
const SECOND_REST_MILLISECONDS = 999
const objectOf = (deviceId: string): string => `device:${deviceId}`
/** As many are shown; and no device raises more between two records that were taken. */
const ALARMS_MAX = 100
/** Another record of the same device came in between that often in a row. */
const TRIES_MAX = 4

/**
 * @param deviceId whose connection it came over
 * @throws TrustError `malformed`, `badProof`, `unauthenticated`, `forbidden`; `conflict` for what does not follow, with its alarm raised
 */
export async function takeUsage(context: UsageContext, deviceId: string, octets: Uint8Array): Promise<void> {
  const read = await readUsage(octets)
  if ((await context.deviceOf(read.certificate)) !== deviceId) throw new TrustError('forbidden', 'usageFromOther')
  for (let tries = 1; ; tries++) {
    try {
      return await takeOnce(context, deviceId, read, octets)
    } catch (error) {
      if (!(error instanceof TrustError) || error.reason !== 'usageChanged' || tries === TRIES_MAX) throw error
    }
  }
}

async function takeOnce(context: UsageContext, deviceId: string, read: ReadUsage, octets: Uint8Array): Promise<void> {
  const { record } = read
  const [row, device] = await Promise.all([chainRow(context, deviceId), context.device(deviceId)])
  const isBeginning = row === undefined || (row.is_awaited === 1 && row.chain !== record.chain)
  const last = isBeginning ? undefined : lastOf(row)
  const digests = last !== undefined && record.number < last.number ? await digestsOf(context, deviceId, record) : undefined
  const succession = successionOf(read, last, () => digests)
  if (succession.kind === 'repeated') return
  if (isRefused(succession)) {
    await alarm(context, device, { read, succession, since: row?.received_at ?? 0 })
    throw refusalOf(device, read, succession)
  }
  const missing = succession.kind === 'gap' ? succession.missing : 0
  const owner = await context.ownerAt(deviceId, record.to + SECOND_REST_MILLISECONDS)
  await keep(context.db, [
    stepToMove(context, deviceId, row, read),
    ...stepsToKeep(context, device, read, { octets, owner, missing, before: last?.counters ?? [] }),
    ...(missing === 0 ? [] : [alarmStep(context, deviceId, 'gap', gapOf(read), { number: record.number, missing })]),
    ...(isBeginning
      ? [
          context.audit.statement({
            ...{ actor: ACTOR, act: 'usage.begin', object: objectOf(deviceId), outcome: 'done' },
            facts: { chain: record.chain, number: record.number },
          }),
        ]
      : []),
  ])
}

type Refused = Exclude<Succession, { readonly kind: 'next' | 'gap' | 'repeated' }>
const isRefused = (succession: Succession): succession is Refused =>
  succession.kind === 'forked' || succession.kind === 'set-back' || succession.kind === 'begun-anew'

const gapOf = ({ record: { chain, number } }: ReadUsage): string => `${chain} ${number}`

function refusalOf({ productSerial }: CountingDevice, { record }: ReadUsage, succession: Refused): TrustError {
  switch (succession.kind) {
    case 'forked':
      return new TrustError('conflict', 'usageForked', { facts: { productSerial, number: record.number } })
    case 'set-back': {
      const { counter, value, before } = succession
      return new TrustError('conflict', 'usageSetBack', { facts: { productSerial, counter, value, before } })
    }
    case 'begun-anew':
      return new TrustError('conflict', 'usageChainLost', { facts: { productSerial, chain: record.chain } })
  }
}

/** In a transaction of its own, since nothing else of the record is kept: the alarm once, the refusal in the log each time that it is new. */
async function alarm(
  context: UsageContext,
  device: CountingDevice,
  { read, succession, since }: { readonly read: ReadUsage; readonly succession: Refused; readonly since: number },
): Promise<void> {
  const { id } = device
  const { reason, facts } = refusalOf(device, read, succession)
  const subject = succession.kind === 'begun-anew' ? read.record.chain : read.digest
  const [known] = await context.db.query(
    'SELECT id FROM usage_alarm WHERE device_id = ? AND kind = ? AND subject = ?',
    ...[id, succession.kind, subject],
  )
  if (known !== undefined) return // the device says the same again and again
  const [raised] = await context.db.query(
    'SELECT COUNT(*) AS count FROM usage_alarm WHERE device_id = ? AND created_at >= ?',
    ...[id, since],
  )
  if (Number(raised?.['count']) >= ALARMS_MAX) return // or something new each time: an officer has seen enough of it
  await keep(context.db, [
    alarmStep(context, id, succession.kind, subject, { ...facts, number: read.record.number }),
    context.audit.statement({ actor: ACTOR, act: 'usage.take', object: objectOf(id), outcome: 'refused', reason, facts }),
  ])
}

const alarmStep = (
  { world, organizationId }: UsageContext,
  deviceId: string,
  kind: UsageAlarmKind,
  subject: string,
  facts: Facts,
): Step => ({
  sql: `INSERT INTO usage_alarm (id, organization_id, device_id, kind, subject, facts, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)
      ON CONFLICT (device_id, kind, subject) DO NOTHING`,
  parameters: [uuidv7(world), organizationId, deviceId, kind, subject, JSON.stringify(facts), world.clock.now()],
})

function stepToMove(
  { world, organizationId }: UsageContext,
  deviceId: string,
  row: ChainRow | undefined,
  { record, digest }: ReadUsage,
): Step {
  const version = (row?.version ?? 0) + 1
  const values = [record.chain, record.number, digest, record.to, JSON.stringify(record.counters), world.clock.now()]
  const refusal = (): TrustError => new TrustError('conflict', 'usageChanged')
  if (row === undefined) {
    return {
      sql: `INSERT INTO usage_chain (chain, number, digest, to_at, counters, received_at, is_awaited, device_id, organization_id, version)
          VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?, ?)`,
      parameters: [...values, deviceId, organizationId, version],
      refusal,
    }
  }
  return {
    sql: `UPDATE usage_chain SET chain = ?, number = ?, digest = ?, to_at = ?, counters = ?, received_at = ?, is_awaited = 0, version = ?
        WHERE device_id = ? AND version = ? RETURNING version`,
    parameters: [...values, version, deviceId, row.version],
    expects: { version },
    refusal,
  }
}

interface Kept {
  readonly octets: Uint8Array
  readonly owner: string
  readonly missing: number
  readonly before: readonly Counter[]
}

function stepsToKeep(
  { world, organizationId }: UsageContext,
  { id: deviceId, productSerial, model }: CountingDevice,
  { record, digest }: ReadUsage,
  { octets, owner, missing, before }: Kept,
): readonly Step[] {
  const id = uuidv7(world)
  const { chain, number, from, to, counters } = record
  const totals = new Map(before.map(({ name, value }) => [name, value]))
  return [
    {
      sql: `INSERT INTO usage_record (id, organization_id, device_id, chain, number, digest, missing, product_serial, model, owner, from_at,
            to_at, octets, received_at)
          VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      parameters: [
        ...[id, organizationId, deviceId, chain, number, digest, missing, productSerial, model, owner],
        ...[from, to, octets, world.clock.now()],
      ],
      refusal: () => new TrustError('conflict', 'usageChanged'),
    },
    ...counters.map(({ name, unit, value }): Step => ({
      sql: 'INSERT INTO usage_amount (record_id, organization_id, name, unit, value, amount) VALUES (?, ?, ?, ?, ?, ?)',
      parameters: [id, organizationId, name, unit, value, value - (totals.get(name) ?? 0)],
    })),
  ]
}

interface ChainRow extends Row {
  readonly version: number
  readonly chain: string
  readonly number: number
  readonly digest: string
  readonly to_at: number
  readonly counters: string
  readonly is_awaited: number
  readonly received_at: number
}

async function chainRow({ db, organizationId }: UsageContext, deviceId: string): Promise<ChainRow | undefined> {
  const [row] = await db.query<ChainRow>(
    'SELECT * FROM usage_chain WHERE device_id = ? AND organization_id = ?',
    ...[deviceId, organizationId],
  )
  return row
}

const lastOf = ({ chain, number, digest, to_at: to, counters }: ChainRow): LastUsage => ({
  ...{ chain, number, digest, to },
  counters: JSON.parse(counters) as readonly Counter[], // written above
})

async function digestsOf(
  { db }: UsageContext,
  deviceId: string,
  { chain, number }: ReadUsage['record'],
): Promise<string | undefined> {
  const [row] = await db.query(
    'SELECT digest FROM usage_record WHERE device_id = ? AND chain = ? AND number = ?',
    ...[deviceId, chain, number],
  )
  return row?.['digest'] as string | undefined
}

/** An officer's word: the device lost its chain, and its next record begins another. @throws TrustError `notFound` before it sent any */
export async function beginAnew(context: UsageContext, deviceId: string, actor: string): Promise<void> {
  const { db, audit } = context
  const device = await context.device(deviceId)
  const row = await chainRow(context, deviceId)
  if (row === undefined) throw new TrustError('notFound', 'usageUnknown', { facts: { device: device.productSerial } })
  await keep(db, [
    {
      sql: 'UPDATE usage_chain SET is_awaited = 1, version = version + 1 WHERE device_id = ? AND version = ? RETURNING is_awaited',
      parameters: [deviceId, row.version],
      expects: { is_awaited: 1 },
      refusal: () => new TrustError('conflict', 'usageChanged'),
    },
    audit.statement({
      ...{ actor, act: 'usage.begin-anew', object: objectOf(deviceId), outcome: 'done' },
      facts: { chain: row.chain, number: row.number },
    }),
  ])
}

export interface UsageAlarm {
  readonly kind: UsageAlarmKind
  readonly facts: Facts
  readonly at: number
}

export interface UsageStanding {
  readonly device: CountingDevice
  readonly chain: string
  readonly number: number
  readonly digest: string
  readonly to: number
  readonly counters: readonly Counter[]
  readonly isAwaited: boolean
  readonly receivedAt: number
  readonly alarms: readonly UsageAlarm[]
}

/** @throws TrustError `notFound` before it sent any */
export async function usageStanding(context: UsageContext, deviceId: string): Promise<UsageStanding> {
  const device = await context.device(deviceId)
  const row = await chainRow(context, deviceId)
  if (row === undefined) throw new TrustError('notFound', 'usageUnknown', { facts: { device: device.productSerial } })
  const alarms = await context.db.query(
    'SELECT kind, facts, created_at FROM usage_alarm WHERE device_id = ? ORDER BY created_at DESC, id DESC LIMIT ?',
    ...[deviceId, ALARMS_MAX],
  )
  return {
    ...{ device, ...lastOf(row), isAwaited: row.is_awaited === 1, receivedAt: row.received_at },
    alarms: alarms.map((alarmRow) => ({
      kind: alarmRow['kind'] as UsageAlarmKind,
      facts: JSON.parse(alarmRow['facts'] as string) as Facts,
      at: alarmRow['created_at'] as number,
    })),
  }
}

export interface UsageListed {
  readonly deviceId: string
  readonly number: number
  readonly to: number
  readonly receivedAt: number
  readonly isAwaited: boolean
  /** How many there are of its records. */
  readonly alarms: number
}

/** Of all devices that sent any, those that were heard of last first. */
export async function listUsage(
  { db, organizationId }: UsageContext,
  { onlyAlarmed, limit }: { readonly onlyAlarmed: boolean; readonly limit: number },
): Promise<readonly UsageListed[]> {
  const rows = await db.query(
    `SELECT c.device_id, c.number, c.to_at, c.received_at, c.is_awaited,
        (SELECT COUNT(*) FROM usage_alarm a WHERE a.device_id = c.device_id) AS alarms
      FROM usage_chain c WHERE c.organization_id = ?
        ${onlyAlarmed ? 'AND EXISTS (SELECT 1 FROM usage_alarm a WHERE a.device_id = c.device_id)' : ''}
      ORDER BY c.received_at DESC, c.device_id LIMIT ?`,
    ...[organizationId, limit],
  )
  return rows.map((row) => ({
    deviceId: row['device_id'] as string,
    number: row['number'] as number,
    to: row['to_at'] as number,
    receivedAt: row['received_at'] as number,
    isAwaited: row['is_awaited'] === 1,
    alarms: Number(row['alarms']),
  }))
}
