/**
 * Whether a certificate may be used now: asked at each connection, so that nobody waits for a CRL.
 *
 * The CA says what it knows of the certificate and its issuer; one look-up by the certificate's id says the rest.
 *
 * @module
 */
import type { Reason } from '#base/sentences.ts'
import type { Queries, Row } from '#store/database.ts'
import type { CertificateRole, CertificateStanding } from './certificates.ts'
import { type DeviceState, statesInUse } from './states.ts'

/** What the CA knows. */
export interface CertificateFacts {
  readonly certificateId: string
  /** Of its record; `active` and `issued-unconfirmed` count as good, and `superseded` until its successor was seen in use. */
  readonly status: string
  readonly isIssuerEnabled: boolean
  readonly notBefore: number
  readonly notAfter: number
  /**
   * What the CA knows of another certificate: whether a gateway may speak is decided by its own one. Where nobody can tell,
   * no gateway speaks.
   */
  readonly another?: FindFacts
}

/** By the certificate's id. @returns undefined for one that the CA does not know */
export type FindFacts = (certificateId: string) => Promise<CertificateFacts | undefined>

export type Usable =
  | {
      readonly isUsable: true
      readonly deviceId: string
      readonly role: CertificateRole
      /** It is seen for the first time: whoever lets it in confirms it (`stepsToConfirm`). */
      readonly isFirst: boolean
    }
  | { readonly isUsable: false; readonly reason: Reason; readonly deviceId: string | undefined }

/** One row by a primary key, and one more by another. */
export const USABLE_QUERY = `SELECT c.device_id, c.role, c.epoch, c.area_id, c.standing, d.state, d.epoch AS device_epoch,
    d.area_id AS device_area, d.next_area_id, d.is_lost + d.is_stolen AS missing, d.is_clone
  FROM device_certificate c JOIN device d ON d.id = c.device_id WHERE c.certificate_id = ?`

export async function isUsable(db: Queries, facts: CertificateFacts, now: number): Promise<Usable> {
  const [row] = await db.query<UsableRow>(USABLE_QUERY, facts.certificateId)
  const reason =
    row === undefined
      ? 'deviceCertificateUnknown'
      : (refusedByIssuer(facts, now) ?? refusedByDevice(row) ?? (await refusedSpeaker(db, row, facts, now)))
  if (row === undefined || reason !== undefined) return { isUsable: false, reason: reason as Reason, deviceId: row?.device_id }
  return { isUsable: true, deviceId: row.device_id, role: row.role, isFirst: row.standing === 'issued' }
}

/** Of a device that a gateway speaks for. */
export interface GatewayStanding {
  readonly gatewayId: string
  /** Why it may not speak for the device now, as far as the records of both say. */
  readonly reason: Reason | undefined
  /** Its own, by which it is itself let in; undefined when it has none that was seen in use. */
  readonly certificateId: string | undefined
}

const GATEWAY_QUERY = `SELECT b.gateway_id, b.gateway_epoch, b.device_epoch, d.epoch, g.epoch AS epoch_of_gateway, g.state,
    g.is_lost + g.is_stolen + g.is_clone AS flags, a.state AS area_state, c.certificate_id,
    CASE WHEN g.owner_id = d.owner_id THEN 1 ELSE 0 END AS is_same_owner,
    CASE WHEN g.area_id = COALESCE(d.area_id, ?) OR EXISTS (SELECT 1 FROM area_conduit k
        WHERE k.from_area_id = g.area_id AND k.to_area_id = COALESCE(d.area_id, ?)) THEN 1 ELSE 0 END AS is_in_reach
  FROM gateway_binding b JOIN device d ON d.id = b.device_id JOIN device g ON g.id = b.gateway_id
    LEFT JOIN application_area a ON a.id = g.area_id
    LEFT JOIN device_certificate c ON c.device_id = g.id AND c.role = 'operational' AND c.standing = 'current'
  WHERE b.device_id = ? AND b.closed_at IS NULL`

/** @param areaId where a device without an area is to go @returns undefined for a device that speaks for itself */
export async function gatewayOf(db: Queries, deviceId: string, areaId?: string): Promise<GatewayStanding | undefined> {
  const area = areaId ?? null
  const [row] = await db.query<GatewayRow>(GATEWAY_QUERY, area, area, deviceId)
  return row && { gatewayId: row.gateway_id, reason: refusedPair(row), certificateId: row.certificate_id ?? undefined }
}

function refusedPair(row: GatewayRow): Reason | undefined {
  if (row.flags > 0 || !statesInUse.has(row.state)) return 'gatewayNotInUse'
  const isOfBoth = row.gateway_epoch === row.epoch_of_gateway && row.device_epoch === row.epoch && row.is_same_owner === 1
  if (!isOfBoth) return 'gatewayOtherOwner'
  return row.is_in_reach === 1 && row.area_state === 'enabled' ? undefined : 'gatewayOtherArea'
}

interface GatewayRow extends Row {
  readonly gateway_id: string
  readonly gateway_epoch: number
  readonly device_epoch: number
  readonly epoch: number
  readonly epoch_of_gateway: number
  readonly state: DeviceState
  readonly flags: number
  readonly area_state: string | null
  readonly certificate_id: string | null
  readonly is_same_owner: number
  readonly is_in_reach: number
}

/** @returns why the device's gateway may not speak for it now; undefined where it may, and for a device that has none */
export async function refusedByGateway(
  db: Queries,
  deviceId: string,
  another: FindFacts | undefined,
  now: number,
): Promise<Reason | undefined> {
  const gateway = await gatewayOf(db, deviceId)
  return gateway && refusedStandingOf(db, gateway, another, now)
}

/** Its own certificate has to be usable: one that was revoked says nothing more for others either. */
async function refusedStandingOf(
  db: Queries,
  { reason, certificateId }: GatewayStanding,
  another: FindFacts | undefined,
  now: number,
): Promise<Reason | undefined> {
  if (reason !== undefined) return reason
  const facts = certificateId === undefined ? undefined : await another?.(certificateId)
  return facts !== undefined && (await isUsable(db, facts, now)).isUsable ? undefined : 'gatewayNotInUse'
}

async function refusedSpeaker(
  db: Queries,
  { role, device_id: deviceId }: UsableRow,
  { another }: CertificateFacts,
  now: number,
): Promise<Reason | undefined> {
  if (role !== 'proxied') return undefined
  const gateway = await gatewayOf(db, deviceId)
  return gateway === undefined ? 'gatewayNotBound' : refusedStandingOf(db, gateway, another, now)
}

interface UsableRow extends Row {
  readonly device_id: string
  readonly role: CertificateRole
  readonly epoch: number
  readonly area_id: string | null
  readonly standing: CertificateStanding
  readonly state: DeviceState
  readonly device_epoch: number
  readonly device_area: string | null
  readonly next_area_id: string | null
  readonly missing: number
  readonly is_clone: number
}

function refusedByIssuer({ status, isIssuerEnabled, notBefore, notAfter }: CertificateFacts, now: number): Reason | undefined {
  if (!['active', 'superseded', 'issued-unconfirmed'].includes(status))
    return status === 'held' ? 'certificateHeld' : status === 'expired' ? 'certificateExpired' : 'certificateRevoked'
  if (now < notBefore) return 'certificateNotYet'
  if (now > notAfter) return 'certificateExpired'
  return isIssuerEnabled ? undefined : 'issuerNotEnabled'
}

/** Where a device may still show who it is by its birth certificate: to its next owner, and to get its next certificate. */
const BIRTH_IN: ReadonlySet<DeviceState> = new Set<DeviceState>([
  'born',
  'released',
  'shipped',
  'offered',
  'claimed',
  'onboarding',
  'active',
  'area-change',
  'transfer-pending',
])

function refusedByDevice(row: UsableRow): Reason | undefined {
  const standing = refusedStanding(row)
  if (standing !== undefined) return standing
  if (row.role === 'birth') return BIRTH_IN.has(row.state) ? undefined : 'deviceNotInUse'
  if (!statesInUse.has(row.state)) return 'deviceNotInUse'
  if (row.epoch !== row.device_epoch) return 'certificateOfOtherEpoch'
  const areas = [row.device_area, ...(row.state === 'area-change' && row.standing === 'issued' ? [row.next_area_id] : [])]
  return areas.includes(row.area_id) ? undefined : 'certificateOfOtherArea'
}

function refusedStanding({ standing, is_clone: isClone, missing }: UsableRow): Reason | undefined {
  if (standing === 'former') return 'certificateReplaced'
  if (isClone === 1) return 'deviceCloned'
  return missing > 0 ? 'deviceMissing' : undefined
}
