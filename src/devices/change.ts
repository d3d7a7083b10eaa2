/**
 * Changes of a device: every one goes through the table of `states.ts`, makes a new version, and leaves an event.
 *
 * A change is a list of steps, so that it can be kept together with what it rests on: a certificate, a birth, an entry of an
 * ownership chain. The steps only hold for the version of the device that they were made from.
 *
 * @module
 */
import { type Facts, TrustError } from '#base/errors.ts'
import { uuidv7 } from '#base/world.ts'
import { keep, type Step } from '#store/batch.ts'
import { messageStatement } from '#store/outbox.ts'
import type { DevicesContext } from './context.ts'
import { type AssuranceLevel, type Device, type DeviceFlag, deviceFlags, objectOf, openDevice } from './device.ts'
import { type CertificatesAfter, type DeviceAct, type DeviceState, deviceSteps, statesInUse } from './states.ts'

export interface Change {
  readonly act: DeviceAct
  readonly actor: string
  /** The next owner, of `claim` and `complete`: a new epoch begins. */
  readonly ownerId?: string
  /** Of `onboard`, and the next one of `change-area`. */
  readonly areaId?: string
  /** Of `bear`, and where a new key is proven better or worse. */
  readonly assurance?: AssuranceLevel
  /** For the event and the audit log: no secrets, nothing personal. */
  readonly facts?: Facts
}

interface Next {
  readonly device: Device
  readonly certificates: CertificatesAfter
}

/** @returns what the device is afterwards @throws TrustError `conflict` when its state does not allow the act */
export function changed(device: Device, change: Change, now: number): Next {
  const { act } = change
  const step = deviceSteps.find((one) => one.act === act && one.from.includes(device.state))
  if (step === undefined) throw new TrustError('conflict', 'deviceState', { facts: { state: device.state, act } })
  const state = step.to === 'before' ? stateBefore(device) : step.to
  const isHeldStill = step.certificates === 'release' && !statesInUse.has(state)
  return {
    device: {
      ...device,
      ...detailsOf(device, change),
      state,
      quarantinedFrom: act === 'quarantine' ? device.state : undefined,
      givenFrom: givenFrom(device, change),
      assurance: change.assurance ?? device.assurance,
      version: device.version + 1,
      changedAt: now,
    },
    certificates: isHeldStill ? 'keep' : step.certificates,
  }
}

const stateBefore = ({ state, quarantinedFrom, givenFrom }: Device): DeviceState => {
  const before = state === 'quarantined' ? quarantinedFrom : givenFrom
  if (before === undefined) throw new TypeError(`a device that is ${state} does not know what it was`)
  return before
}

/** Kept through a quarantine: a transfer may go on afterwards. */
function givenFrom({ state, givenFrom: before }: Device, { act }: Change): DeviceState | undefined {
  if (act === 'offer' || act === 'transfer') return state
  return act === 'quarantine' || act === 'clear' ? before : undefined
}

type Details = Partial<Pick<Device, 'epoch' | 'ownerId' | 'areaId' | 'nextAreaId'>>

function detailsOf({ epoch, nextAreaId }: Device, { act, ownerId, areaId }: Change): Details {
  const needed = (value: string | undefined): string => {
    if (value === undefined) throw new TypeError(`${act} names no owner or area`)
    return value
  }
  switch (act) {
    case 'claim':
    case 'complete':
      return { epoch: epoch + 1, ownerId: needed(ownerId), areaId: undefined, nextAreaId: undefined }
    case 'onboard':
      return { areaId: needed(areaId) }
    case 'leave':
      return { areaId: undefined }
    case 'change-area':
      return { nextAreaId: needed(areaId) }
    case 'settle-area':
      return { areaId: needed(nextAreaId), nextAreaId: undefined }
    case 'stay':
    case 'transfer':
      return { nextAreaId: undefined }
    default:
      return {}
  }
}

/**
 * They end with TrustError `conflict` when the device is no longer as it was read.
 *
 * @throws TrustError `conflict` when the state of the device does not allow the act
 */
export function stepsToChange(context: DevicesContext, device: Device, change: Change): readonly Step[] {
  const { device: next, certificates } = changed(device, change, context.world.clock.now())
  return [
    updateStep(device, next),
    ...stepsToNote(context, device, next, change),
    ...(next.epoch === device.epoch ? [] : stepsToOpenEpoch(context, next)),
    ...(next.areaId === device.areaId ? [] : stepsToAssign(context, next)),
    ...stepsForCertificates(device, next, certificates),
    ...stepsForSpokenFor(device),
  ]
}

/** Does it now. @throws TrustError `notFound`, `conflict` */
export async function changeState(context: DevicesContext, id: string, change: Change): Promise<Device> {
  const device = await openDevice(context, context.db, id)
  await keep(context.db, stepsToChange(context, device, change))
  return openDevice(context, context.db, id)
}

/** Says that a device is lost, stolen or a clone, or takes it back. Does nothing when it is said already. */
export async function setFlag(
  context: DevicesContext,
  id: string,
  { flag, isSet, actor }: { readonly flag: DeviceFlag; readonly isSet: boolean; readonly actor: string },
): Promise<Device> {
  const device = await openDevice(context, context.db, id)
  if (device.flags.includes(flag) === isSet) return device
  await keep(context.db, stepsToFlag(context, device, { flag, isSet, actor }))
  return openDevice(context, context.db, id)
}

/** They end with TrustError `conflict` when the device is no longer as it was read. */
export function stepsToFlag(
  context: DevicesContext,
  device: Device,
  { flag, isSet, actor }: { readonly flag: DeviceFlag; readonly isSet: boolean; readonly actor: string },
): readonly Step[] {
  const flags = deviceFlags.filter((one) => (one === flag ? isSet : device.flags.includes(one)))
  const next: Device = { ...device, flags, version: device.version + 1, changedAt: context.world.clock.now() }
  const act = isSet ? 'flag' : 'unflag'
  return [
    updateStep(device, next),
    ...stepsToNote(context, device, next, { act, actor, facts: { flag } }),
    ...stepsForSpokenFor(device),
  ]
}

function updateStep({ id, version }: Device, next: Device): Step {
  return {
    sql: `UPDATE device SET version = ?, state = ?, quarantined_from = ?, given_from = ?, assurance = ?, epoch = ?, owner_id = ?,
        area_id = ?, next_area_id = ?, is_lost = ?, is_stolen = ?, is_clone = ?, changed_at = ?
      WHERE id = ? AND version = ? AND epoch <= ? RETURNING version`,
    parameters: [
      ...[next.version, next.state, next.quarantinedFrom ?? null, next.givenFrom ?? null, next.assurance, next.epoch],
      ...[next.ownerId ?? null, next.areaId ?? null, next.nextAreaId ?? null],
      ...deviceFlags.map((flag) => (next.flags.includes(flag) ? 1 : 0)),
      ...[next.changedAt, id, version, next.epoch],
    ],
    expects: { version: next.version },
    refusal: () => new TrustError('conflict', 'deviceChanged'),
  }
}

/** The event, the audit entry, and the message for whoever holds a connection of the device. */
function stepsToNote(
  { world, audit, organizationId }: DevicesContext,
  device: Device,
  next: Device,
  { act, actor, facts = {} }: Pick<Change, 'actor' | 'facts'> & { readonly act: string },
): readonly Step[] {
  const moved = device.state !== next.state
  const all = { ...facts, state: next.state, epoch: next.epoch }
  return [
    eventStep({ world, organizationId }, next, { act, actor, facts, from: moved ? device.state : undefined }),
    audit.statement({ actor, act: `device.${act}`, object: objectOf(device), outcome: 'done', facts: all }),
    messageStatement(world, {
      topic: `device.${act}`,
      organization: organizationId,
      payload: { device: device.id, version: next.version, state: next.state, epoch: next.epoch },
    }),
  ]
}

export interface NewEvent {
  readonly act: string
  readonly actor: string
  readonly facts: Facts
  /** Where the state is another afterwards. */
  readonly from: DeviceState | undefined
}

/** `device_step` refuses a pair of states that do not follow each other; the version of the event, who was too late. */
export const eventStep = (
  { world, organizationId }: Pick<DevicesContext, 'world' | 'organizationId'>,
  { id, version, state, epoch }: Device,
  { act, actor, facts, from }: NewEvent,
): Step => ({
  sql: `INSERT INTO device_event (id, organization_id, device_id, version, act, from_state, to_state, epoch, actor, facts, created_at)
      VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  parameters: [
    ...[uuidv7(world), organizationId, id, version, act, from ?? null, from === undefined ? null : state],
    ...[epoch, actor, JSON.stringify(facts), world.clock.now()],
  ],
  refusal: () => new TrustError('conflict', 'deviceChanged'),
})

const stepsToOpenEpoch = ({ world, organizationId }: DevicesContext, { id, epoch, ownerId }: Device): readonly Step[] => [
  {
    sql: 'UPDATE ownership_epoch SET closed_at = ?, version = version + 1 WHERE device_id = ? AND closed_at IS NULL',
    parameters: [world.clock.now(), id],
  },
  {
    sql: `INSERT INTO ownership_epoch (id, organization_id, version, device_id, epoch, owner_id, opened_at, closed_at)
        VALUES (?, ?, 1, ?, ?, ?, ?, NULL)`,
    parameters: [uuidv7(world), organizationId, id, epoch, ownerId as string, world.clock.now()],
    refusal: () => new TrustError('conflict', 'deviceChanged'),
  },
]

const stepsToAssign = ({ world, organizationId }: DevicesContext, { id, epoch, areaId }: Device): readonly Step[] => [
  {
    sql: 'UPDATE area_assignment SET closed_at = ?, version = version + 1 WHERE device_id = ? AND closed_at IS NULL',
    parameters: [world.clock.now(), id],
  },
  ...(areaId === undefined
    ? []
    : [
        {
          sql: `INSERT INTO area_assignment (id, organization_id, version, device_id, area_id, epoch, opened_at, closed_at)
              VALUES (?, ?, 1, ?, ?, ?, ?, NULL)`,
          parameters: [uuidv7(world), organizationId, id, areaId, epoch, world.clock.now()],
          refusal: () => new TrustError('conflict', 'deviceChanged'),
        },
      ]),
]

/**
 * What the CA has to be told of certificates, noted with the change and told afterwards (`due.ts`). Nothing waits for it: the
 * device's state alone keeps them from being used.
 */
function stepsForCertificates(device: Device, next: Device, after: CertificatesAfter): readonly Step[] {
  const change = `UPDATE device_certificate SET version = version + 1, due = ?`
  const live = "device_id = ? AND standing <> 'former'"
  switch (after) {
    case 'keep':
      return []
    case 'hold':
    case 'release': {
      const due = "CASE WHEN role = 'proxied' THEN 'standing' ELSE ? END" // its gateway has a say in it
      const sql = `UPDATE device_certificate SET version = version + 1, due = ${due} WHERE ${live} AND role <> 'birth'`
      return [{ sql, parameters: [after, device.id] }]
    }
    case 'cessationOfOperation':
      return [{ sql: `${change}, standing = 'former' WHERE ${live}`, parameters: [after, device.id] }]
    case 'affiliationChanged': {
      // those of the area that it is in afterwards stay
      const ours = next.epoch === device.epoch ? (next.areaId ?? '') : ''
      return [
        {
          sql: `${change}, standing = 'former' WHERE ${live} AND role <> 'birth' AND (area_id IS NULL OR area_id <> ?)`,
          parameters: [after, device.id, ours],
        },
      ]
    }
  }
}

/** With each change of a gateway, the CA is told again of the certificates with which it speaks for others. */
const stepsForSpokenFor = ({ id, kind }: Device): readonly Step[] =>
  kind === 'gateway'
    ? [
        {
          sql: `UPDATE device_certificate SET version = version + 1, due = 'standing' WHERE role = 'proxied' AND standing <> 'former'
              AND device_id IN (SELECT device_id FROM gateway_binding WHERE gateway_id = ? AND closed_at IS NULL)`,
          parameters: [id],
        },
      ]
    : []

/** For what rests on a device as it was read: who changes it meanwhile sees all that came of it. */
export const stillAsRead = ({ id, version }: Pick<Device, 'id' | 'version'>): Step => ({
  sql: 'SELECT version FROM device WHERE id = ? FOR SHARE',
  parameters: [id],
  expects: { version },
  refusal: () => new TrustError('conflict', 'deviceChanged'),
})
