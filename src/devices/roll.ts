/**
 * Which devices may connect now, for a broker that cannot ask at each connection and has to be told beforehand.
 *
 * @module
 */
import type { Row, SqlValue } from '#store/database.ts'
import { type ConnectionProtocol, readAreaPolicy } from './area-policy.ts'
import type { DevicesContext } from './context.ts'
import { type CertificateFacts, isUsable } from './usable.ts'

export interface RollContext extends Pick<DevicesContext, 'db' | 'world' | 'organizationId'> {
  /** @returns undefined for one that the CA does not know */
  certificate(id: string): Promise<(CertificateFacts & { readonly der: Uint8Array }) | undefined>
}

export interface RolledDevice {
  readonly deviceId: string
  readonly epoch: number
  readonly name: string
  readonly ownerName: string
  readonly areaName: string
  readonly areaId: string
  /** Its usable operational certificates: the current one, and its successor that was not yet seen. DER */
  readonly certificates: readonly Uint8Array[]
}

const PAGE = 500

/** Devices that come, go and change meanwhile are told of by {@link DeviceChanges}. @param deviceId only this one */
export async function* rollOf(
  context: RollContext,
  protocol: ConnectionProtocol,
  deviceId?: string,
): AsyncGenerator<RolledDevice> {
  let after = ''
  for (;;) {
    const rows = await pageOf(context, after, deviceId)
    // a device has a few rows, which lie together: those of the last one may go on with the next page
    const isLast = rows.length < PAGE
    const last = rows.at(-1)?.device_id
    const whole = isLast ? rows : rows.filter((row) => row.device_id !== last)
    for (const own of Map.groupBy(whole, (row) => row.device_id).values()) {
      const rolled = await rolledOf(context, protocol, own)
      if (rolled !== undefined) yield rolled
    }
    if (isLast) return
    after = whole.at(-1)?.device_id ?? after
  }
}

function pageOf({ db, organizationId }: RollContext, after: string, deviceId: string | undefined): Promise<readonly RollRow[]> {
  const [which, value]: [string, SqlValue] = deviceId === undefined ? ['d.id > ?', after] : ['d.id = ?', deviceId]
  return db.query<RollRow>(
    `SELECT d.id AS device_id, d.epoch, d.product_serial, o.name AS owner_name, a.name AS area_name, a.id AS area_id, a.policy, c.certificate_id,
        (SELECT COUNT(*) FROM device t WHERE lower(t.product_serial) = lower(d.product_serial) AND t.owner_id = d.owner_id AND t.id <> d.id)
          AS twins
      FROM device d JOIN organization o ON o.id = d.owner_id JOIN application_area a ON a.id = d.area_id
        JOIN device_certificate c ON c.device_id = d.id AND c.role = 'operational' AND c.standing <> 'former' AND c.area_id = d.area_id
      WHERE d.organization_id = ? AND a.state = 'enabled' AND ${which} ORDER BY d.id, c.certificate_id LIMIT ?`,
    ...[organizationId, value, PAGE],
  )
}

async function rolledOf(
  context: RollContext,
  protocol: ConnectionProtocol,
  rows: readonly RollRow[],
): Promise<RolledDevice | undefined> {
  const [first] = rows
  if (first === undefined || first.twins > 0) return undefined
  const { connections } = readAreaPolicy(JSON.parse(first.policy) as Readonly<Record<string, unknown>>)
  if (connections !== undefined && !connections.includes(protocol)) return undefined
  const certificates: Uint8Array[] = []
  for (const { certificate_id: id } of rows) {
    const facts = await context.certificate(id)
    if (facts !== undefined && (await isUsable(context.db, facts, context.world.clock.now())).isUsable)
      certificates.push(facts.der)
  }
  if (certificates.length === 0) return undefined
  return {
    ...{ deviceId: first.device_id, epoch: first.epoch, name: first.product_serial, certificates },
    ...{ ownerName: first.owner_name, areaName: first.area_name, areaId: first.area_id },
  }
}

interface RollRow extends Row {
  readonly device_id: string
  readonly epoch: number
  readonly product_serial: string
  readonly owner_name: string
  readonly area_name: string
  readonly area_id: string
  readonly policy: string
  readonly certificate_id: string
  readonly twins: number
}
