/**
 * The chain of a device's owners: who made it, whose it was, whose it is. Anybody who trusts the maker's key can check it,
 * with no network and no server, from the entries alone.
 *
 * Each entry is signed by whom the device belonged to, over the hash of the entry before, the hash of the device's birth key, and
 * the buyer's own signature that it accepts: nobody is given a device without wanting it, and nobody loses one without
 * letting it go. The one exception is a recovery, which needs the device itself, the maker's word in public, a waiting
 * time, and an owner who does not object.
 *
 * What a chain cannot show is that it goes on: whoever knows a later epoch asks for at least that one.
 *
 * @module
 */
import type { PublicKey } from '#algorithms/public-key.ts'
import { TrustError } from '#base/errors.ts'
import { jwkThumbprint } from '#jose/jwk.ts'
import {
  checkSigned,
  deviceNameOf,
  keyOf,
  type Party,
  type Payload,
  type Product,
  type Read,
  readStatement,
  signStatement,
  type StatementKey,
  type PlacedKind,
  writtenKey,
} from './statement.ts'

export type { Party, Product } from './statement.ts'
export type { StatementKey } from './statement.ts'

/** More owners than any device has; each costs three signatures to check. */
export const ENTRIES_MAX = 256
const DAY_MILLISECONDS = 86_400_000
/** Shorter, and an owner on holiday would lose a device. */
export const RECOVERY_WAIT_MIN_DAYS = 14
const RECOVERY_WAIT_MIN_MILLISECONDS = RECOVERY_WAIT_MIN_DAYS * DAY_MILLISECONDS

export interface ChainStep {
  readonly epoch: number
  readonly kind: 'release' | 'recovery'
  readonly to: Party
  readonly terms: string
  readonly releasedAt: number
  readonly hash: string
}

/** What a chain says after so many entries. */
export interface Standing {
  /** Hash of the device's birth key. */
  readonly device: string
  readonly product: Product
  readonly maker: PublicKey
  readonly epoch: number
  readonly owner: Party
  readonly ownerKey: PublicKey
  /** Hash of the last entry. */
  readonly head: string
  readonly steps: readonly ChainStep[]
}

export interface ChainRules {
  /** Keys of makers that are trusted for what they made. */
  readonly makers: readonly PublicKey[]
  /** Hash of the device's birth key, where it is known which device it must be. */
  readonly device?: string
  /** The latest epoch that is known: an older chain is one that the present owner is missing from. */
  readonly epochAtLeast?: number
  /** Objections that are known: a recovery over one of them is refused. */
  readonly objections?: readonly string[]
}

/** Where the next statement about a device belongs. */
export type Place = Pick<Payload<'offer'>, 'version' | 'device' | 'epoch' | 'previous'>

/** @param before undefined where there is no entry yet */
export const placeAfter = (before: Standing | undefined, device: string): Place => ({
  version: 1,
  device,
  epoch: (before?.epoch ?? 0) + 1,
  ...(before !== undefined && { previous: before.head }),
})

/** @throws TrustError `unsupported` for a key that has no such form */
export const partyOf = (name: string, key: PublicKey): Party => ({ name, key: writtenKey(key) })

/**
 * @returns whose the device is
 * @throws TrustError `badProof` for what is forged, put in another order or of another device; `conflict` for a chain that ends too early;
 *   `unauthenticated` for a maker who is not trusted; `malformed`, `tooLarge`
 */
export async function verifyChain(entries: readonly string[], rules: ChainRules): Promise<Standing> {
  if (entries.length > ENTRIES_MAX) throw new TrustError('tooLarge', 'ownershipTooLong', { facts: { limit: ENTRIES_MAX } })
  let standing: Standing | undefined
  for (const entry of entries) standing = await follow(standing, entry, rules)
  if (standing === undefined) throw new TrustError('malformed', 'ownershipEmpty')
  const { epochAtLeast = 0 } = rules
  if (standing.epoch < epochAtLeast)
    throw new TrustError('conflict', 'ownershipStale', { facts: { epoch: standing.epoch, known: epochAtLeast } })
  return standing
}

/** One entry more. @throws TrustError as {@link verifyChain} */
export async function follow(before: Standing | undefined, entry: string, rules: ChainRules): Promise<Standing> {
  return kindOf(entry) === 'recovery' ? followRecovery(before, entry, rules) : followRelease(before, entry, rules)
}

/** By what the entry says it is; its own reader checks it. */
function kindOf(entry: string): 'release' | 'recovery' {
  try {
    readStatement('recovery', entry)
    return 'recovery'
  } catch {
    return 'release'
  }
}

async function followRelease(before: Standing | undefined, entry: string, rules: ChainRules): Promise<Standing> {
  const release = readStatement('release', entry)
  const { payload } = release
  checkPlace(release, before, rules)
  const offer = await checkOffer(before, payload.offer, rules)
  await checkSigned(release, offer.by, 'who owned the device')
  const answer = await checkAnswer(offer.read, offer.toKey, payload.answer)
  checkAccepted(answer)
  if (answer.payload.answeredAt > offer.read.payload.expiresAt) throw late('offer')
  return after(before, release, {
    to: offer.read.payload.to,
    toKey: offer.toKey,
    terms: offer.read.payload.terms,
    product: before?.product ?? (offer.read.payload.product as Product),
    maker: before?.maker ?? offer.by,
  })
}

/** What an offer says, of whom it is. */
export interface CheckedOffer {
  readonly read: Read<'offer'>
  /** Whoever owns the device, or made it. */
  readonly by: PublicKey
  readonly toKey: PublicKey
}

/** @throws TrustError as {@link verifyChain} */
export async function checkOffer(before: Standing | undefined, statement: string, rules: ChainRules): Promise<CheckedOffer> {
  const read = readStatement('offer', statement)
  const { payload } = read
  checkPlace(read, before, rules)
  if ((payload.product === undefined) !== (before !== undefined))
    throw outOfOrder(read, 'the product is named by the maker, in the first offer')
  const by = before === undefined ? trusted(read, rules.makers) : before.ownerKey
  await checkSigned(read, by, before === undefined ? 'its maker' : 'who owns the device')
  if (payload.expiresAt < payload.offeredAt) throw outOfOrder(read, 'it expired before it was made')
  return { read, by, toKey: keyOf(payload.to.key) }
}

function trusted({ signer }: Read<PlacedKind>, makers: readonly PublicKey[]): PublicKey {
  const maker = makers.find((one) => jwkThumbprint(one) === signer)
  if (maker === undefined)
    throw new TrustError('unauthenticated', 'ownershipMakerUnknown', { facts: { key: signer.slice(0, 43) } })
  return maker
}

/** @param asked the offer or notice that is answered @throws TrustError `badProof`, `malformed` */
export async function checkAnswer(asked: Read<'offer' | 'notice'>, by: PublicKey, statement: string): Promise<Read<'answer'>> {
  const answer = readStatement('answer', statement)
  await checkSigned(answer, by, 'the next owner')
  const { payload } = answer
  if (payload.to !== asked.hash || !isSamePlace(payload, asked.payload)) throw outOfOrder(answer, 'it answers something else')
  return answer
}

function checkAccepted({ payload }: Read<'answer'>): void {
  if (!payload.isAccepted) throw new TrustError('badProof', 'ownershipNotAccepted')
}

const isSamePlace = (a: Place, b: Place): boolean => a.device === b.device && a.epoch === b.epoch && a.previous === b.previous

interface Gained {
  readonly to: Party
  readonly toKey: PublicKey
  readonly terms: string
  readonly product: Product
  readonly maker: PublicKey
}

function after(
  before: Standing | undefined,
  { kind, payload, hash }: Read<'release' | 'recovery'>,
  { to, toKey, terms, product, maker }: Gained,
): Standing {
  const { epoch, releasedAt, device } = payload
  const owner: Party = { name: to.name, key: { ...to.key } }
  const step: ChainStep = { epoch, kind, to: owner, terms, releasedAt, hash }
  return {
    device,
    product: { ...product },
    maker,
    epoch,
    owner,
    ownerKey: toKey,
    head: hash,
    steps: [...(before?.steps ?? []), step],
  }
}

/** @throws TrustError `badProof` unless it is of this device and follows the entry before */
function checkPlace(read: Read<PlacedKind>, before: Standing | undefined, rules: ChainRules): void {
  const { device, epoch, previous } = read.payload
  const expected = before?.device ?? rules.device
  if ((expected !== undefined && device !== expected) || (rules.device !== undefined && device !== rules.device))
    throw new TrustError('badProof', 'ownershipOtherDevice', { facts: { what: read.kind } })
  if (epoch !== (before?.epoch ?? 0) + 1 || previous !== before?.head)
    throw outOfOrder(read, 'it does not follow the entry before')
}

const outOfOrder = ({ kind, payload }: Read<PlacedKind>, detail: string): TrustError =>
  new TrustError('badProof', 'ownershipOrder', { facts: { what: kind, epoch: payload.epoch, detail } })

const late = (what: string): TrustError => new TrustError('policyRefused', 'ownershipExpired', { facts: { what } })

/** A claim to a device whose owner cannot be asked: what is published, and waited for. */
export interface CheckedNotice {
  readonly read: Read<'notice'>
  readonly presence: Read<'presence'>
  readonly toKey: PublicKey
}

/** @param before a device without an entry is its maker's: there is nothing to recover @throws TrustError as {@link verifyChain} */
export async function checkNotice(before: Standing, statement: string, rules: ChainRules): Promise<CheckedNotice> {
  const read = readStatement('notice', statement)
  const { payload } = read
  checkPlace(read, before, rules)
  await checkSigned(read, before.maker, 'its maker')
  const presence = await checkPresence(before, payload.presence, rules)
  if (payload.endsAt - payload.publishedAt < RECOVERY_WAIT_MIN_MILLISECONDS)
    throw outOfOrder(read, `it waits for less than ${RECOVERY_WAIT_MIN_DAYS} days`)
  return { read, presence, toKey: keyOf(presence.payload.to.key) }
}

/** @throws TrustError as {@link verifyChain} */
export async function checkPresence(before: Standing, statement: string, rules: ChainRules): Promise<Read<'presence'>> {
  const presence = readStatement('presence', statement)
  checkPlace(presence, before, rules)
  const key = keyOf(presence.payload.key)
  if (deviceNameOf(key.spki) !== before.device)
    throw new TrustError('badProof', 'ownershipOtherDevice', { facts: { what: 'presence' } })
  await checkSigned(presence, key, 'the device')
  return presence
}

/** @throws TrustError `badProof`, `malformed` */
export async function checkObjection(
  before: Standing,
  notice: Pick<Read<'notice'>, 'hash' | 'payload'>,
  statement: string,
): Promise<Read<'objection'>> {
  const objection = readStatement('objection', statement)
  await checkSigned(objection, before.ownerKey, 'who owns the device')
  if (objection.payload.notice !== notice.hash || !isSamePlace(objection.payload, notice.payload))
    throw outOfOrder(objection, 'it objects to something else')
  return objection
}

async function followRecovery(before: Standing | undefined, entry: string, rules: ChainRules): Promise<Standing> {
  const recovery = readStatement('recovery', entry)
  if (before === undefined) throw outOfOrder(recovery, 'a chain does not begin with a recovery')
  checkPlace(recovery, before, rules)
  const { payload } = recovery
  await checkSigned(recovery, before.maker, 'its maker')
  const { read: notice, presence, toKey } = await checkNotice(before, payload.notice, rules)
  checkAccepted(await checkAnswer(notice, toKey, payload.answer))
  if (payload.releasedAt < notice.payload.endsAt)
    throw new TrustError('policyRefused', 'ownershipWaits', { facts: { until: new Date(notice.payload.endsAt).toISOString() } })
  for (const objection of rules.objections ?? []) {
    if (await isObjection(before, notice, objection)) throw new TrustError('policyRefused', 'ownershipObjected')
  }
  const { maker, product } = before
  return after(before, recovery, { to: presence.payload.to, toKey, terms: notice.payload.reason, product, maker })
}

async function isObjection(before: Standing, notice: Read<'notice'>, statement: string): Promise<boolean> {
  try {
    await checkObjection(before, notice, statement)
    return true
  } catch {
    return false // of another notice, or nobody's
  }
}

export interface NewOffer {
  readonly to: Party
  readonly terms: string
  /** In the first offer, by the maker. */
  readonly product?: Product
  readonly offeredAt: number
  readonly expiresAt: number
}

export const signOffer = (place: Place, offer: NewOffer, key: StatementKey): Promise<Read<'offer'>> =>
  signStatement('offer', { ...place, ...offer }, key)

/** @param asked an offer or a notice */
export const signAnswer = (
  asked: Read<'offer' | 'notice'>,
  { isAccepted, answeredAt }: { readonly isAccepted: boolean; readonly answeredAt: number },
  key: StatementKey,
): Promise<Read<'answer'>> => signStatement('answer', { ...placeOf(asked.payload), to: asked.hash, isAccepted, answeredAt }, key)

export const signRelease = (
  offer: Read<'offer'>,
  answer: Read<'answer'>,
  releasedAt: number,
  key: StatementKey,
): Promise<Read<'release'>> =>
  signStatement('release', { ...placeOf(offer.payload), offer: offer.statement, answer: answer.statement, releasedAt }, key)

/** @param key of the device: where it is kept, in the agent or a technician's tool */
export const signPresence = (
  place: Place,
  presence: { readonly key: PublicKey; readonly to: Party; readonly nonce: string; readonly at: number },
  key: StatementKey,
): Promise<Read<'presence'>> => signStatement('presence', { ...place, ...presence, key: writtenKey(presence.key) }, key)

export const signNotice = (
  presence: Read<'presence'>,
  notice: { readonly reason: string; readonly publishedAt: number; readonly endsAt: number },
  key: StatementKey,
): Promise<Read<'notice'>> =>
  signStatement('notice', { ...placeOf(presence.payload), presence: presence.statement, ...notice }, key)

export const signObjection = (
  notice: Read<'notice'>,
  objection: { readonly reason: string; readonly objectedAt: number },
  key: StatementKey,
): Promise<Read<'objection'>> =>
  signStatement('objection', { ...placeOf(notice.payload), notice: notice.hash, ...objection }, key)

export const signRecovery = (
  notice: Read<'notice'>,
  answer: Read<'answer'>,
  releasedAt: number,
  key: StatementKey,
): Promise<Read<'recovery'>> =>
  signStatement('recovery', { ...placeOf(notice.payload), notice: notice.statement, answer: answer.statement, releasedAt }, key)

const placeOf = ({ version, device, epoch, previous }: Place): Place => ({
  version,
  device,
  epoch,
  ...(previous !== undefined && { previous }),
})

/** A chain as it is carried: one entry a line. */
export const encodeChain = (entries: readonly string[]): string => entries.map((entry) => `${entry}\n`).join('')

/** @throws TrustError `malformed` when a line is empty, `tooLarge` */
export function parseChain(text: string): readonly string[] {
  const lines = text.replace(/\r?\n$/, '').split(/\r?\n/)
  if (lines.length > ENTRIES_MAX) throw new TrustError('tooLarge', 'ownershipTooLong', { facts: { limit: ENTRIES_MAX } })
  if (lines.some((one) => one === '')) throw new TrustError('malformed', 'ownershipEmpty')
  return lines
}
