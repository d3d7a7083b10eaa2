/**
 * Licenses of a maker's devices: asked for, signed, replaced and taken back.
 *
 * A license is kept, with its place in each pool, before anything is signed; what is signed is the payload that was kept. Whoever
 * has to wait for the agreement of others, or lost the answer, asks for the same again and goes on with that. So of a pool of so
 * many there are never more, however many ask at once and wherever a process ends.
 *
 *     asked ──signed──▶ issued ──▶ revoked        a replacement is asked and signed beside, under the next sequence
 *
 * @module
 */
import { hash } from 'node:crypto'
import { TrustError } from '#base/errors.ts'
import { toWholeSeconds, uuidv7 } from '#base/world.ts'
import { onBehalf, signMessage } from '#signing/message-signing.ts'
import type { Requester } from '#signing/context.ts'
import type { Waiting } from '#signing/service.ts'
import { keep, type Step } from '#store/batch.ts'
import type { Row } from '#store/database.ts'
import type { LicensedDevice, LicensesContext } from './context.ts'
import { makerRow, NEXT_NUMBER, nextNumber, poolsOf, stepsToGiveBack, stepsToTake } from './makers.ts'
import {
  encodeLicense,
  type Feature,
  type License,
  LICENSE_TYPES,
  type LicenseForm,
  parseLicense,
  REVOKED,
  thumbprintsOf,
} from './messages.ts'

export interface LicenseTerms {
  /** Which makes no difference to what it says. */
  readonly form: LicenseForm
  readonly features: readonly Feature[]
  /** Now unless told. */
  readonly notBefore?: number
  readonly expiresAt?: number
  readonly graceDays: number
  /** Otherwise it is the owner's of now, and ends with the owner's epoch. */
  readonly isTransferable: boolean
  readonly offlineMaxDays?: number
}

export interface WantedLicense extends LicenseTerms {
  /** Name of the organization that issues it, which must have made the device. */
  readonly maker: string
  readonly deviceId: string
}

export interface WantedReplacement extends LicenseTerms {
  /** The one before is on the status list from now on, so that it does not hold where the list arrives first. */
  readonly recalls: boolean
}

export const licenseStates = ['asked', 'issued', 'revoked'] as const
export type LicenseState = (typeof licenseStates)[number]

export interface LicenseRecord {
  readonly id: string
  readonly version: number
  readonly maker: string
  readonly deviceId: string
  readonly state: LicenseState
  /** Of the last that was signed; 0 before the first. */
  readonly sequence: number
  /** As asked for last, signed or not. */
  readonly license: License
  readonly form: LicenseForm
  /** The last that was signed. */
  readonly octets: Uint8Array | undefined
  /** Whether one is asked for and not signed. */
  readonly isAsked: boolean
  readonly createdAt: number
  readonly changedAt: number
}

export type Issued = { readonly state: 'issued'; readonly record: LicenseRecord } | Waiting

const ISSUE = 'license.issue'
const objectOf = (id: string): string => `license:${id}`
/** The pools changed between reading and keeping that often in a row. */
const TRIES_MAX = 8

/** @throws TrustError `forbidden` for another than the maker; `quotaExceeded`, `policyRefused`, `notFound`, `malformed` */
export async function issueLicense(context: LicensesContext, wanted: WantedLicense, by: Requester): Promise<Issued> {
  const device = await context.device(wanted.deviceId)
  await context.checkMayIssue({ by, deviceId: device.id, maker: wanted.maker })
  checkInUse(device)
  const termsHash = hashOf({ ...wanted })
  const id = (await askedWith(context, termsHash)) ?? (await begin(context, device, wanted, termsHash, by))
  return finish(context, id, by)
}

/** The same license again with other terms, under the next sequence. @throws TrustError as {@link issueLicense}; `conflict` */
export async function replaceLicense(
  context: LicensesContext,
  id: string,
  wanted: WantedReplacement,
  by: Requester,
): Promise<Issued> {
  const record = await openLicense(context, id)
  if (record.state !== 'issued') throw new TrustError('conflict', 'licenseState', { facts: { license: id, state: record.state } })
  const device = await context.device(record.deviceId)
  await context.checkMayIssue({ by, deviceId: device.id, maker: record.maker })
  checkInUse(device)
  const termsHash = hashOf({ license: id, ...wanted })
  if ((await askedWith(context, termsHash)) === undefined) await beginNext(context, record, device, wanted, termsHash, by)
  return finish(context, id, by)
}

/** Also where one was asked for before: whoever agrees in the meantime does not know what became of the device. */
function checkInUse({ isCutOff, productSerial }: LicensedDevice): void {
  if (isCutOff) throw new TrustError('policyRefused', 'licenseDeviceCutOff', { facts: { productSerial } })
}

const hashOf = (wanted: object): string =>
  hash('sha256', JSON.stringify(Object.entries(wanted).toSorted(([a], [b]) => (a < b ? -1 : 1))))

async function askedWith({ db, organizationId }: LicensesContext, termsHash: string): Promise<string | undefined> {
  const [row] = await db.query(
    "SELECT license_id FROM license_version WHERE organization_id = ? AND terms_hash = ? AND state = 'asked'",
    ...[organizationId, termsHash],
  )
  return row?.['license_id'] as string | undefined
}

async function begin(
  context: LicensesContext,
  device: LicensedDevice,
  wanted: WantedLicense,
  termsHash: string,
  by: Requester,
): Promise<string> {
  const { world, organizationId } = context
  const id = uuidv7(world)
  const license = licenseFor(context, device, wanted, { id, sequence: 1 })
  const now = world.clock.now()
  await keepCounted(context, wanted.maker, namesIn(license), [
    {
      sql: `INSERT INTO license (id, organization_id, version, maker, model, device_id, product_serial, state, sequence, least_sequence,
            device_epoch, ends_at, created_at, changed_at)
          VALUES (?, ?, 1, ?, ?, ?, ?, 'asked', 0, 0, ?, ?, ?, ?)`,
      parameters: [
        ...[id, organizationId, wanted.maker, license.model, device.id, license.productSerial],
        ...[license.owner?.epoch ?? null, endOf(license), now, now],
      ],
    },
    stepToAsk(context, device, { license, form: wanted.form, termsHash, recalls: false }, wanted.maker),
    ...placeSteps(context, wanted.maker, id, namesIn(license)),
    context.audit.statement({
      actor: by.actor,
      act: 'license.ask',
      object: objectOf(id),
      outcome: 'done',
      facts: factsOf(license),
    }),
  ])
  world.faults.reach('license asked')
  return id
}

async function beginNext(
  context: LicensesContext,
  record: LicenseRecord,
  device: LicensedDevice,
  wanted: WantedReplacement,
  termsHash: string,
  by: Requester,
): Promise<void> {
  const { id, maker, version, sequence } = record
  const license = licenseFor(context, device, wanted, { id, sequence: sequence + 1 })
  const held = await placesOf(context, id)
  const more = namesIn(license).filter((name) => !held.includes(name))
  await keepCounted(context, maker, more, [
    {
      sql: "UPDATE license SET version = version + 1, changed_at = ? WHERE id = ? AND version = ? AND state = 'issued' RETURNING id",
      parameters: [context.world.clock.now(), id, version],
      expects: { id },
      refusal: () => new TrustError('conflict', 'licenseChanged', { facts: { license: id } }),
    },
    // one that waits is asked for otherwise now
    { sql: "DELETE FROM license_version WHERE license_id = ? AND state = 'asked'", parameters: [id] },
    stepToAsk(context, device, { license, form: wanted.form, termsHash, recalls: wanted.recalls }, maker),
    ...placeSteps(context, maker, id, more),
    context.audit.statement({
      actor: by.actor,
      act: 'license.ask',
      object: objectOf(id),
      outcome: 'done',
      facts: factsOf(license),
    }),
  ])
}

/** With a place in each pool. Pools that changed since they were read are read again. */
async function keepCounted(
  context: LicensesContext,
  maker: string,
  features: readonly string[],
  steps: readonly Step[],
): Promise<void> {
  for (let tries = 1; ; tries++) {
    const { pools: changes } = await makerRow(context, maker)
    const pools = await poolsOf(context.db, context.organizationId, maker)
    try {
      return await keep(context.db, [...stepsToTake(context, maker, features, { changes, pools }), ...steps])
    } catch (error) {
      if (!(error instanceof TrustError) || error.reason !== 'licensePoolsChanged' || tries === TRIES_MAX) throw error
    }
  }
}

const namesIn = ({ features }: License): readonly string[] => features.map(({ name }) => name)

/** @throws TrustError `policyRefused`, `malformed` for terms that no license can have */
function licenseFor(
  { world }: LicensesContext,
  device: LicensedDevice,
  { form, features, notBefore, expiresAt, graceDays, isTransferable, offlineMaxDays }: LicenseTerms,
  { id, sequence }: Pick<License, 'id' | 'sequence'>,
): License {
  const { birthKey, owner, epoch, manufacturer, model, productSerial } = device
  if (birthKey === undefined) throw new TrustError('policyRefused', 'licenseDeviceUnborn', { facts: { productSerial } })
  if (!isTransferable && owner === undefined)
    throw new TrustError('policyRefused', 'licenseNoOwner', { facts: { productSerial } })
  const { ckt, jkt } = thumbprintsOf(birthKey)
  const issuedAt = toWholeSeconds(world.clock.now())
  const license: License = {
    ...{ id, sequence, issuer: manufacturer, productSerial, model, features, issuedAt, graceDays },
    confirmation: form === 'cwt' ? { ckt } : { jkt },
    notBefore: notBefore === undefined ? issuedAt : toWholeSeconds(notBefore),
    ...(expiresAt !== undefined && { expiresAt: toWholeSeconds(expiresAt) }),
    ...(!isTransferable && owner !== undefined && { owner: { name: owner, epoch } }),
    ...(offlineMaxDays !== undefined && { offlineMaxDays }),
  }
  parseLicense(encodeLicense(license), form) // what a device would not read is not issued
  return license
}

const DAY_MILLISECONDS = 86_400_000
const endOf = ({ expiresAt, graceDays }: License): number | null =>
  expiresAt === undefined ? null : expiresAt + graceDays * DAY_MILLISECONDS

const factsOf = ({ sequence, productSerial, model, features }: License) => ({
  ...{ sequence, productSerial, model },
  features: features.map(({ name, limit }) => (limit === undefined ? name : `${name} ${limit}`)).join(', '),
})

interface Asked {
  readonly license: License
  readonly form: LicenseForm
  readonly termsHash: string
  readonly recalls: boolean
}

const stepToAsk = (
  { world, organizationId }: LicensesContext,
  { id: deviceId }: LicensedDevice,
  { license, form, termsHash, recalls }: Asked,
  maker: string,
): Step => ({
  sql: `INSERT INTO license_version (license_id, organization_id, version, maker, device_id, sequence, state, terms_hash, recalls, form,
        payload, octets, number, asked_at)
      VALUES (?, ?, 1, ?, ?, ?, 'asked', ?, ?, ?, ?, NULL, NULL, ?)`,
  parameters: [
    ...[license.id, organizationId, maker, deviceId, license.sequence, termsHash, recalls ? 1 : 0, form],
    ...[encodeLicense(license), world.clock.now()],
  ],
  // of two who ask for the same at once, one asks again and goes on with the other's
  refusal: () => new TrustError('conflict', 'licenseAsked'),
})

const placeSteps = (
  { organizationId }: LicensesContext,
  maker: string,
  id: string,
  features: readonly string[],
): readonly Step[] =>
  features.map((feature) => ({
    sql: 'INSERT INTO license_place (license_id, organization_id, maker, feature) VALUES (?, ?, ?, ?)',
    parameters: [id, organizationId, maker, feature],
    refusal: () => new TrustError('conflict', 'licenseChanged', { facts: { license: id } }),
  }))

const placesOf = async ({ db }: LicensesContext, id: string): Promise<readonly string[]> =>
  (await db.query('SELECT feature FROM license_place WHERE license_id = ?', id)).map(({ feature }) => feature as string)

/** Signs what was asked for and keeps it; does nothing when another did it in the meantime. */
async function finish(context: LicensesContext, id: string, by: Requester): Promise<Issued> {
  const { db, world, signing, organizationId, audit } = context
  const [asked] = await db.query<AskedRow>("SELECT * FROM license_version WHERE license_id = ? AND state = 'asked'", id)
  if (asked === undefined) return { state: 'issued', record: await openLicense(context, id) }
  const { maker, sequence, form, payload, terms_hash: termsHash, recalls } = asked
  const { signer } = await makerRow(context, maker)
  const message = { form: form === 'cwt' ? 'cose' : 'jws', typ: LICENSE_TYPES[form], payload } as const
  const signed = await signMessage(signing, signer, message, onBehalf('server:licenses', by))
  if (signed.state === 'waiting') return signed
  world.faults.reach('license signed')
  const license = parseLicense(payload, form)
  const steps: readonly Step[] = [
    {
      sql: `UPDATE license_maker SET last_number = ${NEXT_NUMBER}, revocations = revocations + ? WHERE organization_id = ? AND maker = ?`,
      parameters: [...nextNumber(world), recalls, organizationId, maker],
    },
    {
      sql: `UPDATE license_version SET version = version + 1, state = 'issued', octets = ?,
            number = (SELECT last_number FROM license_maker WHERE organization_id = ? AND maker = ?)
          WHERE license_id = ? AND sequence = ? AND state = 'asked' AND terms_hash = ? RETURNING state`,
      parameters: [signed.octets, organizationId, maker, id, sequence, termsHash],
      expects: { state: 'issued' },
      refusal: () => new TrustError('conflict', 'licenseChanged', { facts: { license: id } }),
    },
    {
      sql: `UPDATE license SET version = version + 1, state = 'issued', sequence = ?, device_epoch = ?, ends_at = ?, changed_at = ?,
            least_sequence = CASE WHEN ? = 1 THEN ? ELSE least_sequence END
          WHERE id = ? AND state <> 'revoked' RETURNING state`,
      parameters: [...[sequence, license.owner?.epoch ?? null, endOf(license), world.clock.now()], ...[recalls, sequence, id]],
      expects: { state: 'issued' },
      refusal: () => new TrustError('conflict', 'licenseState', { facts: { license: id, state: 'revoked' } }),
    },
    audit.statement({
      ...{ actor: by.actor, act: ISSUE, object: objectOf(id), outcome: 'done' },
      facts: { ...factsOf(license), signature: signed.entry, recalls: recalls === 1 },
    }),
  ]
  try {
    await keep(db, steps)
  } catch (error) {
    if (!(error instanceof TrustError) || error.reason !== 'licenseChanged') throw error
    const [still] = await db.query(
      "SELECT sequence FROM license_version WHERE license_id = ? AND sequence = ? AND state = 'issued'",
      id,
      sequence,
    )
    if (still === undefined) throw error // asked otherwise by now
  }
  return { state: 'issued', record: await openLicense(context, id) }
}

interface AskedRow extends Row {
  readonly maker: string
  readonly sequence: number
  readonly form: LicenseForm
  readonly payload: Uint8Array
  readonly terms_hash: string
  readonly recalls: number
}

export interface Revocation {
  readonly reason: string
  /**
   * The maker knows that it is not used any more: its places are free again. A device without a network uses a license that
   * was revoked until the status list arrives, so without it the places stay taken.
   */
  readonly returnsPlaces: boolean
}

/**
 * For good; one that nobody signed is withdrawn, and its places are free. Places of one that was revoked already, by whomever,
 * may be given back later.
 *
 * @throws TrustError `notFound`, `conflict`
 */
export async function revokeLicense(
  context: LicensesContext,
  id: string,
  { reason, returnsPlaces }: Revocation,
  by: Requester,
): Promise<LicenseRecord> {
  const { db, organizationId, world, audit } = context
  const record = await openLicense(context, id)
  const wasRevoked = record.state === 'revoked'
  if (wasRevoked && !(returnsPlaces && (await placesOf(context, id)).length > 0))
    throw new TrustError('conflict', 'licenseState', { facts: { license: id, state: record.state } })
  const device = await context.device(record.deviceId)
  await context.checkMayIssue({ by, deviceId: device.id, maker: record.maker })
  const wasSigned = record.sequence > 0
  const returns = returnsPlaces || !wasSigned
  await keep(db, [
    {
      sql: 'UPDATE license_maker SET revocations = revocations + ? WHERE organization_id = ? AND maker = ?',
      parameters: [wasSigned && !wasRevoked ? 1 : 0, organizationId, record.maker],
    },
    {
      sql: `UPDATE license SET version = version + 1, state = 'revoked', least_sequence = ?, changed_at = ? WHERE id = ? AND version = ?
          RETURNING state`,
      parameters: [wasSigned ? REVOKED : 0, world.clock.now(), id, record.version],
      expects: { state: 'revoked' },
      refusal: () => new TrustError('conflict', 'licenseChanged', { facts: { license: id } }),
    },
    ...(wasSigned ? [{ sql: "DELETE FROM license_version WHERE license_id = ? AND state = 'asked'", parameters: [id] }] : []),
    ...(returns ? stepsToGiveBack(context, record.maker, id) : []),
    audit.statement({
      ...{ actor: by.actor, act: 'license.revoke', object: objectOf(id), outcome: 'done' },
      facts: { why: reason, returnsPlaces: returns },
    }),
  ])
  return openLicense(context, id)
}

interface LicenseRow extends Row {
  readonly id: string
  readonly version: number
  readonly maker: string
  readonly device_id: string
  readonly state: LicenseState
  readonly sequence: number
  readonly created_at: number
  readonly changed_at: number
  readonly form: LicenseForm
  readonly payload: Uint8Array
  readonly octets: Uint8Array | null
  readonly version_state: 'asked' | 'issued'
  readonly signed: Uint8Array | null
}

/** The newest version of each, and beside it the newest that was signed. */
const SELECT = `SELECT license.id, license.version, license.maker, license.device_id, license.state, license.sequence, license.created_at,
    license.changed_at, newest.form, newest.payload, newest.state AS version_state, signed.octets AS signed
  FROM license
  JOIN license_version newest ON newest.license_id = license.id
    AND newest.sequence = (SELECT MAX(sequence) FROM license_version WHERE license_id = license.id)
  LEFT JOIN license_version signed ON signed.license_id = license.id AND signed.sequence = license.sequence`

const recordOf = (row: LicenseRow): LicenseRecord => ({
  ...{ id: row.id, version: row.version, maker: row.maker, deviceId: row.device_id, state: row.state, sequence: row.sequence },
  license: parseLicense(row.payload, row.form),
  form: row.form,
  octets: row.signed ?? undefined,
  isAsked: row.version_state === 'asked' && row.state !== 'revoked',
  createdAt: row.created_at,
  changedAt: row.changed_at,
})

/** @throws TrustError `notFound` */
export async function openLicense({ db, organizationId }: LicensesContext, id: string): Promise<LicenseRecord> {
  const [row] = await db.query<LicenseRow>(`${SELECT} WHERE license.id = ? AND license.organization_id = ?`, id, organizationId)
  if (row === undefined) throw new TrustError('notFound', 'licenseUnknown', { facts: { license: id } })
  return recordOf(row)
}

export interface FindLicenses {
  readonly maker?: string | undefined
  readonly deviceId?: string | undefined
  readonly state?: LicenseState | undefined
  /** Those before this one. */
  readonly before?: string | undefined
  readonly limit: number
}

/** Newest first. */
export async function findLicenses(
  { db, organizationId }: LicensesContext,
  { maker, deviceId, state, before, limit }: FindLicenses,
): Promise<readonly LicenseRecord[]> {
  const asked: readonly (readonly [string, string | undefined])[] = [
    ['license.maker = ?', maker],
    ['license.device_id = ?', deviceId],
    ['license.state = ?', state],
    ['license.id < ?', before],
  ]
  const given = asked.flatMap(([condition, value]) => (value === undefined ? [] : [[condition, value] as const]))
  const where = ['license.organization_id = ?', ...given.map(([condition]) => condition)].join(' AND ')
  const rows = await db.query<LicenseRow>(
    `${SELECT} WHERE ${where} ORDER BY license.id DESC LIMIT ?`,
    ...[organizationId, ...given.map(([, value]) => value), limit],
  )
  return rows.map(recordOf)
}

/** Whether a device may use a feature now, as far as the server knows: for the director. */
export async function isLicensed(context: LicensesContext, deviceId: string, feature: string): Promise<boolean> {
  const now = context.world.clock.now()
  const { epoch } = await context.device(deviceId)
  const rows = await context.db.query<Row & { readonly payload: Uint8Array; readonly form: LicenseForm }>(
    `SELECT v.payload, v.form FROM license l JOIN license_version v ON v.license_id = l.id AND v.sequence = l.sequence
      WHERE l.device_id = ? AND l.organization_id = ? AND l.state = 'issued' AND (l.ends_at IS NULL OR l.ends_at > ?)`,
    ...[deviceId, context.organizationId, now],
  )
  return rows.some(({ payload, form }) => {
    const { features, notBefore, owner } = parseLicense(payload, form)
    return notBefore <= now && (owner === undefined || owner.epoch >= epoch) && features.some(({ name }) => name === feature)
  })
}
