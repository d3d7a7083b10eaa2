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
import type { DeviceState } from './states.ts'

/** What the CA knows. */
export interface CertificateFacts {
  readonly certificateId: string
  /** Of its record; `active` and `issued-unconfirmed` count as good, and `superseded` until its successor was seen in use. */
  readonly status: string
  readonly isIssuerEnabled: boolean
  readonly notBefore: number
  readonly notAfter: number
}

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
  const reason = row === undefined ? 'deviceCertificateUnknown' : (refusedByIssuer(facts, now) ?? refusedByDevice(row))
  if (row === undefined || reason !== undefined) return { isUsable: false, reason: reason as Reason, deviceId: row?.device_id }
  return { isUsable: true, deviceId: row.device_id, role: row.role, isFirst: row.standing === 'issued' }
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

/** Where the operational certificates of a device are good for something. */
const OPERATIONAL_IN: ReadonlySet<DeviceState> = new Set<DeviceState>(['onboarding', 'active', 'area-change'])
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
  if (!OPERATIONAL_IN.has(row.state)) return 'deviceNotInUse'
  if (row.epoch !== row.device_epoch) return 'certificateOfOtherEpoch'
  const areas = [row.device_area, ...(row.state === 'area-change' && row.standing === 'issued' ? [row.next_area_id] : [])]
  return areas.includes(row.area_id) ? undefined : 'certificateOfOtherArea'
}

function refusedStanding({ standing, is_clone: isClone, missing }: UsableRow): Reason | undefined {
  if (standing === 'former') return 'certificateReplaced'
  if (isClone === 1) return 'deviceCloned'
  return missing > 0 ? 'deviceMissing' : undefined
}
