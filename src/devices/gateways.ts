/**
 * Gateways: who speaks for whom. A device without an identity of its own, or that nobody but its gateway sees, is bound to one
 * gateway, which may act for it while both stand: same owner, same area or a conduit from the gateway's, and the gateway's own
 * certificate usable. `usable.ts` asks that each time.
 *
 * What the gateway may do is a list that its owner signs: whole each time, with the next number and the hash of the one before, so
 * that no older one passes for the newest. A device that moves, to another gateway or another port, is bound anew, which more than
 * one person has to want: nothing but this list says which machine is meant.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import { uuidv7 } from '#base/world.ts'
import { toBase64url } from '#jose/base64url.ts'
import { keep, type Step } from '#store/batch.ts'
import { messageStatement } from '#store/outbox.ts'
import type { Queries, Row } from '#store/database.ts'
import { stillAsRead } from './change.ts'
import { type Device, objectOf, openDevice, PROXIED_ASSURANCE_MAX } from './device.ts'
import { openOrganization } from './organizations.ts'
import type { OwnershipContext } from './ownership/context.ts'
import { currentKey, openKey } from './ownership/parties.ts'
import { BOUND_MAX, hashOf, signStatement } from './ownership/statement.ts'
import { decide } from './rules.ts'
import { checkSpeaks } from './speakers.ts'
import { statesInUse, terminalStates } from './states.ts'

/** Where a device hangs, as its owner's people noted it. */
export interface Place {
  /** `rs485-1/unit 7` */
  readonly port: string
  /** What it is known by there: an address, a hash of its nameplate; empty where nothing is known. */
  readonly fingerprint: string
  /** 0 when nobody knows what it is, 1 when the gateway vouches for it. Whatever is better known speaks for itself. */
  readonly assurance: 0 | 1
}

export interface Bound extends Place {
  readonly deviceId: string
  readonly manufacturer: string
  readonly productSerial: string
  /** Of its ownership, when it was bound. */
  readonly epoch: number
  readonly boundAt: number
}

export interface BindingList {
  readonly gatewayId: string
  /** 0 before the first. */
  readonly number: number
  /** What the owner signed (JWS); undefined before the first. */
  readonly statement: string | undefined
  readonly devices: readonly Bound[]
}

export interface WantedBinding extends Place {
  readonly deviceId: string
}

/** @returns whom it speaks for by the newest list @throws TrustError `notFound`, `policyRefused` for what is no gateway */
export async function bindingsOf(context: OwnershipContext, gatewayId: string): Promise<BindingList> {
  return listOf(context, await openGateway(context, gatewayId))
}

/** Which of these were bound elsewhere before, or otherwise: binding them is a move. */
export async function movedAmong({ db }: Pick<OwnershipContext, 'db'>, gatewayId: string, wanted: readonly WantedBinding[]) {
  const moved: string[] = []
  for (const one of wanted) {
    const last = await lastBinding(db, one.deviceId)
    if (last !== undefined && !(last.gateway_id === gatewayId && isSamePlace(placeOf(last), one))) moved.push(one.deviceId)
  }
  return moved
}

/**
 * From now on the gateway speaks for them. What another gateway has of them is revoked, and its list is signed anew without them.
 *
 * @param by `isAgreed`: that others agreed, as a move needs
 * @throws TrustError `forbidden`, `policyRefused`, `conflict`, `quotaExceeded`, `notFound`
 */
export async function bindDevices(
  context: OwnershipContext,
  { gatewayId, wanted }: { readonly gatewayId: string; readonly wanted: readonly WantedBinding[] },
  by: { readonly actor: string; readonly isAgreed: boolean },
): Promise<BindingList> {
  const { db } = context
  const gateway = await openGateway(context, gatewayId)
  await checkOwns(context, gateway, by.actor)
  if (gateway.flags.length > 0 || !BINDS_IN.has(gateway.state)) throw new TrustError('conflict', 'gatewayNotInUse')
  const ids = new Set(wanted.map(({ deviceId }) => deviceId))
  if (ids.size < wanted.length) throw new TrustError('malformed', 'gatewayDeviceTwice')
  const moved = await movedAmong(context, gatewayId, wanted)
  const act = moved.length > 0 ? 'gateway.move' : 'gateway.bind'
  const devices = await Promise.all([...ids].map((id) => openDevice(context, db, id)))
  for (const device of devices) await checkAdmitted(db, gateway, device)
  if (!decide(act, new Set(['asker-owns', 'gateway-admits', ...(by.isAgreed ? (['agreed'] as const) : [])])).isAllowed)
    throw new TrustError('forbidden', 'gatewayMoveAgreed')

  const before = await listOf(context, gateway)
  const kept = before.devices.filter(({ deviceId }) => !ids.has(deviceId))
  if (kept.length + wanted.length > BOUND_MAX)
    throw new TrustError('quotaExceeded', 'gatewayFull', { facts: { limit: BOUND_MAX } })
  const same = before.devices.filter((bound) => wanted.some((one) => one.deviceId === bound.deviceId && isSamePlace(one, bound)))
  if (same.length === wanted.length) return before
  const others = await holdersOf(context, [...ids], gatewayId)
  const now = context.world.clock.now()
  const added = await Promise.all(devices.map((device, at) => boundOf(context, device, wanted[at] as WantedBinding, now)))
  const changing = added.filter(({ deviceId }) => !same.some((one) => one.deviceId === deviceId))
  const steps = [
    stillAsRead(gateway),
    ...devices.map(stillAsRead),
    ...changing.flatMap(({ deviceId }) => stepsToUnbind(context, deviceId)),
    ...changing.map((bound) => stepToBind(context, gateway, bound)),
    ...(await stepsToSign(context, gateway, before, [...kept, ...added])),
    ...changing.flatMap(({ deviceId, port }) => stepsToNote(context, act, gateway, { deviceId, port, actor: by.actor })),
  ]
  for (const other of others) {
    const list = await listOf(context, other)
    const rest = list.devices.filter(({ deviceId }) => !ids.has(deviceId))
    if (other.ownerId === gateway.ownerId) steps.push(...(await stepsToSign(context, other, list, rest)))
  }
  await keep(db, steps)
  return bindingsOf(context, gatewayId)
}

/** It speaks for them no more, and what it has of them is revoked. @throws TrustError `forbidden`, `conflict`, `notFound` */
export async function unbindDevices(
  context: OwnershipContext,
  { gatewayId, deviceIds }: { readonly gatewayId: string; readonly deviceIds: readonly string[] },
  actor: string,
): Promise<BindingList> {
  const gateway = await openGateway(context, gatewayId)
  await checkOwns(context, gateway, actor)
  const before = await listOf(context, gateway)
  const ids = new Set(deviceIds)
  const gone = before.devices.filter(({ deviceId }) => ids.has(deviceId))
  if (gone.length < ids.size) throw new TrustError('notFound', 'gatewayNotBound')
  const rest = before.devices.filter(({ deviceId }) => !ids.has(deviceId))
  await keep(context.db, [
    stillAsRead(gateway),
    ...gone.flatMap(({ deviceId }) => stepsToUnbind(context, deviceId)),
    ...(await stepsToSign(context, gateway, before, rest)),
    ...gone.flatMap(({ deviceId, port }) => stepsToNote(context, 'gateway.unbind', gateway, { deviceId, port, actor })),
  ])
  return bindingsOf(context, gatewayId)
}

/** States in which a gateway is given devices: it has an owner, and is not held. */
const BINDS_IN: ReadonlySet<Device['state']> = new Set<Device['state']>(['claimed', ...statesInUse])

async function openGateway(context: OwnershipContext, id: string): Promise<Device> {
  const gateway = await openDevice(context, context.db, id)
  if (gateway.kind !== 'gateway') throw new TrustError('policyRefused', 'gatewayKind')
  return gateway
}

async function checkOwns({ db }: OwnershipContext, { ownerId }: Device, actor: string): Promise<void> {
  if (ownerId === undefined) throw new TrustError('conflict', 'gatewayOtherOwner')
  await checkSpeaks(db, await openOrganization(db, ownerId), actor)
}

async function checkAdmitted(db: Queries, gateway: Device, device: Device): Promise<void> {
  if (device.kind === 'gateway') throw new TrustError('policyRefused', 'gatewayOfGateway')
  if (device.ownerId === undefined || device.ownerId !== gateway.ownerId)
    throw new TrustError('policyRefused', 'gatewayOtherOwner')
  if (device.flags.length > 0 || device.state === 'quarantined' || terminalStates.includes(device.state))
    throw new TrustError('policyRefused', 'deviceNotInUse')
  if (device.assurance > PROXIED_ASSURANCE_MAX) throw new TrustError('policyRefused', 'gatewayNotNeeded')
  if (device.areaId === undefined || device.areaId === gateway.areaId) return
  const conduits = await db.query(
    'SELECT id FROM area_conduit WHERE from_area_id = ? AND to_area_id = ? LIMIT 1',
    ...[gateway.areaId ?? '', device.areaId],
  )
  if (conduits.length === 0) throw new TrustError('policyRefused', 'gatewayOtherArea')
}

interface BindingRow extends Row {
  readonly gateway_id: string
  readonly port: string
  readonly fingerprint: string
  readonly assurance: 0 | 1
}

const placeOf = ({ port, fingerprint, assurance }: BindingRow): Place => ({ port, fingerprint, assurance })
const isSamePlace = (one: Place, other: Place): boolean =>
  one.port === other.port && one.fingerprint === other.fingerprint && one.assurance === other.assurance

/** Of this owner: the next one begins anew. Who unbinds it in between moves it all the same. */
async function lastBinding(db: Queries, deviceId: string): Promise<BindingRow | undefined> {
  const [row] = await db.query<BindingRow>(
    `SELECT b.gateway_id, b.port, b.fingerprint, b.assurance FROM gateway_binding b JOIN device d ON d.id = b.device_id
      WHERE b.device_id = ? AND b.device_epoch = d.epoch ORDER BY b.opened_at DESC, b.id DESC LIMIT 1`,
    deviceId,
  )
  return row
}

/** The bindings that were made under the owners that both have now; others are void, and leave with the next list. */
async function listOf({ db }: OwnershipContext, { id, epoch }: Device): Promise<BindingList> {
  const [list] = await db.query<{ number: number; statement: string }>(
    'SELECT number, statement FROM gateway_list WHERE gateway_id = ? ORDER BY number DESC LIMIT 1',
    id,
  )
  const rows = await db.query<
    BindingRow & { device_id: string; epoch: number; maker: string; serial: string; opened_at: number }
  >(
    `SELECT b.device_id, b.gateway_id, b.port, b.fingerprint, b.assurance, b.opened_at, d.epoch, o.name AS maker,
        d.product_serial AS serial
      FROM gateway_binding b JOIN device d ON d.id = b.device_id JOIN organization o ON o.id = d.manufacturer_id
      WHERE b.gateway_id = ? AND b.closed_at IS NULL AND b.gateway_epoch = ? AND b.device_epoch = d.epoch ORDER BY b.opened_at, b.id`,
    ...[id, epoch],
  )
  return {
    ...{ gatewayId: id, number: list?.number ?? 0, statement: list?.statement },
    devices: rows.map((row) => ({
      ...{ deviceId: row.device_id, manufacturer: row.maker, productSerial: row.serial, epoch: row.epoch },
      ...{ ...placeOf(row), boundAt: row.opened_at },
    })),
  }
}

/** Other gateways that have some of them. */
async function holdersOf(context: OwnershipContext, deviceIds: readonly string[], but: string): Promise<readonly Device[]> {
  const rows = await context.db.query<{ gateway_id: string }>(
    `SELECT DISTINCT gateway_id FROM gateway_binding WHERE closed_at IS NULL AND gateway_id <> ?
      AND device_id IN (${deviceIds.map(() => '?').join(', ')})`,
    ...[but, ...deviceIds],
  )
  return Promise.all(rows.map(({ gateway_id: id }) => openDevice(context, context.db, id)))
}

async function boundOf(
  { db }: OwnershipContext,
  { id, manufacturerId, productSerial, epoch }: Device,
  { port, fingerprint, assurance }: WantedBinding,
  boundAt: number,
): Promise<Bound> {
  const { name: manufacturer } = await openOrganization(db, manufacturerId)
  return { deviceId: id, manufacturer, productSerial, epoch, port, fingerprint, assurance, boundAt }
}

const stepToBind = (
  { world, organizationId }: OwnershipContext,
  { id, epoch }: Device,
  { deviceId, epoch: deviceEpoch, port, fingerprint, assurance, boundAt }: Bound,
): Step => ({
  sql: `INSERT INTO gateway_binding (id, organization_id, version, device_id, gateway_id, device_epoch, gateway_epoch, port, fingerprint,
      assurance, opened_at, closed_at) VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, NULL)`,
  parameters: [uuidv7(world), organizationId, deviceId, id, deviceEpoch, epoch, port, fingerprint, assurance, boundAt],
  refusal: () => new TrustError('conflict', 'gatewayListChanged'),
})

/** The key of what it had is the gateway's: it is revoked, whoever speaks for the device next. */
const stepsToUnbind = ({ world }: OwnershipContext, deviceId: string): readonly Step[] => [
  {
    sql: 'UPDATE gateway_binding SET closed_at = ?, version = version + 1 WHERE device_id = ? AND closed_at IS NULL',
    parameters: [world.clock.now(), deviceId],
  },
  {
    sql: `UPDATE device_certificate SET version = version + 1, standing = 'former', due = 'affiliationChanged'
        WHERE device_id = ? AND role = 'proxied' AND standing <> 'former'`,
    parameters: [deviceId],
  },
]

/** Of two who change the same list, the second finds its number taken. */
async function stepsToSign(
  context: OwnershipContext,
  gateway: Device,
  { number: last, statement: previous }: BindingList,
  bound: readonly Bound[],
): Promise<readonly Step[]> {
  const { db, world, organizationId } = context
  const key = await openKey(context, await currentKey(context, await openOrganization(db, gateway.ownerId ?? '')))
  const number = last + 1
  const issuedAt = world.clock.now()
  const { statement, hash } = await signStatement(
    'binding',
    {
      ...{ version: 1, gateway: await birthKeyOf(db, gateway), epoch: gateway.epoch, number },
      ...(previous !== undefined && { previous: hashOf(previous) }),
      devices: bound.map(({ manufacturer, productSerial, epoch, port, fingerprint, assurance }) => ({
        ...{ manufacturer, productSerial, epoch, port, ...(fingerprint !== '' && { fingerprint }), assurance },
      })),
      issuedAt,
    },
    key,
  )
  return [
    {
      sql: `INSERT INTO gateway_list (id, organization_id, gateway_id, number, epoch, statement, hash, created_at)
          VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
      parameters: [uuidv7(world), organizationId, gateway.id, number, gateway.epoch, statement, hash, issuedAt],
      refusal: () => new TrustError('conflict', 'gatewayListChanged'),
    },
  ]
}

async function birthKeyOf(db: Queries, { id }: Device): Promise<string> {
  const [row] = await db.query<{ key_hash: Uint8Array }>('SELECT key_hash FROM birth_record WHERE device_id = ?', id)
  if (row === undefined) throw new TrustError('policyRefused', 'gatewayNotBorn')
  return toBase64url(row.key_hash)
}

/** The audit entry, and the message for whoever holds a connection of the device. */
const stepsToNote = (
  { world, audit, organizationId }: OwnershipContext,
  act: string,
  gateway: Device,
  { deviceId, port, actor }: { readonly deviceId: string; readonly port: string; readonly actor: string },
): readonly Step[] => [
  audit.statement({ actor, act, object: objectOf({ id: deviceId }), outcome: 'done', facts: { gateway: gateway.id, port } }),
  messageStatement(world, { topic: `device.${act}`, organization: organizationId, payload: { device: deviceId } }),
]
