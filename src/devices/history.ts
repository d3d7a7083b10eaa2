/** What became of a device, from its first record to now. @module */
import type { Facts } from '#base/errors.ts'
import type { CertificateRole, CertificateStanding } from './certificates.ts'
import type { DevicesContext } from './context.ts'
import type { AssuranceLevel, BirthVariant, KeyOrigin, KeyPurpose } from './device.ts'
import type { DeviceState } from './states.ts'

export interface DeviceEvent {
  /** Of the device, with this event. */
  readonly version: number
  readonly act: string
  /** Where the state changed. */
  readonly from: DeviceState | undefined
  readonly to: DeviceState | undefined
  readonly epoch: number
  readonly actor: string
  readonly facts: Facts
  readonly at: number
}

export interface DeviceHistory {
  /** In their order. */
  readonly events: readonly DeviceEvent[]
  readonly birth: BirthRecord | undefined
  readonly keys: readonly {
    readonly keyHash: Uint8Array
    readonly purpose: KeyPurpose
    readonly origin: KeyOrigin
    readonly createdAt: number
  }[]
  readonly certificates: readonly CertificateUse[]
  readonly epochs: readonly Span[]
  readonly areas: readonly Span[]
}

export interface BirthRecord {
  readonly variant: BirthVariant
  readonly assurance: AssuranceLevel
  readonly certificateId: string
  readonly keyHash: Uint8Array
  readonly job: string | undefined
  readonly node: string | undefined
  readonly station: string | undefined
  readonly logNumber: number | undefined
  readonly evidence: Readonly<Record<string, string | number | boolean>>
  /** As the audit entry of the birth has it. */
  readonly digest: string
  readonly bornAt: number
}

export interface CertificateUse {
  readonly certificateId: string
  readonly role: CertificateRole
  readonly epoch: number
  readonly areaId: string | undefined
  readonly standing: CertificateStanding
  readonly createdAt: number
}

export interface Span {
  /** The owner, or the area. */
  readonly id: string
  readonly epoch: number
  readonly openedAt: number
  readonly closedAt: number | undefined
}

/** More than a device lives through; those who loop have this much shown. */
const EVENTS_MAX = 10_000

export async function historyOf({ db }: Pick<DevicesContext, 'db'>, deviceId: string): Promise<DeviceHistory> {
  const [events, births, keys, certificates, epochs, areas] = await Promise.all([
    db.query('SELECT * FROM device_event WHERE device_id = ? ORDER BY version LIMIT ?', deviceId, EVENTS_MAX),
    db.query('SELECT * FROM birth_record WHERE device_id = ?', deviceId),
    db.query('SELECT * FROM device_key WHERE device_id = ? ORDER BY created_at', deviceId),
    db.query('SELECT * FROM device_certificate WHERE device_id = ? ORDER BY created_at LIMIT ?', deviceId, EVENTS_MAX),
    db.query(
      'SELECT owner_id AS subject, epoch, opened_at, closed_at FROM ownership_epoch WHERE device_id = ? ORDER BY epoch',
      deviceId,
    ),
    db.query(
      'SELECT area_id AS subject, epoch, opened_at, closed_at FROM area_assignment WHERE device_id = ? ORDER BY opened_at',
      deviceId,
    ),
  ])
  const optional = (value: unknown): string | undefined => (value as string | null) ?? undefined
  const span = (row: (typeof epochs)[number]): Span => ({
    id: row['subject'] as string,
    epoch: row['epoch'] as number,
    openedAt: row['opened_at'] as number,
    closedAt: (row['closed_at'] as number | null) ?? undefined,
  })
  const [birth] = births
  return {
    events: events.map((row) => ({
      version: row['version'] as number,
      act: row['act'] as string,
      from: optional(row['from_state']) as DeviceState | undefined,
      to: optional(row['to_state']) as DeviceState | undefined,
      epoch: row['epoch'] as number,
      actor: row['actor'] as string,
      facts: JSON.parse(row['facts'] as string) as Facts,
      at: row['created_at'] as number,
    })),
    birth: birth && {
      variant: birth['variant'] as BirthVariant,
      assurance: birth['assurance'] as AssuranceLevel,
      certificateId: birth['certificate_id'] as string,
      keyHash: birth['key_hash'] as Uint8Array,
      job: optional(birth['job']),
      node: optional(birth['node']),
      station: optional(birth['station']),
      logNumber: (birth['log_number'] as number | null) ?? undefined,
      evidence: JSON.parse(birth['evidence'] as string) as BirthRecord['evidence'],
      digest: birth['digest'] as string,
      bornAt: birth['born_at'] as number,
    },
    keys: keys.map((row) => ({
      keyHash: row['key_hash'] as Uint8Array,
      purpose: row['purpose'] as KeyPurpose,
      origin: row['origin'] as KeyOrigin,
      createdAt: row['created_at'] as number,
    })),
    certificates: certificates.map((row) => ({
      certificateId: row['certificate_id'] as string,
      role: row['role'] as CertificateRole,
      epoch: row['epoch'] as number,
      areaId: optional(row['area_id']),
      standing: row['standing'] as CertificateStanding,
      createdAt: row['created_at'] as number,
    })),
    epochs: epochs.map(span),
    areas: areas.map(span),
  }
}
