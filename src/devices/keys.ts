/** Keys of devices: each belongs to one device for good, whatever it is used for. @module */
import { TrustError } from '#base/errors.ts'
import { uuidv7 } from '#base/world.ts'
import type { Step } from '#store/batch.ts'
import type { DevicesContext } from './context.ts'
import type { Device, KeyOrigin, KeyPurpose } from './device.ts'

export interface NewDeviceKey {
  /** SHA-256 of the SubjectPublicKeyInfo. */
  readonly keyHash: Uint8Array
  readonly purpose: KeyPurpose
  readonly origin: KeyOrigin
}

/** They end with TrustError `conflict` when the key is another device's, and do nothing when it is this device's already. */
export const stepsToUseKey = (
  { world, organizationId }: DevicesContext,
  { id }: Pick<Device, 'id'>,
  { keyHash, purpose, origin }: NewDeviceKey,
): readonly Step[] => [
  {
    sql: `INSERT INTO device_key (id, organization_id, version, device_id, key_hash, purpose, origin, created_at)
        VALUES (?, ?, 1, ?, ?, ?, ?, ?) ON CONFLICT (key_hash) DO NOTHING`,
    parameters: [uuidv7(world), organizationId, id, keyHash, purpose, origin, world.clock.now()],
  },
  {
    sql: 'SELECT device_id FROM device_key WHERE key_hash = ?',
    parameters: [keyHash],
    expects: { device_id: id },
    refusal: () => new TrustError('conflict', 'deviceKeyTaken', { facts: { key: keyHash.toHex() } }),
  },
]
