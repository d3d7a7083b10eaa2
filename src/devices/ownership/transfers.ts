/**
 * Transfers: a device is offered, accepted, released and completed, or comes back.
 *
 * The seller's certificates are revoked before the entry that makes the device another's is signed, and the next owner's epoch
 * begins after that. A process that ends in between leaves a transfer that says `releasing`: releasing it again goes on.
 *
 * Buyer and seller may be here both, or each in an installation of its own, with authorities of its own: then files go between
 * them, and neither can do anything to what is the other's.
 *
 * @module
 */
import { hash } from 'node:crypto'
import { TrustError } from '#base/errors.ts'
import { uuidv7 } from '#base/world.ts'
import { keep, type Step } from '#store/batch.ts'
import type { Row } from '#store/database.ts'
import { jwkThumbprint } from '#jose/jwk.ts'
import { parseCertificate } from '#x509/certificate.ts'
import { type Change, changed, stepsToChange, stillAsRead } from '../change.ts'
import { type Device, DEVICE_COLUMNS, deviceOf, objectOf, openDevice } from '../device.ts'
import { findModel, openModel } from '../models.ts'
import { findOrganization, type Organization, openOrganization } from '../organizations.ts'
import { stepsToRecordBirth } from '../birth-record.ts'
import { stepsToRegister } from '../register.ts'
import { checkSpeaks } from '../speakers.ts'
import { checkRules, type Condition } from '../rules.ts'
import type { OwnershipContext } from './context.ts'
import {
  type ChainRules,
  checkAnswer,
  checkOffer,
  partyOf,
  placeAfter,
  type Product,
  signAnswer,
  signOffer,
  signRelease,
  type Standing,
  verifyChain,
} from './messages.ts'
import type { Package } from './package.ts'
import { currentKey, findKey, openKey, type PartyKey, partyKeys } from './parties.ts'
import { entriesOf, entryStep, objectionsTo, openChain, stepsToTakeOver } from './records.ts'
import { deviceNameOf, keyOf, type Read, readStatement } from './statement.ts'

export const transferStates = [
  'offered',
  'accepted',
  'releasing', // the seller's certificates are being revoked: go on with `release`
  'released', // the chain says that it is the buyer's, who is here too and has not taken it
  'completed',
  'rejected',
  'withdrawn',
  'expired',
] as const
export type TransferState = (typeof transferStates)[number]

export interface Transfer {
  readonly id: string
  readonly version: number
  /** Hash of the device's birth key. */
  readonly device: string
  /** Undefined while the device is not recorded here. */
  readonly deviceId: string | undefined
  readonly epoch: number
  readonly seller: string
  readonly buyer: string
  readonly buyerId: string | undefined
  /** Whether the seller's key is here, and the buyer's. */
  readonly sellsHere: boolean
  readonly buysHere: boolean
  readonly state: TransferState
  readonly offer: string
  readonly answer: string | undefined
  readonly expiresAt: number
  readonly createdAt: number
  readonly changedAt: number
}

const transferOf = (row: Row): Transfer => ({
  id: row['id'] as string,
  version: row['version'] as number,
  device: row['device'] as string,
  deviceId: (row['device_id'] as string | null) ?? undefined,
  epoch: row['epoch'] as number,
  seller: row['seller'] as string,
  buyer: row['buyer'] as string,
  buyerId: (row['buyer_id'] as string | null) ?? undefined,
  sellsHere: row['sells_here'] === 1,
  buysHere: row['buys_here'] === 1,
  state: row['state'] as TransferState,
  offer: row['offer'] as string,
  answer: (row['answer'] as string | null) ?? undefined,
  expiresAt: row['expires_at'] as number,
  createdAt: row['created_at'] as number,
  changedAt: row['changed_at'] as number,
})

/** @throws TrustError `notFound` */
export async function openTransfer({ db, organizationId }: OwnershipContext, id: string): Promise<Transfer> {
  const [row] = await db.query('SELECT * FROM ownership_transfer WHERE id = ? AND organization_id = ?', id, organizationId)
  if (row === undefined) throw new TrustError('notFound', 'ownershipTransferUnknown')
  return transferOf(row)
}

const LIST_MAX = 500

/** Newest first. */
export async function listTransfers(
  { db, organizationId }: OwnershipContext,
  { deviceId }: { readonly deviceId?: string } = {},
): Promise<readonly Transfer[]> {
  const rows = await (deviceId === undefined
    ? db.query('SELECT * FROM ownership_transfer WHERE organization_id = ? ORDER BY id DESC LIMIT ?', organizationId, LIST_MAX)
    : db.query(
        'SELECT * FROM ownership_transfer WHERE organization_id = ? AND device_id = ? ORDER BY id DESC LIMIT ?',
        ...[organizationId, deviceId, LIST_MAX],
      ))
  return rows.map(transferOf)
}

export interface NewTransfer {
  readonly deviceId: string
  /** Name of the organization that is to get it; its key is set. */
  readonly to: string
  readonly terms: string
  readonly validSeconds: number
}

/** @throws TrustError `forbidden` unless the owner's key is here, `conflict`, `notFound` */
export async function offer(context: OwnershipContext, wanted: NewTransfer, actor: string): Promise<Transfer> {
  const { db, world, organizationId } = context
  await expireTransfers(context)
  const device = await openDevice(context, db, wanted.deviceId)
  const { name, standing } = await openChain(context, device)
  checkEpoch(device, standing)
  checkGivable(device, actor)
  const seller = await ownerKey(context, device, standing)
  if (seller.label !== undefined) await checkSpeaksFor(context, seller, actor)
  await check(context, { actor, act: 'ownership.offer', device }, [...ownsIf(seller), 'agreed'])
  const buyer = await findOrganization(context, db, wanted.to)
  const buyerKey = await currentKey(context, buyer)
  const now = world.clock.now()
  const signed = await signOffer(
    placeAfter(standing, name),
    {
      to: partyOf(buyer.name, buyerKey.key),
      terms: wanted.terms,
      ...(standing === undefined && { product: await productOf(context, device) }),
      offeredAt: now,
      expiresAt: now + wanted.validSeconds * 1000,
    },
    await openKey(context, seller),
  )
  const transfer: Transfer = {
    id: uuidv7(world),
    version: 1,
    device: name,
    deviceId: device.id,
    epoch: signed.payload.epoch,
    seller: seller.name,
    buyer: buyer.name,
    buyerId: buyer.id,
    sellsHere: true,
    buysHere: buyerKey.label !== undefined,
    state: 'offered',
    offer: signed.statement,
    answer: undefined,
    expiresAt: signed.payload.expiresAt,
    createdAt: now,
    changedAt: now,
  }
  const facts = { buyer: buyer.name, transfer: transfer.id }
  await keep(db, [
    ...(isFirstSale(device)
      ? stepsToChange(context, device, { act: 'offer', actor, facts })
      : [stillAsRead(device), note(context, 'ownership.offer', transfer, actor)]),
    insertStep(organizationId, transfer),
  ])
  return transfer
}

/** How many devices the organization whose this one is has offered lately. @throws TrustError `notFound`, `conflict` */
export async function offersOfSeller(
  context: OwnershipContext,
  deviceId: string,
  seconds: number,
): Promise<{ readonly seller: string; readonly offered: number }> {
  const { db, world, organizationId } = context
  const device = await openDevice(context, db, deviceId)
  const { standing } = await openChain(context, device)
  const seller = standing?.owner.name ?? (await openOrganization(db, device.manufacturerId)).name
  const [row] = await db.query<{ offered: number }>(
    'SELECT count(*) AS offered FROM ownership_transfer WHERE organization_id = ? AND seller = ? AND created_at > ?',
    ...[organizationId, seller, world.clock.now() - seconds * 1000],
  )
  return { seller, offered: row?.offered ?? 0 }
}

/** What is lost, stolen or a clone is nobody's to sell, and what could not be released is not offered. */
function checkGivable(device: Device, actor: string): void {
  const rule = 'ownership.offer'
  if (device.flags.includes('clone')) throw new TrustError('forbidden', 'deviceCloned', { facts: { rule } })
  if (device.flags.length > 0) throw new TrustError('forbidden', 'deviceMissing', { facts: { rule } })
  changed(device, { act: isFirstSale(device) ? 'offer' : 'transfer', actor }, device.changedAt)
}

const isFirstSale = ({ epoch }: Device): boolean => epoch === 0

function checkEpoch({ epoch }: Device, standing: Standing | undefined): void {
  const recorded = standing?.epoch ?? 0
  if (epoch !== recorded) throw new TrustError('conflict', 'ownershipNoChain', { facts: { epoch, recorded } })
}

/** The key that signs for whom the device belongs to. */
export async function ownerKey(
  context: OwnershipContext,
  device: Pick<Device, 'manufacturerId'>,
  standing: Standing | undefined,
): Promise<PartyKey> {
  if (standing === undefined) return currentKey(context, await openOrganization(context.db, device.manufacturerId))
  const found = await findKey(context, jwkThumbprint(standing.ownerKey))
  if (found === undefined)
    throw new TrustError('forbidden', 'ownershipKeyElsewhere', { facts: { organization: standing.owner.name } })
  return found
}

/** @throws TrustError `forbidden` unless they speak for the organization of this key */
export const checkSpeaksFor = ({ db }: OwnershipContext, { partyId: id, name }: PartyKey, actor: string): Promise<void> =>
  checkSpeaks(db, { id, name }, actor)

const ownsIf = ({ label }: PartyKey): readonly Condition[] => (label === undefined ? [] : ['asker-owns'])

export const check = (
  context: OwnershipContext,
  {
    actor,
    act,
    device,
  }: { readonly actor: string; readonly act: Parameters<typeof checkRules>[1]['act']; readonly device: Device },
  holding: readonly Condition[],
): Promise<void> => checkRules(context, { actor, act, object: objectOf(device) }, new Set(holding))

async function productOf({ db }: OwnershipContext, device: Device): Promise<Product> {
  const { name: manufacturer } = await openOrganization(db, device.manufacturerId)
  const { name: model } = await openModel(db, device.modelId)
  const [birth] = await db.query<{ variant: string }>('SELECT variant FROM birth_record WHERE device_id = ?', device.id)
  if (birth === undefined) throw new TypeError('a device with a chain is born')
  const { productSerial, assurance } = device
  return { manufacturer, model, productSerial, variant: birth.variant as Product['variant'], assurance }
}

/** The buyer says yes or no. Of an offer from elsewhere there is no transfer here yet. @throws TrustError as `checkOffer` */
export async function answerHere(context: OwnershipContext, id: string, isAccepted: boolean, actor: string): Promise<Transfer> {
  await expireTransfers(context)
  const transfer = await openTransfer(context, id)
  checkState(transfer, ['offered'])
  const read = readStatement('offer', transfer.offer)
  const answer = await signedAnswer(context, read, isAccepted, actor)
  const next = { ...transfer, answer: answer.statement, state: isAccepted ? 'accepted' : 'rejected' } as const
  await keep(context.db, [
    ...stepsToMove(context, transfer, next),
    ...(isAccepted ? [] : await stepsToGiveBack(context, transfer, actor)),
    note(context, isAccepted ? 'ownership.accept' : 'ownership.reject', next, actor),
  ])
  return openTransfer(context, id)
}

async function signedAnswer(
  context: OwnershipContext,
  read: Read<'offer'>,
  isAccepted: boolean,
  actor: string,
): Promise<Read<'answer'>> {
  const { world } = context
  const { to, expiresAt } = read.payload
  const now = world.clock.now()
  if (now > expiresAt) throw new TrustError('policyRefused', 'ownershipExpired', { facts: { what: 'offer' } })
  const buyer = await findKey(context, jwkThumbprint(keyOf(to.key)))
  if (buyer === undefined) throw new TrustError('forbidden', 'ownershipKeyElsewhere', { facts: { organization: to.name } })
  await checkSpeaksFor(context, buyer, actor)
  return signAnswer(read, { isAccepted, answeredAt: now }, await openKey(context, buyer))
}

/** @returns the answer for the seller @throws TrustError as {@link verifyChain} */
export async function answerElsewhere(
  context: OwnershipContext,
  carried: Package,
  isAccepted: boolean,
  actor: string,
): Promise<{ readonly transfer: Transfer; readonly answer: string }> {
  const { db, world, organizationId } = context
  const { offer: statement } = carried
  if (statement === undefined) throw new TrustError('malformed', 'ownershipPackage', { facts: { detail: 'it holds no offer' } })
  const { standing, rules, product } = await checkCarried(context, carried)
  const { read } = await checkOffer(standing, statement, rules)
  checkBirth(carried, read.payload.device)
  const buyer = await findKey(context, jwkThumbprint(keyOf(read.payload.to.key)))
  const answer = await signedAnswer(context, read, isAccepted, actor)
  const now = world.clock.now()
  const transfer: Transfer = {
    id: uuidv7(world),
    version: 1,
    device: read.payload.device,
    deviceId: undefined,
    epoch: read.payload.epoch,
    seller: standing?.owner.name ?? product.manufacturer,
    buyer: buyer?.name ?? '',
    buyerId: buyer?.partyId,
    sellsHere: false,
    buysHere: true,
    state: isAccepted ? 'accepted' : 'rejected',
    offer: statement,
    answer: answer.statement,
    expiresAt: read.payload.expiresAt,
    createdAt: now,
    changedAt: now,
  }
  await keep(db, [
    insertStep(organizationId, transfer),
    note(context, isAccepted ? 'ownership.accept' : 'ownership.reject', transfer, actor),
  ])
  return { transfer, answer: answer.statement }
}

/** The makers that count are those whose keys somebody here set for the organization that the product names. */
export async function checkCarried(
  context: OwnershipContext,
  { chain, offer: statement }: Pick<Package, 'chain' | 'offer'>,
): Promise<{ readonly standing: Standing | undefined; readonly rules: ChainRules; readonly product: Product }> {
  const [first] = chain
  const begun = first === undefined ? undefined : readStatement('release', first).payload
  const beginning = begun?.offer ?? statement
  const product = beginning === undefined ? undefined : readStatement('offer', beginning).payload.product
  if (product === undefined)
    throw new TrustError('malformed', 'ownershipPackage', { facts: { detail: 'its chain does not begin with the maker' } })
  const maker = await findOrganization(context, context.db, product.manufacturer)
  const makers = (await partyKeys(context, maker)).map(({ key }) => key)
  const rules: ChainRules = { makers, objections: begun === undefined ? [] : await objectionsTo(context, begun.device) }
  const standing = chain.length === 0 ? undefined : await verifyChain(chain, rules)
  return { standing, rules, product }
}

function checkBirth({ certificates }: Pick<Package, 'certificates'>, device: string): void {
  const [own] = certificates
  if (own === undefined || deviceNameOf(parseCertificate(own).subjectPublicKeyInfo) !== device)
    throw new TrustError('badProof', 'ownershipBirthOther')
}

/** A buyer elsewhere answered. @throws TrustError `badProof`, `conflict` */
export async function takeAnswer(context: OwnershipContext, id: string, statement: string, actor: string): Promise<Transfer> {
  await expireTransfers(context)
  const transfer = await openTransfer(context, id)
  if (transfer.state === 'accepted' && transfer.answer === statement) return transfer
  checkState(transfer, ['offered'])
  const read = readStatement('offer', transfer.offer)
  const answer = await checkAnswer(read, keyOf(read.payload.to.key), statement)
  if (answer.payload.answeredAt > transfer.expiresAt)
    throw new TrustError('policyRefused', 'ownershipExpired', { facts: { what: 'offer' } })
  const { isAccepted } = answer.payload
  const next = { ...transfer, answer: statement, state: isAccepted ? 'accepted' : 'rejected' } as const
  await keep(context.db, [
    ...stepsToMove(context, transfer, next),
    ...(isAccepted ? [] : await stepsToGiveBack(context, transfer, actor)),
    note(context, isAccepted ? 'ownership.accept' : 'ownership.reject', next, actor),
  ])
  return openTransfer(context, id)
}

/** The seller takes an offer back, which it can until it releases. @throws TrustError `conflict` */
export async function withdraw(context: OwnershipContext, id: string, actor: string): Promise<Transfer> {
  const transfer = await openTransfer(context, id)
  checkState(transfer, ['offered', 'accepted'])
  if (!transfer.sellsHere)
    throw new TrustError('forbidden', 'ownershipKeyElsewhere', { facts: { organization: transfer.seller } })
  await checkSpeaks(context.db, await findOrganization(context, context.db, transfer.seller), actor)
  await keep(context.db, [
    ...stepsToMove(context, transfer, { ...transfer, state: 'withdrawn' }),
    ...(await stepsToGiveBack(context, transfer, actor)),
    note(context, 'ownership.withdraw', transfer, actor),
  ])
  return openTransfer(context, id)
}

/** Offers whose time is over come back. @returns how many did */
export async function expireTransfers(context: OwnershipContext): Promise<number> {
  const { db, world } = context
  const rows = await db.query(
    "SELECT * FROM ownership_transfer WHERE state IN ('offered', 'accepted') AND expires_at < ? LIMIT ?",
    ...[world.clock.now(), LIST_MAX],
  )
  for (const transfer of rows.map(transferOf)) {
    try {
      await keep(db, [
        ...stepsToMove(context, transfer, { ...transfer, state: 'expired' }),
        ...(await stepsToGiveBack(context, transfer, 'system')),
        note(context, 'ownership.expire', transfer, 'system'),
      ])
    } catch (error) {
      if (!(error instanceof TrustError) || error.code !== 'conflict') throw error // another process was faster
    }
  }
  return rows.length
}

async function stepsToGiveBack(
  context: OwnershipContext,
  { deviceId, sellsHere, id }: Transfer,
  actor: string,
): Promise<readonly Step[]> {
  if (deviceId === undefined || !sellsHere) return []
  const device = await openDevice(context, context.db, deviceId)
  return device.state === 'offered' ? stepsToChange(context, device, { act: 'withdraw', actor, facts: { transfer: id } }) : []
}

/**
 * The seller lets go: its certificates are revoked, then the entry is signed. Called again after a stop in between, it goes on.
 *
 * @returns the entry with the transfer, which is complete where the buyer is elsewhere
 */
export async function release(context: OwnershipContext, id: string, actor: string): Promise<Transfer> {
  const { db, world } = context
  await expireTransfers(context)
  const transfer = await openTransfer(context, id)
  checkState(transfer, ['accepted', 'releasing'])
  const { deviceId, answer } = transfer
  if (deviceId === undefined || answer === undefined)
    throw new TrustError('forbidden', 'ownershipKeyElsewhere', { facts: { organization: transfer.seller } })
  const device = await openDevice(context, db, deviceId)
  const { standing } = await openChain(context, device)
  checkEpoch(device, standing)
  const seller = await ownerKey(context, device, standing)
  await checkSpeaksFor(context, seller, actor)
  const offered = readStatement('offer', transfer.offer)
  const accepted = await checkAnswer(offered, keyOf(offered.payload.to.key), answer)
  const holding: readonly Condition[] = [...ownsIf(seller), ...(accepted.payload.isAccepted ? (['accepted'] as const) : [])]
  await check(context, { actor, act: 'ownership.release', device }, holding)
  const facts = { transfer: id, buyer: transfer.buyer }
  if (transfer.state === 'accepted') {
    await keep(db, [
      ...stepsToMove(context, transfer, { ...transfer, state: 'releasing' }),
      ...(isFirstSale(device) ? [stillAsRead(device)] : stepsToChange(context, device, { act: 'transfer', actor, facts })),
    ])
    world.faults.reach('transfer pending')
  }
  await revokeFormer(context, device.id)
  world.faults.reach('former certificates revoked')
  const entry = await signRelease(offered, accepted, world.clock.now(), await openKey(context, seller))
  world.faults.reach('entry signed')
  const pending = await openTransfer(context, id)
  const now = await openDevice(context, db, deviceId)
  await keep(db, [
    ...stepsToMove(context, pending, { ...pending, state: transfer.buysHere ? 'released' : 'completed' }),
    entryStep(context, deviceId, entry),
    ...(transfer.buysHere ? [stillAsRead(now)] : stepsToHandOver(context, now, transfer, actor)),
    note(context, 'ownership.release', transfer, actor),
  ])
  world.faults.reach('entry kept')
  return openTransfer(context, id)
}

/** Before anything else, and at the CA itself: noting it for later would leave the former owner's certificates good for a while. */
export async function revokeFormer({ db, certificates }: OwnershipContext, deviceId: string): Promise<void> {
  const rows = await db.query<{ certificate_id: string }>(
    "SELECT certificate_id FROM device_certificate WHERE device_id = ? AND role <> 'birth' ORDER BY certificate_id",
    deviceId,
  )
  for (const { certificate_id: id } of rows) await certificates.revoke(id, 'affiliationChanged')
}

/** @throws TrustError `conflict` when the device is not where a transfer leads */
function stepsToHandOver(
  context: OwnershipContext,
  device: Device,
  { buyerId, id, epoch }: Pick<Transfer, 'buyerId' | 'id' | 'epoch'>,
  actor: string,
): readonly Step[] {
  if (buyerId === undefined) throw new TypeError('a buyer is recorded where the seller is')
  const act = isFirstSale(device) ? 'claim' : 'complete'
  if (device.epoch + 1 !== epoch) throw new TrustError('conflict', 'deviceChanged')
  return stepsToChange(context, device, { act, actor, ownerId: buyerId, facts: { transfer: id } })
}

/** The buyer takes what was released to it here. @throws TrustError `conflict`, `forbidden` */
export async function completeHere(context: OwnershipContext, id: string, actor: string): Promise<Transfer> {
  const { db } = context
  const transfer = await openTransfer(context, id)
  checkState(transfer, ['released'])
  if (transfer.deviceId === undefined || transfer.buyerId === undefined)
    throw new TypeError('what was released here is recorded here')
  await checkSpeaks(db, { id: transfer.buyerId, name: transfer.buyer }, actor)
  const device = await openDevice(context, db, transfer.deviceId)
  await keep(db, [
    ...stepsToMove(context, transfer, { ...transfer, state: 'completed' }),
    ...stepsToHandOver(context, device, transfer, actor),
  ])
  return openTransfer(context, id)
}

/**
 * The buyer takes what was released to it elsewhere: the whole chain is checked, and the device recorded here in the epoch that the
 * chain ends with. Doing it again does nothing.
 */
export async function completeElsewhere(context: OwnershipContext, carried: Package, actor: string): Promise<Device> {
  const { db } = context
  const { standing, product } = await checkCarried(context, carried)
  if (standing === undefined) throw new TrustError('malformed', 'ownershipEmpty')
  checkBirth(carried, standing.device)
  const buyer = await findKey(context, jwkThumbprint(standing.ownerKey))
  if (buyer?.label === undefined)
    throw new TrustError('forbidden', 'ownershipKeyElsewhere', { facts: { organization: standing.owner.name } })
  await checkSpeaksFor(context, buyer, actor)
  const known = await findByName(context, standing.device)
  if (known !== undefined && known.epoch > standing.epoch)
    throw new TrustError('conflict', 'ownershipStale', { facts: { epoch: standing.epoch, known: known.epoch } })
  const recorded = known === undefined ? [] : await entriesOf(context, known.id)
  const maker = await findOrganization(context, db, product.manufacturer)
  const { id, steps } =
    known === undefined
      ? await stepsToImport(context, { standing, product, maker, carried, buyer }, actor)
      : { id: known.id, steps: stepsToReturn(context, known, { standing, buyer }, actor) }
  const open = await openIncoming(context, standing.device)
  await keep(db, [
    ...steps,
    ...stepsToTakeOver(context, id, recorded, carried.chain),
    ...(open === undefined ? [] : stepsToMove(context, open, { ...open, state: 'completed', deviceId: id })),
  ])
  return openDevice(context, db, id)
}

async function openIncoming({ db, organizationId }: OwnershipContext, device: string): Promise<Transfer | undefined> {
  const [row] = await db.query(
    "SELECT * FROM ownership_transfer WHERE organization_id = ? AND device = ? AND state = 'accepted' AND sells_here = 0",
    ...[organizationId, device],
  )
  return row && transferOf(row)
}

export async function findByName({ db, organizationId }: OwnershipContext, name: string): Promise<Device | undefined> {
  const [row] = await db.query(
    `SELECT ${DEVICE_COLUMNS} FROM device JOIN birth_record b ON b.device_id = device.id
      WHERE b.key_hash = ? AND device.organization_id = ?`,
    ...[Uint8Array.fromBase64(name, { alphabet: 'base64url' }), organizationId],
  )
  return row && deviceOf(row)
}

interface Incoming {
  readonly standing: Standing
  readonly product: Product
  readonly maker: Organization
  readonly carried: Package
  readonly buyer: PartyKey
}

/** How the birth certificate of another installation's authority is named among a device's certificates. */
export const foreignCertificateId = (fingerprint: string): string => `foreign:${fingerprint}`

async function stepsToImport(
  context: OwnershipContext,
  { standing, product, maker, carried, buyer }: Incoming,
  actor: string,
): Promise<{ readonly id: string; readonly steps: readonly Step[] }> {
  const { db, world, organizationId } = context
  const model = await findModel(db, maker.id, product.model)
  const { productSerial, variant } = product
  const registered = stepsToRegister(context, { manufacturerId: maker.id, modelId: model.id, productSerial }, actor)
  const { id } = registered.device
  const [own] = carried.certificates
  if (own === undefined) throw new TypeError('a birth certificate was checked')
  const { fingerprint, der } = parseCertificateNamed(own)
  const now = world.clock.now()
  const assurance = product.assurance as Device['assurance']
  const keyHash = Uint8Array.fromBase64(standing.device, { alphabet: 'base64url' })
  const birth = {
    ...{ variant, assurance, keyHash, certificateId: foreignCertificateId(fingerprint), bornAt: now },
    evidence: { chain: standing.head, maker: maker.name },
  }
  const born = stepsToRecordBirth(context, registered.device, birth, actor)
  let device = changed(registered.device, { act: 'bear', actor, assurance }, now).device
  const steps = [...registered.steps, ...born]
  // it was all that where it comes from; here it is written down once more
  const course: readonly Change[] = [
    { act: 'release', actor },
    { act: 'ship', actor },
    { act: 'claim', actor, ownerId: buyer.partyId, facts: { chain: standing.head } },
  ]
  for (const change of course) {
    const from: Device = change.act === 'claim' ? { ...device, epoch: standing.epoch - 1 } : device
    steps.push(...stepsToChange(context, from, change))
    device = changed(from, change, now).device
  }
  const certificates = JSON.stringify([der, ...carried.certificates.slice(1)].map((one) => one.toBase64()))
  steps.push({
    sql: 'INSERT INTO ownership_birth (device_id, organization_id, version, certificates, created_at) VALUES (?, ?, 1, ?, ?)',
    parameters: [id, organizationId, certificates, now],
  })
  return { id, steps }
}

/**
 * By the fingerprint of its birth certificate, which another installation issued. One that was sold to an owner elsewhere is ours no
 * more.
 *
 * @returns its serial
 */
export async function bornElsewhere(
  { db, organizationId }: Pick<OwnershipContext, 'db' | 'organizationId'>,
  fingerprint: string,
): Promise<string | undefined> {
  const [row] = await db.query<{ product_serial: string }>(
    `SELECT d.product_serial FROM device_certificate c JOIN device d ON d.id = c.device_id
      WHERE c.certificate_id = ? AND c.role = 'birth' AND d.organization_id = ?
        AND EXISTS (SELECT 1 FROM ownership_key k WHERE k.party_id = d.owner_id AND k.key_label IS NOT NULL)`,
    ...[foreignCertificateId(fingerprint), organizationId],
  )
  return row?.product_serial
}

const parseCertificateNamed = (der: Uint8Array): { readonly der: Uint8Array; readonly fingerprint: string } => ({
  der,
  fingerprint: hash('sha256', der),
})

/** A device that was here before, and belonged to others since. */
function stepsToReturn(
  context: OwnershipContext,
  known: Device,
  { standing, buyer }: Pick<Incoming, 'standing' | 'buyer'>,
  actor: string,
): readonly Step[] {
  if (known.epoch === standing.epoch) return []
  const now = context.world.clock.now()
  const transfer: Change = { act: 'transfer', actor, facts: { chain: standing.head } }
  const pending = changed(known, transfer, now).device
  const complete: Change = { act: 'complete', actor, ownerId: buyer.partyId, facts: { chain: standing.head } }
  return [
    ...stepsToChange(context, known, transfer),
    ...stepsToChange(context, { ...pending, epoch: standing.epoch - 1 }, complete),
  ]
}

/** What goes to the buyer with the offer, and again with the release. */
export async function packageOf(context: OwnershipContext, id: string): Promise<Package> {
  const transfer = await openTransfer(context, id)
  if (transfer.deviceId === undefined)
    throw new TrustError('conflict', 'ownershipTransferState', { facts: { state: transfer.state } })
  const { chain, certificates } = await carriedOf(context, transfer.deviceId)
  const isOpen = transfer.state === 'offered' || transfer.state === 'accepted'
  return { chain, certificates, ...(isOpen && { offer: transfer.offer }) }
}

/** The chain with the birth certificate: what proves whose a device is, to anybody who trusts its maker. */
export async function carriedOf(context: OwnershipContext, deviceId: string): Promise<Package> {
  const { db } = context
  const [foreign] = await db.query<{ certificates: string }>(
    'SELECT certificates FROM ownership_birth WHERE device_id = ?',
    deviceId,
  )
  const chain = await entriesOf(context, deviceId)
  if (foreign !== undefined) {
    const certificates = (JSON.parse(foreign.certificates) as string[]).map((one) => Uint8Array.fromBase64(one))
    return { chain, certificates }
  }
  const [birth] = await db.query<{ certificate_id: string }>(
    'SELECT certificate_id FROM birth_record WHERE device_id = ?',
    deviceId,
  )
  return { chain, certificates: birth === undefined ? [] : await context.birthChain(birth.certificate_id) }
}

function checkState({ state }: Transfer, allowed: readonly TransferState[]): void {
  if (!allowed.includes(state)) throw new TrustError('conflict', 'ownershipTransferState', { facts: { state } })
}

const COLUMNS = `id, organization_id, version, device, device_id, epoch, seller, buyer, buyer_id, sells_here, buys_here, state, offer, answer,
  expires_at, created_at, changed_at`

const insertStep = (organizationId: string, transfer: Transfer): Step => ({
  sql: `INSERT INTO ownership_transfer (${COLUMNS}) VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  parameters: [
    ...[transfer.id, organizationId, transfer.device, transfer.deviceId ?? null, transfer.epoch, transfer.seller, transfer.buyer],
    ...[transfer.buyerId ?? null, transfer.sellsHere ? 1 : 0, transfer.buysHere ? 1 : 0, transfer.state, transfer.offer],
    ...[transfer.answer ?? null, transfer.expiresAt, transfer.createdAt, transfer.changedAt],
  ],
  refusal: () => new TrustError('conflict', 'ownershipTransferOpen'),
})

/** They end with TrustError `conflict` when the transfer is not as it was read. */
const stepsToMove = ({ world }: OwnershipContext, from: Transfer, to: Transfer): readonly Step[] => [
  {
    sql: `UPDATE ownership_transfer SET state = ?, answer = ?, device_id = ?, changed_at = ?, version = version + 1
        WHERE id = ? AND version = ? RETURNING state`,
    parameters: [to.state, to.answer ?? null, to.deviceId ?? null, world.clock.now(), from.id, from.version],
    expects: { state: to.state },
    refusal: () => new TrustError('conflict', 'ownershipTransferState', { facts: { state: 'changed by another' } }),
  },
]

const note = ({ audit }: OwnershipContext, act: string, transfer: Transfer, actor: string): Step => {
  const { id, seller, buyer, epoch, device } = transfer
  const object = transfer.deviceId === undefined ? `transfer:${id}` : `device:${transfer.deviceId}`
  return audit.statement({ actor, act, object, outcome: 'done', facts: { transfer: id, seller, buyer, epoch, device } })
}
