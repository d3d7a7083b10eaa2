/**
 * What certificates are to devices: their role, and of which epoch and area. The CA has the certificates themselves.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import type { Step } from '#store/batch.ts'
import { messageStatement } from '#store/outbox.ts'
import { stepsToChange } from './change.ts'
import type { DevicesContext } from './context.ts'
import type { Device } from './device.ts'
import type { DeviceAct } from './states.ts'

/** `proxied`: of a gateway, which speaks for the device with it. */
export type CertificateRole = 'birth' | 'owner' | 'operational' | 'proxied'

/** `issued`: not yet seen in use, while the one before it stays current. */
export type CertificateStanding = 'issued' | 'current' | 'former'

export interface DeviceCertificate {
  /** In the CA's table. */
  readonly certificateId: string
  readonly keyHash: Uint8Array
  readonly role: CertificateRole
  readonly areaId: string | undefined
}

/** To be kept with the certificate itself. An operational one becomes current when it is first seen in use. */
export const stepsToAttach = (
  { world, organizationId }: DevicesContext,
  { id, epoch }: Pick<Device, 'id' | 'epoch'>,
  { certificateId, keyHash, role, areaId }: DeviceCertificate,
): readonly Step[] => [
  {
    sql: `INSERT INTO device_certificate (certificate_id, organization_id, version, device_id, key_hash, role, epoch, area_id, standing, due, created_at)
        VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?, NULL, ?)`,
    parameters: [
      ...[certificateId, organizationId, id, keyHash, role, epoch, areaId ?? null],
      ...[role === 'operational' ? 'issued' : 'current', world.clock.now()],
    ],
    refusal: () => new TrustError('conflict', 'deviceChanged'),
  },
]

/**
 * The device was seen to use this certificate: it is the current one, those before it are not used any more, and the device has
 * arrived where the certificate is for.
 *
 * They end with TrustError `conflict` when the certificate is not one that waits for this, or the device is not as it was read.
 */
export function stepsToConfirm(
  context: DevicesContext,
  device: Device,
  { certificateId, areaId }: Pick<DeviceCertificate, 'certificateId' | 'areaId'>,
  actor: string,
): readonly Step[] {
  const act = arrival(device, areaId)
  const facts = { certificate: certificateId }
  return [
    ...(act === undefined ? [] : stepsToChange(context, device, { act, actor, facts })),
    {
      // not revoked: a CRL would only grow with each renewal, and whoever asks here is told
      sql: `UPDATE device_certificate SET version = version + 1, standing = 'former'
          WHERE device_id = ? AND role = 'operational' AND standing <> 'former' AND certificate_id <> ?`,
      parameters: [device.id, certificateId],
    },
    {
      sql: `UPDATE device_certificate SET version = version + 1, standing = 'current'
          WHERE certificate_id = ? AND device_id = ? AND epoch = ? AND area_id = ? AND role = 'operational' AND standing = 'issued'
          RETURNING standing`,
      parameters: [certificateId, device.id, device.epoch, areaId ?? ''],
      expects: { standing: 'current' },
      refusal: () => new TrustError('conflict', 'certificateNotWaiting'),
    },
    // whoever holds a connection by the certificate before
    messageStatement(context.world, {
      topic: 'device.confirm',
      organization: context.organizationId,
      payload: { device: device.id },
    }),
  ]
}

function arrival({ state, areaId, nextAreaId }: Device, arrivedAt: string | undefined): DeviceAct | undefined {
  if (state === 'onboarding' && arrivedAt === areaId) return 'activate'
  if (state === 'area-change' && arrivedAt === nextAreaId) return 'settle-area'
  if ((state === 'active' || state === 'area-change') && arrivedAt === areaId) return undefined
  throw new TrustError('conflict', 'certificateNotWaiting')
}
