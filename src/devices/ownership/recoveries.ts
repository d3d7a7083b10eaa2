/**
 * Recoveries: a device whose owner cannot be asked gets another, when it is there itself, its maker says so in public, the time to
 * object is over, and nobody who owns it objected.
 *
 * This is the maker's side: its key signs the notice and, after the time, the entry. The owner objects here or with a statement
 * from its own installation, and whoever verifies chains elsewhere may hold the objection against the entry.
 *
 * @module
 */
import { TrustError } from '#base/errors.ts'
import { uuidv7 } from '#base/world.ts'
import { jwkThumbprint } from '#jose/jwk.ts'
import { toBase64url } from '#jose/base64url.ts'
import { keep, type Step } from '#store/batch.ts'
import type { Row } from '#store/database.ts'
import { stepsToChange, stillAsRead } from '../change.ts'
import { type Device, openDevice } from '../device.ts'
import { findOrganization, openOrganization } from '../organizations.ts'
import type { Condition } from '../rules.ts'
import { checkSpeaks } from '../speakers.ts'
import type { OwnershipContext } from './context.ts'
import {
  checkAnswer,
  checkNotice,
  checkObjection,
  checkPresence,
  type Party,
  partyOf,
  type Place,
  placeAfter,
  RECOVERY_WAIT_MIN_DAYS,
  signAnswer,
  signNotice,
  signObjection,
  signRecovery,
  type Standing,
} from './messages.ts'
import { currentKey, findKey, openKey, type PartyKey } from './parties.ts'
import { entryStep, openChain } from './records.ts'
import { keyOf, type Read, readStatement } from './statement.ts'
import { check, checkSpeaksFor, findByName, ownerKey, revokeFormer } from './transfers.ts'

export const recoveryStates = [
  'asked', // the device has to prove that it is there
  'published', // anybody can see it, and the owner may object
  'completing', // the owner's certificates are being revoked: go on with `complete`
  'completed',
  'objected',
  'withdrawn',
] as const
export type RecoveryState = (typeof recoveryStates)[number]

export interface Recovery {
  readonly id: string
  readonly version: number
  readonly deviceId: string
  readonly epoch: number
  readonly claimantId: string
  readonly state: RecoveryState
  readonly nonce: string
  readonly notice: string | undefined
  readonly answer: string | undefined
  readonly objection: string | undefined
  readonly endsAt: number | undefined
  readonly createdAt: number
  readonly changedAt: number
}

const recoveryOf = (row: Row): Recovery => ({
  id: row['id'] as string,
  version: row['version'] as number,
  deviceId: row['device_id'] as string,
  epoch: row['epoch'] as number,
  claimantId: row['claimant_id'] as string,
  state: row['state'] as RecoveryState,
  nonce: row['nonce'] as string,
  notice: (row['notice'] as string | null) ?? undefined,
  answer: (row['answer'] as string | null) ?? undefined,
  objection: (row['objection'] as string | null) ?? undefined,
  endsAt: (row['ends_at'] as number | null) ?? undefined,
  createdAt: row['created_at'] as number,
  changedAt: row['changed_at'] as number,
})

/** @throws TrustError `notFound` */
export async function openRecovery({ db, organizationId }: OwnershipContext, id: string): Promise<Recovery> {
  const [row] = await db.query('SELECT * FROM ownership_recovery WHERE id = ? AND organization_id = ?', id, organizationId)
  if (row === undefined) throw new TrustError('notFound', 'ownershipRecoveryUnknown')
  return recoveryOf(row)
}

const LIST_MAX = 500

/** Several people may claim one device at once, and some ask again since an answer was lost: more is noise. */
const ASKED_OF_DEVICE_MAX = 16
/** A fleet whose owner is bankrupt is claimed device by device; the rows that wait stay few enough to look through. */
const ASKED_BY_CLAIMANT_MAX = 1_000

/** For everybody to see: those that wait come first, however many are asked for after them; then the newest. */
export async function listRecoveries({ db, organizationId }: OwnershipContext): Promise<readonly Recovery[]> {
  const rows = await db.query(
    `SELECT * FROM ownership_recovery WHERE organization_id = ? AND state NOT IN ('asked', 'withdrawn')
      ORDER BY CASE WHEN state IN ('published', 'completing') THEN 0 ELSE 1 END, id DESC LIMIT ?`,
    ...[organizationId, LIST_MAX],
  )
  return rows.map(recoveryOf)
}

/** What the device signs with the key that it was born with, to prove that it is in the hands of who claims it. */
export interface PresenceAsked {
  readonly place: Place
  readonly to: Party
  readonly nonce: string
}

/** @param claimant name of an organization whose key is known @throws TrustError `notFound`, `conflict` for a device without an owner, `quotaExceeded` */
export async function askForRecovery(
  context: OwnershipContext,
  { deviceId, claimant }: { readonly deviceId: string; readonly claimant: string },
  actor: string,
): Promise<{ readonly recovery: Recovery; readonly asked: PresenceAsked }> {
  const { db, world, organizationId, audit } = context
  const device = await openDevice(context, db, deviceId)
  const { name, standing } = await openChain(context, device)
  if (standing === undefined) throw new TrustError('conflict', 'deviceState', { facts: { state: device.state, act: 'recover' } })
  const organization = await findOrganization(context, db, claimant)
  const { key } = await currentKey(context, organization)
  const place = placeAfter(standing, name)
  await checkRoomToAsk(context, { deviceId, claimantId: organization.id, epoch: place.epoch })
  const nonce = toBase64url(world.random.octets(32))
  const now = world.clock.now()
  const id = uuidv7(world)
  await keep(db, [
    {
      sql: `INSERT INTO ownership_recovery (id, organization_id, version, device_id, epoch, claimant_id, state, nonce, notice, answer,
          objection, ends_at, created_at, changed_at) VALUES (?, ?, 1, ?, ?, ?, 'asked', ?, NULL, NULL, NULL, NULL, ?, ?)`,
      parameters: [id, organizationId, deviceId, place.epoch, organization.id, nonce, now, now],
    },
    audit.statement({
      actor,
      act: 'ownership.ask',
      object: `device:${deviceId}`,
      outcome: 'done',
      facts: { recovery: id, claimant },
    }),
  ])
  return { recovery: await openRecovery(context, id), asked: { place, to: partyOf(organization.name, key), nonce } }
}

/** Of an epoch that is over nothing comes any more: such rows do not count. @throws TrustError `quotaExceeded` */
async function checkRoomToAsk(
  { db, organizationId }: OwnershipContext,
  { deviceId, claimantId, epoch }: Pick<Recovery, 'deviceId' | 'claimantId' | 'epoch'>,
): Promise<void> {
  const [ofDevice] = await db.query<{ asked: number }>(
    `SELECT COUNT(*) AS asked FROM ownership_recovery WHERE organization_id = ? AND device_id = ? AND epoch = ? AND state = 'asked'`,
    ...[organizationId, deviceId, epoch],
  )
  const [ofClaimant] = await db.query<{ asked: number }>(
    `SELECT COUNT(*) AS asked FROM ownership_recovery r JOIN device d ON d.id = r.device_id
      WHERE r.organization_id = ? AND r.claimant_id = ? AND r.state = 'asked' AND r.epoch = d.epoch + 1`,
    ...[organizationId, claimantId],
  )
  for (const [what, asked, limit] of [
    ['the device', ofDevice?.asked ?? 0, ASKED_OF_DEVICE_MAX],
    ['the claimant', ofClaimant?.asked ?? 0, ASKED_BY_CLAIMANT_MAX],
  ] as const)
    if (asked >= limit) throw new TrustError('quotaExceeded', 'ownershipClaimsTooMany', { facts: { what, limit } })
}

interface Publishing {
  /** By the device. */
  readonly presence: string
  readonly reason: string
  /** Never less than {@link RECOVERY_WAIT_MIN_DAYS}. */
  readonly waitDays: number
}

const DAY_MILLISECONDS = 86_400_000

/** The maker says in public who claims the device. @throws TrustError `badProof`, `conflict`, `forbidden` */
export async function publishRecovery(
  context: OwnershipContext,
  id: string,
  { presence: statement, reason, waitDays }: Publishing,
  actor: string,
): Promise<Recovery> {
  const { world } = context
  const recovery = await openRecovery(context, id)
  checkState(recovery, ['asked'])
  const { device, standing } = await opened(context, recovery)
  const presence = await checkPresence(standing, statement, { makers: [standing.maker] })
  const claimant = await openOrganization(context.db, recovery.claimantId)
  const { to, nonce } = presence.payload
  const claims = await findKey(context, jwkThumbprint(keyOf(to.key)))
  if (nonce !== recovery.nonce || claims?.partyId !== claimant.id) throw new TrustError('badProof', 'ownershipPresence')
  const maker = await makerKey(context, standing)
  await checkSpeaksFor(context, maker, actor)
  const now = world.clock.now()
  const endsAt = now + Math.max(waitDays, RECOVERY_WAIT_MIN_DAYS) * DAY_MILLISECONDS
  const notice = await signNotice(presence, { reason, publishedAt: now, endsAt }, await openKey(context, maker))
  await keep(context.db, [
    stillAsRead(device),
    moveStep(context, recovery, { state: 'published', notice: notice.statement, endsAt }),
    note(context, 'ownership.publish', recovery, actor),
  ])
  return openRecovery(context, id)
}

async function makerKey(context: OwnershipContext, { maker, product }: Standing): Promise<PartyKey> {
  const found = await findKey(context, jwkThumbprint(maker))
  if (found === undefined)
    throw new TrustError('forbidden', 'ownershipKeyElsewhere', { facts: { organization: product.manufacturer } })
  return found
}

/**
 * The owner objects: with its key here, or by a statement from where it is. What was objected to is over.
 *
 * @throws TrustError `badProof` unless the owner says so, `conflict`
 */
export async function objectTo(
  context: OwnershipContext,
  id: string,
  objecting: { readonly reason: string } | { readonly statement: string },
  actor: string,
): Promise<Recovery> {
  const recovery = await openRecovery(context, id)
  checkState(recovery, ['published'])
  const { device, standing } = await opened(context, recovery)
  const notice = noticeOf(recovery)
  const statement = 'statement' in objecting ? objecting.statement : await objectHere()
  await checkObjection(standing, notice, statement)
  await keep(context.db, [
    moveStep(context, recovery, { state: 'objected', objection: statement }),
    note(context, 'ownership.object', recovery, actor),
  ])
  return openRecovery(context, id)

  async function objectHere(): Promise<string> {
    const { reason } = objecting as { readonly reason: string }
    const owner = await ownerKey(context, device, standing)
    await checkSpeaksFor(context, owner, actor)
    const objectedAt = context.world.clock.now()
    return (await signObjection(notice, { reason, objectedAt }, await openKey(context, owner))).statement
  }
}

/**
 * The owner objects from here to a recovery that the maker published in another installation. What is signed goes there, where anybody
 * may bring it; here it is kept, and held against any chain that comes with that recovery all the same.
 *
 * @param published the maker's notice, as everybody can read it
 * @returns the objection; the same one when it was signed before
 * @throws TrustError `notFound` for a device that is not recorded here, `badProof` for a notice that is not of its chain, `forbidden`
 */
export async function objectElsewhere(
  context: OwnershipContext,
  published: string,
  reason: string,
  actor: string,
): Promise<{ readonly deviceId: string; readonly objection: string }> {
  const { db, world, audit, organizationId } = context
  const { device: name } = readStatement('notice', published).payload
  const device = await findByName(context, name)
  if (device === undefined) throw new TrustError('notFound', 'deviceUnknown', { facts: { device: name } })
  const { standing } = await openChain(context, device)
  if (standing === undefined)
    throw new TrustError('conflict', 'ownershipNoChain', { facts: { epoch: device.epoch, recorded: 0 } })
  const { read: notice } = await checkNotice(standing, published, { makers: [standing.maker], device: name })
  const owner = await ownerKey(context, device, standing)
  await checkSpeaksFor(context, owner, actor)
  const [before] = await db.query<{ statement: string }>(
    'SELECT statement FROM ownership_objection WHERE notice = ?',
    notice.hash,
  )
  if (before !== undefined) return { deviceId: device.id, objection: before.statement }
  const objectedAt = world.clock.now()
  const { statement } = await signObjection(notice, { reason, objectedAt }, await openKey(context, owner))
  await keep(db, [
    {
      sql: 'INSERT INTO ownership_objection (notice, organization_id, device, statement, created_at) VALUES (?, ?, ?, ?, ?)',
      parameters: [notice.hash, organizationId, name, statement, objectedAt],
      refusal: () => new TrustError('conflict', 'ownershipRecoveryOpen'),
    },
    audit.statement({
      actor,
      act: 'ownership.object',
      object: `device:${device.id}`,
      outcome: 'done',
      facts: { notice: notice.hash, epoch: notice.payload.epoch },
    }),
  ])
  return { deviceId: device.id, objection: statement }
}

/** By who speaks for the maker or for the claimant. @throws TrustError `conflict`, `forbidden` */
export async function withdrawRecovery(context: OwnershipContext, id: string, actor: string): Promise<Recovery> {
  const recovery = await openRecovery(context, id)
  checkState(recovery, ['asked', 'published'])
  await checkMayWithdraw(context, recovery, actor)
  await keep(context.db, [
    moveStep(context, recovery, { state: 'withdrawn' }),
    note(context, 'ownership.withdraw', recovery, actor),
  ])
  return openRecovery(context, id)
}

async function checkMayWithdraw(context: OwnershipContext, { deviceId, claimantId }: Recovery, actor: string): Promise<void> {
  const { db } = context
  try {
    await checkSpeaks(db, await openOrganization(db, claimantId), actor)
  } catch (error) {
    if (!(error instanceof TrustError) || error.code !== 'forbidden') throw error
    const { manufacturerId } = await openDevice(context, db, deviceId)
    await checkSpeaks(db, await openOrganization(db, manufacturerId), actor)
  }
}

/**
 * After the time: the former owner's certificates are revoked, the entry is signed, the claimant owns the device. Called again after
 * a stop in between, it goes on.
 *
 * @param given the claimant's answer to the notice, where its key is not here
 */
export async function completeRecovery(
  context: OwnershipContext,
  id: string,
  { answer: given }: { readonly answer?: string },
  actor: string,
): Promise<Recovery> {
  const { db, world } = context
  const before = await openRecovery(context, id)
  checkState(before, ['published', 'completing'])
  const { device, standing } = await opened(context, before)
  const notice = noticeOf(before)
  const { endsAt } = notice.payload
  const maker = await makerKey(context, standing)
  await checkSpeaksFor(context, maker, actor)
  const holding: readonly Condition[] = [
    'present',
    ...(maker.label === undefined ? [] : (['maker-states'] as const)),
    ...(world.clock.now() < endsAt ? [] : (['time-over'] as const)),
    'no-objection', // an objection ends the recovery
  ]
  if (world.clock.now() < endsAt)
    throw new TrustError('policyRefused', 'ownershipWaits', { facts: { until: new Date(endsAt).toISOString() } })
  await check(context, { actor, act: 'ownership.recover', device }, holding)
  const answer = await claimantsAnswer(context, notice, given ?? before.answer)
  const facts = { recovery: id }
  if (before.state === 'published') {
    await keep(db, [
      moveStep(context, before, { state: 'completing', answer: answer.statement }),
      ...(device.state === 'transfer-pending'
        ? [stillAsRead(device)]
        : stepsToChange(context, device, { act: 'transfer', actor, facts })),
      ...closeTransfers(context, device),
    ])
    world.faults.reach('recovery pending')
  }
  await revokeFormer(context, device.id)
  world.faults.reach('recovered from certificates')
  const entry = await signRecovery(notice, answer, world.clock.now(), await openKey(context, maker))
  const pending = await openDevice(context, db, device.id)
  await keep(db, [
    moveStep(context, await openRecovery(context, id), { state: 'completed', answer: answer.statement }),
    entryStep(context, device.id, entry),
    ...stepsToChange(context, pending, { act: 'complete', actor, ownerId: before.claimantId, facts }),
    note(context, 'ownership.recover', before, actor),
  ])
  return openRecovery(context, id)
}

async function claimantsAnswer(
  context: OwnershipContext,
  notice: Read<'notice'>,
  given: string | undefined,
): Promise<Read<'answer'>> {
  const presence = readStatement('presence', notice.payload.presence)
  const key = keyOf(presence.payload.to.key)
  if (given === undefined) {
    const claimant = await findKey(context, jwkThumbprint(key))
    if (claimant === undefined)
      throw new TrustError('forbidden', 'ownershipKeyElsewhere', { facts: { organization: presence.payload.to.name } })
    const answer = { isAccepted: true, answeredAt: context.world.clock.now() }
    return signAnswer(notice, answer, await openKey(context, claimant))
  }
  const answer = await checkAnswer(notice, key, given)
  if (!answer.payload.isAccepted) throw new TrustError('badProof', 'ownershipNotAccepted')
  return answer
}

/** An offer of the owner who is gone is no obstacle. */
const closeTransfers = ({ world, organizationId }: OwnershipContext, { id }: Device): readonly Step[] => [
  {
    sql: `UPDATE ownership_transfer SET state = 'withdrawn', version = version + 1, changed_at = ?
        WHERE organization_id = ? AND device_id = ? AND state IN ('offered', 'accepted')`,
    parameters: [world.clock.now(), organizationId, id],
  },
]

async function opened(
  context: OwnershipContext,
  { deviceId, epoch }: Recovery,
): Promise<{ readonly device: Device; readonly standing: Standing }> {
  const device = await openDevice(context, context.db, deviceId)
  const { standing } = await openChain(context, device)
  // it was given away since: nobody who claimed it from the owner before has anything to claim
  if (standing === undefined || standing.epoch + 1 !== epoch || device.epoch !== standing.epoch)
    throw new TrustError('conflict', 'deviceChanged')
  return { device, standing }
}

function noticeOf({ notice }: Recovery): Read<'notice'> {
  if (notice === undefined) throw new TypeError('what is published has a notice')
  return readStatement('notice', notice)
}

function checkState({ state }: Recovery, allowed: readonly RecoveryState[]): void {
  if (!allowed.includes(state)) throw new TrustError('conflict', 'ownershipRecoveryState', { facts: { state } })
}

/** Ends with TrustError `conflict` when the recovery is not as it was read, or the device is claimed by another already. */
const moveStep = (
  { world }: OwnershipContext,
  from: Recovery,
  to: Pick<Recovery, 'state'> & Partial<Pick<Recovery, 'notice' | 'answer' | 'objection' | 'endsAt'>>,
): Step => {
  const next = { ...from, ...to }
  return {
    sql: `UPDATE ownership_recovery SET state = ?, notice = ?, answer = ?, objection = ?, ends_at = ?, changed_at = ?, version = version + 1
        WHERE id = ? AND version = ? RETURNING state`,
    parameters: [
      ...[next.state, next.notice ?? null, next.answer ?? null, next.objection ?? null, next.endsAt ?? null],
      ...[world.clock.now(), from.id, from.version],
    ],
    expects: { state: next.state },
    refusal: () => new TrustError('conflict', 'ownershipRecoveryOpen'),
  }
}

const note = ({ audit }: OwnershipContext, act: string, { id, deviceId, epoch }: Recovery, actor: string): Step =>
  audit.statement({ actor, act, object: `device:${deviceId}`, outcome: 'done', facts: { recovery: id, epoch } })
