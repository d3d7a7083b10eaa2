/** The doors that devices come to: tenants of the DDI address, and the tokens of devices that have no certificate to show. @module */
import { createHash, timingSafeEqual } from 'node:crypto'
import { utf8 } from '#base/bytes.ts'
import { TrustError } from '#base/errors.ts'
import { uuidv7 } from '#base/world.ts'
import { keep } from '#store/batch.ts'
import type { Queries, Row } from '#store/database.ts'
import type { CampaignsContext, KnownDevice } from './context.ts'

export interface Tenant {
  readonly name: string
  readonly pollingSeconds: number
  /** Whether devices may come with a token alone: off unless an officer turned it on. */
  readonly takesTokens: boolean
  readonly state: 'enabled' | 'disabled'
}

export const TENANT_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/
export const pollingSeconds = { least: 1, most: 86_400 } as const

const TOKEN_OCTETS = 32

/** Makes it, or changes what is told of it. @throws TrustError `malformed` */
export async function putTenant(
  { db, audit, world, organizationId }: CampaignsContext,
  { name, pollingSeconds: seconds, takesTokens, state }: Tenant,
  actor: string,
): Promise<void> {
  if (!TENANT_NAME.test(name) || seconds < pollingSeconds.least || seconds > pollingSeconds.most)
    throw new TrustError('malformed', 'tenantMalformed')
  await keep(db, [
    {
      sql: `INSERT INTO ddi_tenant (id, organization_id, version, name, polling_seconds, takes_tokens, state, created_at)
          VALUES (?, ?, 1, ?, ?, ?, ?, ?)
          ON CONFLICT (name) DO UPDATE SET polling_seconds = excluded.polling_seconds, takes_tokens = excluded.takes_tokens,
          state = excluded.state, version = ddi_tenant.version + 1 WHERE ddi_tenant.organization_id = excluded.organization_id
          RETURNING organization_id`,
      parameters: [uuidv7(world), organizationId, name, seconds, takesTokens ? 1 : 0, state, world.clock.now()],
      expects: { organization_id: organizationId },
      refusal: () => new TrustError('conflict', 'tenantTaken', { facts: { tenant: name } }),
    },
    audit.statement({
      ...{ actor, act: 'ddi.tenant', object: `tenant:${name}`, outcome: 'done' },
      facts: { pollingSeconds: seconds, takesTokens, state },
    }),
  ])
}

export async function listTenants({ db, organizationId }: CampaignsContext): Promise<readonly Tenant[]> {
  return (await db.query('SELECT * FROM ddi_tenant WHERE organization_id = ? ORDER BY name', organizationId)).map(tenantOf)
}

/** @throws TrustError `notFound` also for one that is disabled */
export async function openTenant(db: Queries, organizationId: string, name: string): Promise<Tenant> {
  const [row] = await db.query('SELECT * FROM ddi_tenant WHERE name = ? AND organization_id = ?', name, organizationId)
  const tenant = row && tenantOf(row)
  if (tenant?.state !== 'enabled') throw new TrustError('notFound', 'tenantUnknown')
  return tenant
}

const tenantOf = (row: Row): Tenant => ({
  name: row['name'] as string,
  pollingSeconds: row['polling_seconds'] as number,
  takesTokens: row['takes_tokens'] === 1,
  state: row['state'] as Tenant['state'],
})

const hashOf = (token: string): Uint8Array => new Uint8Array(createHash('sha256').update(utf8(token)).digest())

/** A new one, for as long as the device has its owner; the one before ends. Kept as a hash alone. @throws TrustError `notFound` */
export async function createToken(
  { db, audit, world, organizationId, devices }: CampaignsContext,
  deviceId: string,
  actor: string,
): Promise<string> {
  const epoch = await devices.epochOf(deviceId)
  const token = world.random.octets(TOKEN_OCTETS).toBase64({ alphabet: 'base64url', omitPadding: true })
  await keep(db, [
    {
      sql: `INSERT INTO ddi_token (device_id, organization_id, version, token_hash, epoch, created_at) VALUES (?, ?, 1, ?, ?, ?)
          ON CONFLICT (device_id) DO UPDATE SET token_hash = excluded.token_hash, epoch = excluded.epoch,
          created_at = excluded.created_at, version = ddi_token.version + 1`,
      parameters: [deviceId, organizationId, hashOf(token), epoch, world.clock.now()],
    },
    audit.statement({ actor, act: 'ddi.token', object: `device:${deviceId}`, outcome: 'done', facts: {} }),
  ])
  return token
}

/** Nothing tells a wrong token from a device that has none. @throws TrustError `unauthenticated` */
export async function deviceOfToken(
  { db, devices }: Pick<CampaignsContext, 'db' | 'devices'>,
  name: string,
  token: string,
): Promise<KnownDevice> {
  const hash = hashOf(token)
  let found: KnownDevice | undefined
  for (const device of await devices.named(name)) {
    const [row] = await db.query<{ token_hash: Uint8Array }>(
      'SELECT token_hash FROM ddi_token WHERE device_id = ? AND epoch = ?',
      ...[device.deviceId, device.epoch],
    )
    if (row !== undefined && timingSafeEqual(row.token_hash, hash)) found = device
  }
  if (found === undefined) throw new TrustError('unauthenticated', 'targetTokenWrong')
  return found
}
