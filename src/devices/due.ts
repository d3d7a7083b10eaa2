/**
 * What the CA has to be told when a device changed: certificates are held, released and revoked after the change, which noted it.
 *
 * A process that ends in between leaves the note; whoever comes next tells the CA. Nobody has to wait for it to refuse the
 * device: its state is asked at each connection.
 *
 * @module
 */
import type { Queries, Row } from '#store/database.ts'
import type { CertificateRole } from './certificates.ts'
import type { DevicesContext } from './context.ts'
import type { DeviceState } from './states.ts'
import { gatewayOf } from './usable.ts'

/** The CA, as far as this room needs it. Each does nothing when it is so already, or the certificate is not the CA's own. */
export interface CertificateStates {
  hold(certificateId: string): Promise<void>
  release(certificateId: string): Promise<void>
  revoke(certificateId: string, reason: 'affiliationChanged' | 'cessationOfOperation'): Promise<void>
}

/** `standing`: held or released as it is found then, of a certificate that two devices decide on. */
type Due = 'hold' | 'release' | 'standing' | 'affiliationChanged' | 'cessationOfOperation'

const BATCH = 100
const DUE_QUERY = 'SELECT certificate_id FROM device_certificate WHERE due IS NOT NULL ORDER BY certificate_id LIMIT ?'

/** @returns how many certificates it told of; call again while there are some */
export async function tellDue(context: Pick<DevicesContext, 'db' | 'world'>, states: CertificateStates): Promise<number> {
  const due = await context.db.query<{ certificate_id: string }>(DUE_QUERY, BATCH)
  for (const { certificate_id: id } of due) await tell(context, states, id)
  return due.length
}

/**
 * Another process may tell of the same certificate, and of an older note after this: whoever finds that the row has moved on
 * while it told looks again, so that what is told last is what holds.
 */
async function tell({ db, world }: Pick<DevicesContext, 'db' | 'world'>, states: CertificateStates, id: string): Promise<void> {
  for (let mustTell = false; ; mustTell = true) {
    const [row] = await db.query<DueRow>(
      `SELECT c.version, c.due, c.standing, c.role, c.device_id, d.state FROM device_certificate c JOIN device d ON d.id = c.device_id
        WHERE c.certificate_id = ?`,
      id,
    )
    if (row === undefined || (row.due === null && !mustTell)) return
    const due = row.due === null || row.due === 'standing' ? await asItStands(db, row) : row.due
    if (due === 'hold') await states.hold(id)
    else if (due === 'release') await states.release(id)
    else if (due !== undefined) await states.revoke(id, due)
    world.faults.reach('CA told of a device')
    const settled = await db.transaction((tx) =>
      tx.query(
        'UPDATE device_certificate SET due = NULL, version = version + 1 WHERE certificate_id = ? AND version = ? RETURNING version',
        ...[id, row.version],
      ),
    )
    if (settled.length > 0) return
  }
}

interface DueRow extends Row {
  readonly version: number
  readonly due: Due | null
  readonly standing: string
  readonly role: CertificateRole
  readonly device_id: string
  readonly state: DeviceState
}

/** A revocation stays whatever is told later, so only holding and releasing can have crossed. */
async function asItStands(
  db: Queries,
  { standing, state, role, device_id: deviceId }: DueRow,
): Promise<'hold' | 'release' | undefined> {
  if (standing === 'former') return undefined
  if (state === 'suspended' || state === 'quarantined' || state === 'transfer-pending') return 'hold'
  if (role !== 'proxied') return 'release'
  const gateway = await gatewayOf(db, deviceId)
  return gateway !== undefined && gateway.reason === undefined ? 'release' : 'hold'
}
